"""``import``: what each function's module takes to import in a fresh interpreter, and how much of that is ours.

A function imports boto3, Powertools and requests whoever writes it (``probes/base.py``); what it takes above that is
this project's share. Each round imports everything once, in another order from round to round, and a share is the
difference within its round: what the machine does meanwhile falls on both sides of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.functions import functions
from bench.layer import deploy
from bench.places import ROOT, environment, sdk_interpreter
from bench.table import Table, number, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

PROBES = ROOT / "bench" / "probes"
ROUNDS, QUICK_ROUNDS = 20, 3
TIMEOUT_SECONDS = 60
MEGABYTE = 1e6
AIM_MILLISECONDS = 25
NOTHING_WRITTEN = {"PYTHONDONTWRITEBYTECODE": "1"}

Found = dict[str, Any]  # wall and cpu in seconds, resident in bytes or None


@dataclass(frozen=True)
class Import:
    """A module to import, and the import whose costs do not count as its own."""

    shown: str
    module: str
    environment: dict[str, str]
    base: str = ""
    interpreter: str = sys.executable


def run(quick: bool) -> Table:  # noqa: FBT001 - the shape of every benchmark
    """Measure all imports. Raises Unmeasurable where NetApp's SDK is not installed."""
    with tempfile.TemporaryDirectory(prefix="bench-import-") as folder:
        compiled, source = Path(folder, "compiled"), Path(folder, "source")
        deploy(compiled, bytecode=True)
        deploy(source, bytecode=False)
        imports = _clients(compiled) | _functions(compiled, "") | _functions(source, ", sources only")
        rounds = [_round(imports, number_) for number_ in range((QUICK_ROUNDS if quick else ROUNDS) + 1)][1:]
    columns = ("import", "ms, median (quartiles)", "own share, ms", "own share, CPU ms", "own share, MB")
    remarks = (
        f"Own share: above the line in italics before it; the aim for a function is {AIM_MILLISECONDS} ms.",
        "MB: resident memory after the import.",
        "Sources only: the layer as `sam build` leaves it; a cold start compiles our package, Powertools and requests.",
        "boto3 has its bytecode in each case.",
    )
    return Table(columns, tuple(_row(name, one, rounds) for name, one in imports.items()), remarks)


def _clients(compiled: Path) -> dict[str, Import]:
    plain = environment(compiled / "python", **NOTHING_WRITTEN)
    sdk = environment(**NOTHING_WRITTEN)
    return {
        "requests": Import("*requests*", "requests", plain),
        "client": Import("**Element Rekey's client**", "element_rekey.element.client", plain, "requests"),
        "sdk": Import("NetApp's SDK", "solidfire.factory", sdk, "requests", str(sdk_interpreter())),
    }


def _functions(deployed: Path, how: str) -> dict[str, Import]:
    base = f"base{how}"
    found: dict[str, Import] = {}
    for function in functions():
        path = (deployed / "functions" / function.name, deployed / "python")
        variables = environment(*path, **NOTHING_WRITTEN) | function.variables
        found.setdefault(base, Import(f"*boto3 with 3 clients, Powertools, requests{how}*", "base", variables))
        found[function.name + how] = Import(f"**{function.name}**{how}", "app", variables, base)
    return found


def _round(imports: dict[str, Import], number_: int) -> dict[str, Found]:
    names = list(imports)
    by = number_ % len(names)
    return {name: _import(imports[name]) for name in (*names[by:], *names[:by])}


def _import(one: Import) -> Found:
    command = [one.interpreter, str(PROBES / "probe.py"), one.module]
    done = subprocess.run(
        command, env=one.environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
    )
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(name: str, one: Import, rounds: Sequence[dict[str, Found]]) -> tuple[str, ...]:
    share: dict[str, str] = defaultdict(lambda: "")
    wall = spread([found[name]["wall"] * 1000 for found in rounds])
    if one.base:
        for figure in ("wall", "cpu"):
            own = spread([1000 * (found[name][figure] - found[one.base][figure]) for found in rounds])
            share[figure] = str(own)
        if all(found[name]["resident"] for found in rounds):
            own = spread([(found[name]["resident"] - found[one.base]["resident"]) / MEGABYTE for found in rounds])
            share["resident"] = number(own.median)
    return one.shown, str(wall), share["wall"], share["cpu"], share["resident"]

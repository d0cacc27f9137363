"""``size``: how much there is to read, and how much is deployed. Counted, not measured."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distribution
from typing import TYPE_CHECKING

from bench.layer import files, pinned
from bench.places import LAYER, PACKAGE, ROOT, Unmeasurable, sdk_interpreter
from bench.table import Table
from element_rekey.element.client import ElementApi

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CLIENT = ("element_api", "transport")
CLIENT_NEEDS = ("errors", "model")
SDK = "solidfire-sdk-python"
LIMIT = 262_144_000  # bytes, unzipped, of a function and its layers
MEGABYTE = 1e6
PUBLIC_METHOD = re.compile(r"^    def ([a-z]\w*)\(", re.MULTILINE)


def run(quick: bool) -> Table:  # noqa: ARG001, FBT001 - the shape of every benchmark
    """Count. Raises Unmeasurable where NetApp's SDK is not installed."""
    sdk = _sdk_distributions()
    solidfire = [path for name, path in files(sdk[SDK]).items() if name.startswith("solidfire/")]
    needed = [path for one in sdk.values() for path in files(one).values()]
    layer = [path for name in pinned(LAYER / "requirements.txt") for path in files(distribution(name)).values()]
    package = sorted(PACKAGE.glob("*.py"))
    client = [PACKAGE / f"{name}.py" for name in CLIENT]
    whole_client = client + [PACKAGE / f"{name}.py" for name in CLIENT_NEEDS]
    ours = _bytes(package) + _bytes(layer)
    rows = (
        ("client, lines", _lines(client), _lines(path for path in solidfire if path.name != "models.py")),
        ("with its types, lines", _lines(whole_client), _lines(solidfire)),
        ("calls of the Element API it has", f"{len(_own_calls())}", f"{_sdk_calls(solidfire):,}"),
        (
            "client and what it needs, installed",
            _megabytes(_bytes(whole_client) + _bytes(_http())),
            _megabytes(_bytes(needed)),
        ),
        ("whole application, lines", _lines([*package, *ROOT.glob("functions/*/app.py")]), ""),
        ("its layer, installed", f"{_megabytes(ours)}, {ours / LIMIT:.1%} of Lambda's limit", ""),
    )
    return Table(("", "Element Rekey", f"NetApp's SDK {sdk[SDK].version}"), rows)


def _sdk_distributions() -> dict[str, Distribution]:
    """NetApp's SDK and what it needs, as its own environment has them."""
    packages = [str(path) for path in sdk_interpreter().parents[1].glob("lib/python*/site-packages")]
    names = pinned(ROOT / "requirements" / "sdk-oracle.txt")
    found = {name: next(iter(Distribution.discover(name=name, path=packages)), None) for name in names}
    installed = {name: one for name, one in found.items() if one}
    if installed.keys() != found.keys():
        raise Unmeasurable(f"not installed with NetApp's SDK: {', '.join(sorted(found.keys() - installed.keys()))}")
    return installed


def _own_calls() -> list[str]:
    return [name for name in vars(ElementApi) if not name.startswith("_") and name != "close"]


def _sdk_calls(solidfire: list[Path]) -> int:
    (api,) = (path for path in solidfire if path.parts[-2:] == ("solidfire", "__init__.py"))
    return len(PUBLIC_METHOD.findall(api.read_text(encoding="utf-8")))


def _http() -> list[Path]:
    needed = ("requests", "urllib3", "certifi", "idna", "charset-normalizer")
    return [path for name in needed for path in files(distribution(name)).values()]


def _lines(paths: Iterable[Path]) -> str:
    sources = [path for path in paths if path.suffix == ".py"]
    return f"{sum(len(path.read_text(encoding='utf-8').splitlines()) for path in sources):,}"


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.1f} MB"

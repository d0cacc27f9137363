"""``client``: what a call of the Element API takes through each client, over TLS to the simulator on loopback.

Simulator and clients are processes of their own. In each round every client makes a few calls of each kind, in another
order from round to round, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any, cast

from bench.callers.http_client import HttpClient
from bench.callers.protocol import Target, request
from bench.places import LAYER, ROOT, Unmeasurable, environment, sdk_interpreter
from bench.table import Spread, Table, number, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OPERATIONS = {"job": "GetAsyncResult", "encryption": "GetSoftwareEncryptionAtRestInfo", "check": "one status check"}
CALLS = {"job": 10, "encryption": 10, "check": 3}  # in each round
ROUNDS, QUICK_ROUNDS = 30, 4
STOP_SECONDS = 10
MILLISECOND = 1e6  # in nanoseconds
OURS = "element_rekey"
NAMES = {
    OURS: "**Element Rekey**",
    "netapp_sdk": "NetApp's SDK",
    "requests_post": "`requests.post`",
    "requests_session": "`requests.Session`",
    "http_client": "`http.client`, kept",
}


@dataclass
class Figures:
    """Milliseconds: of each call, and of the processor for each, batch by batch."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def run(quick: bool) -> Table:  # noqa: FBT001 - the shape of every benchmark
    """Measure all clients. Raises Unmeasurable where NetApp's SDK is not installed."""
    figures = _measure(QUICK_ROUNDS if quick else ROUNDS)
    columns = ("call", "client", "ms, median (quartiles)", "times ours", "CPU ms, median (quartiles)")
    rows = [row for operation in OPERATIONS for row in _rows(operation, figures)]
    remarks = (
        "A status check is GetClusterInfo and the two above, with a client made for it as in a cold start.",
        "NetApp's SDK adds a GetAPI whenever it is made.",
        "Every client verifies the certificate. Calls on a kept connection do not count the call that opened it.",
        "CPU is the client's process only.",
    )
    return Table(columns, tuple(rows), remarks)


def _rows(operation: str, figures: dict[tuple[str, str], Figures]) -> Iterator[tuple[str, ...]]:
    ours = spread(figures[operation, OURS].wall).median
    for caller, name in NAMES.items():
        found = figures[operation, caller]
        wall: Spread = spread(found.wall)
        first = OPERATIONS[operation] if caller == OURS else ""
        yield first, name, str(wall), number(wall.median / ours), str(spread(found.cpu))


def _measure(rounds: int) -> dict[tuple[str, str], Figures]:
    figures: dict[tuple[str, str], Figures] = defaultdict(Figures)
    interpreters: dict[str, Path | str] = dict.fromkeys(NAMES, sys.executable) | {"netapp_sdk": sdk_interpreter()}
    with ExitStack() as running:
        target = running.enter_context(_cluster())
        callers = {
            name: running.enter_context(_caller(name, interpreter, target))
            for name, interpreter in interpreters.items()
        }
        for number_ in range(rounds):
            for operation, calls in CALLS.items():
                for name in _rotated(list(callers), number_):
                    took = _ask(callers[name], {"operation": operation, "calls": calls})
                    figures[operation, name].wall += [each / MILLISECOND for each in took["wall"]]
                    figures[operation, name].cpu.append(took["cpu"] / calls / MILLISECOND)
    return figures


def _rotated(names: Sequence[str], by: int) -> list[str]:
    by %= len(names)
    return [*names[by:], *names[:by]]


@contextmanager
def _cluster() -> Iterator[Target]:
    """A simulated cluster on which a rekey runs for longer than anybody measures."""
    command = [sys.executable, "-m", "local.simulator", "--rekey-seconds", "1000000"]
    with _process(command, environment()) as process:
        (cluster,) = json.loads(_output(process).readline())["clusters"]
        target = Target(cluster["mvip"], cluster["username"], cluster["password"], cluster["caFile"])
        begin = HttpClient(target)
        handle = begin.call(request("RekeySoftwareEncryptionAtRestMasterKey"))["asyncHandle"]
        begin.close()
        yield replace(target, handle=handle)
        process.terminate()


@contextmanager
def _caller(name: str, interpreter: Path | str, target: Target) -> Iterator[subprocess.Popen[str]]:
    with _process([str(interpreter), "-m", f"bench.callers.{name}"], environment(LAYER)) as process:
        _tell(process, asdict(target))
        yield process
        cast("IO[str]", process.stdin).close()


@contextmanager
def _process(command: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that has ended when the block has, by itself or else by force."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=variables, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
            process.wait(STOP_SECONDS)
        finally:
            process.kill()  # does nothing to one that has ended


def _ask(process: subprocess.Popen[str], order: dict[str, Any]) -> dict[str, Any]:
    _tell(process, order)
    line = _output(process).readline()
    if not line:
        raise Unmeasurable(f"a process ended: {shlex.join(map(str, cast('list[str]', process.args)))}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _tell(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    stdin = cast("IO[str]", process.stdin)
    stdin.write(json.dumps(message) + "\n")
    stdin.flush()


def _output(process: subprocess.Popen[str]) -> IO[str]:
    return cast("IO[str]", process.stdout)

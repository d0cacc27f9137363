"""Answers in a form that nobody here has seen: any member of any answer, dropped, null, retyped, renamed or added.

Each case is a whole rotation with the real client, on a simulated cluster without sockets, and one more after it on the
cluster as it is. Half of the cases begin with the first call, the others once the rekey was sent.

    PYTHONPATH=layers/element_rekey .venv/bin/python -m tests.reliability.unfamiliar
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from element_rekey.errors import errors_by_name
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterMemory
from local.simulator import SimulatedCluster
from local.simulator.protocol import reply_to
from tests.reliability import wire
from tests.reliability.in_memory_harness import NAME, REKEY, SimulatedClusters
from tests.reliability.members import (
    ENCRYPTION,
    EXTERNAL,
    INFO,
    INTERNAL,
    PLAIN,
    Scenario,
    failing,
    somebody_elses_runs,
)
from tests.reliability.wire import without_sockets
from tests.unit.harness import RotationHarness
from tests.workflow.harness import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from element_rekey.records import Rotation
    from local.simulator.protocol import HttpRequest, Reply
    from tests.fakes import FakeClock

SCENARIOS = (
    Scenario("internal", INTERNAL, PLAIN),
    Scenario("external", EXTERNAL, PLAIN),
    Scenario("followed", INTERNAL, PLAIN, somebody_elses_runs),
    Scenario("failed", INTERNAL, failing("CreateNewMasterKey")),
    Scenario("failed late", INTERNAL, failing("DecommissionOldMasterKey")),
)

CHANGES: dict[str, Callable[[Any], Any]] = {
    "null": lambda _: None,
    "5": lambda _: 5,
    "true": lambda _: True,
    "text": lambda _: "odd",
    "written down": json.dumps,
    "in a list": lambda value: [value],
    "in an object": lambda value: {"odd": value},
    "empty": lambda _: {},
}
"""What becomes of a member's value. Only its form: another number, or another text, would say something else."""
OTHERS = ("dropped", "renamed", "in capitals", "with another beside it")

READ = frozenset(
    {"id", "result", "error", "name", "clusterInfo", "uuid", "state", "status", "masterKeyInfo", "keyID", "details"}
    | {"keyManagementType", "keyProviderID", "keyCreatedTime", "rekeyMasterKeyAsyncResultID", "pendingClusterVersion"}
    | {"asyncHandle", "resultType", "createTime", "lastUpdateTime", "newKey", "keyToDecommission", "currentVersion"}
    | {"supportedVersions", "faults", "code", "kmipKeyProviders", "keyServerIDs"}
)
"""Members that the client looks at; test_members shows that all others may be absent."""

FACTS = {(method, "") for method in (INFO, ENCRYPTION)}
"""Calls whose answers have to be understood: which cluster it is, and which key it has."""


@dataclass(frozen=True)
class Case:
    """What happens to one member of the answers to one method."""

    scenario: Scenario
    method: str
    path: str
    change: str
    late: bool
    """Only once a rekey was sent."""

    def __str__(self) -> str:
        begin = "once the rekey was sent" if self.late else "always"
        return f"{self.scenario}: {self.method} {self.path} {self.change}, {begin}"


def changed(value: Any, path: str, change: str, here: str = "") -> Any:  # noqa: ANN401 - JSON
    """``value`` with its member at ``path`` changed."""
    if isinstance(value, list):
        return [changed(inner, path, change, f"{here}[]") for inner in value]
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    for name, inner in value.items():
        place = f"{here}.{name}" if here else name
        if place != path:
            result[name] = changed(inner, path, change, place)
        elif change in CHANGES:
            result[name] = CHANGES[change](inner)
        elif change != "dropped":
            spelt = f"{name}Odd" if change == "renamed" else name.upper() if change == "in capitals" else name
            result |= {spelt: inner} | ({"odd": {"odd": [1]}} if spelt == name else {})
    return result


def changes_of(value: object) -> Iterator[str]:
    """The changes that leave what a value says as it is, or unreadable."""
    for name in (*CHANGES, *OTHERS):
        others = ("text", "written down") if isinstance(value, str) else ("5",) if isinstance(value, int) else ()
        if name not in others:
            yield name


@dataclass
class Interceptor:
    """Stands between client and cluster."""

    case: Case | None
    seen: dict[tuple[str, str], object]
    begun: int

    def reply_to(self, cluster: SimulatedCluster, request: HttpRequest) -> Reply:
        method = json.loads(request.body)["method"]
        sent = len(cluster.rekeys) > self.begun
        reply = reply_to(cluster, request)
        answer = json.loads(reply.body)
        for path, value in places(answer):
            self.seen.setdefault((method, path), value)
        case = self.case
        if case and method == case.method and (sent or not case.late):
            answer = changed(answer, case.path, case.change)
        return replace(reply, body=json.dumps(answer).encode())


def places(value: object, here: str = "") -> Iterator[tuple[str, object]]:
    """Where each member in ``value`` is, and what stands there."""
    if isinstance(value, dict):
        for name, inner in value.items():
            place = f"{here}.{name}" if here else name
            yield place, inner
            yield from places(inner, place)
    elif isinstance(value, list):
        for inner in value:
            yield from places(inner, f"{here}[]")


@contextmanager
def intercepted(
    cluster: SimulatedCluster, clock: FakeClock, case: Case | None, seen: dict[tuple[str, str], object]
) -> Iterator[None]:
    interceptor = Interceptor(case, seen, len(cluster.rekeys))
    with without_sockets({NAME: cluster}, clock.advance), patch.object(wire, "reply_to", interceptor.reply_to):
        yield


@dataclass(frozen=True)
class Played:
    """What became of a case: both rotations, the rekeys of ours after each, and whether the key had changed."""

    first: Rotation
    second: Rotation
    rekeys: tuple[int, int]
    replaced: bool
    seen: dict[tuple[str, str], object]


def play(scenario: Scenario, case: Case | None = None) -> Played:
    """A rotation under the case, and one more without it."""
    harness = RotationHarness(request=scenario.request)
    cluster = SimulatedCluster(replace(scenario.spec, name=NAME, clock=harness.clock, password=PASSWORD))
    scenario.before(cluster, harness.clock)
    harness.ports = replace(harness.ports, clusters=SimulatedClusters({NAME: cluster}, harness.clock))
    harness.ledger.remember(NAME, ClusterMemory(cluster.uuid))
    before, seen = cluster.current_key, dict[tuple[str, str], object]()
    with intercepted(cluster, harness.clock, case, seen):
        first = harness.run()
    replaced, rekeys = cluster.current_key != before, own_rekeys(cluster)
    harness.clock.advance(600)
    again = harness.another(f"{harness.execution.id}-again")
    with intercepted(cluster, harness.clock, None, {}):
        second = again.run()
    return Played(first, second, (rekeys, own_rekeys(cluster)), replaced, seen)


def own_rekeys(cluster: SimulatedCluster) -> int:
    return sum(rekey.own for rekey in cluster.rekeys)


@cache
def cases() -> tuple[Case, ...]:
    """Every case there is."""
    found = []
    for scenario in SCENARIOS:
        for (method, path), value in play(scenario).seen.items():
            if path.rpartition(".")[2] in READ:
                begins = (False,) if method == REKEY else (False, True)
                found += [Case(scenario, method, path, change, late) for change in changes_of(value) for late in begins]
    return tuple(found)


GOOD = {Outcome.ROTATED, Outcome.FOLLOWED, Outcome.NOT_DUE}


def wrong(case: Case) -> str:
    """What is wrong about the way a case ends; empty where nothing is."""
    played = play(case.scenario, case)
    first, second = played.first, played.second
    error = first.failure.error if first.failure else ""
    ended = f"{first.outcome} {error} {first.detail} {first.failure.cause if first.failure else ''}"
    problems = {
        "more rekeys were sent than asked for": played.rekeys[0] > 1 or played.rekeys[1] > 1 + _failed(played),
        f"the error has no name of ours: {ended}": error and error not in errors_by_name(),
        f"it claims a change that did not happen: {ended}": first.outcome in GOOD and not played.replaced,
        f"it claims that nothing changed: {ended}": first.outcome is Outcome.FAILED
        and played.rekeys[0]
        and played.replaced,
        f"it did not see what the state shows: {ended}": _missed(case, played),
        f"the next run ends {second.outcome} {second.failure}": not _goes_on(case, played),
    }
    return "; ".join(problem for problem, there in problems.items() if there)


def _made_by_us(played: Played) -> bool:
    return played.rekeys[0] > 0 and played.replaced


def _missed(case: Case, played: Played) -> bool:
    """Whether a rekey of ours changed the key, and the outcome is neither that nor the loss of a fact."""
    if not _made_by_us(played) or (case.method, "") in FACTS:
        return False
    ends = {"failed late": {Outcome.ROTATED_WITH_ERROR, Outcome.ROTATED}}
    return played.first.outcome not in ends.get(case.scenario.name, {Outcome.ROTATED})


def _goes_on(case: Case, played: Played) -> bool:
    """Whether the next run, on the cluster as it is, finds the demand met or meets it."""
    known = {"failed": {Outcome.FAILED}, "failed late": {Outcome.ROTATED_WITH_ERROR}}.get(case.scenario.name, set())
    return played.second.outcome in GOOD | (set() if _failed(played) else known)


def _failed(played: Played) -> bool:
    return played.rekeys[0] > 0 and not played.replaced


def main() -> int:
    """Play every case, and print those that end in a wrong way."""
    bad = 0
    for case in cases():
        why = wrong(case)
        if why:
            bad += 1
            sys.stdout.write(f"{case}: {why}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(cases())} cases, {bad} wrong\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

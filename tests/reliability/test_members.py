"""Members that nobody reads: whatever is taken out of a cluster's answers, only what the rules read can matter.

Each scenario is a whole rotation with the real client, on a simulated cluster without sockets. It is run again for each
member of each answer, without that member in any answer to that method.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from element_rekey.records import ClusterMemory
from local.simulator import Fault, SimulatedCluster
from local.simulator.protocol import reply_to
from tests.fakes import NOW, FakeClock
from tests.reliability import wire
from tests.reliability.in_memory_harness import NAME, REKEY, SimulatedClusters
from tests.reliability.members import (
    API,
    ENCRYPTION,
    EXTERNAL,
    FAULTS,
    INFO,
    INTERNAL,
    KEY_SERVERS,
    PLAIN,
    PROVIDER_TEST,
    PROVIDERS,
    RESULT,
    VERSION,
    Scenario,
    failing,
    members,
    results_are_read_away,
    somebody_elses_ended_with_an_error,
    somebody_elses_runs,
)
from tests.reliability.wire import without_sockets
from tests.unit.harness import RotationHarness
from tests.unit.samples import DAY
from tests.workflow.harness import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator.protocol import HttpRequest, Reply

pytestmark = pytest.mark.xdist_group("members")  # they share what was found out

Path = tuple[str, str]
"""A method, and where in its answers a member is; ``[]`` stands for every item of a list."""

KEY = "result.masterKeyInfo"
NEEDED = (API, VERSION, FAULTS, ENCRYPTION, PROVIDERS, PROVIDER_TEST, INFO, RESULT)

READ: dict[Path, str] = {
    **{(method, "result"): "an answer without a result is none" for method in NEEDED},
    (INFO, "result.clusterInfo"): "holds the uuid",
    (INFO, "result.clusterInfo.uuid"): "which cluster answers at the address",
    (VERSION, "result.pendingClusterVersion"): "no rekey during an upgrade",
    (FAULTS, "result.faults"): "a list that is missing is not an empty one",
    (FAULTS, "result.faults[].code"): "faults that stand against a rekey",
    (ENCRYPTION, "result.state"): "no rekey without software encryption",
    (ENCRYPTION, KEY): "the current key: the one to replace, and the proof that it was replaced",
    (ENCRYPTION, f"{KEY}.keyID"): "whether the key is another one now",
    (ENCRYPTION, f"{KEY}.keyManagementType"): "whether the key is of the kind asked for",
    (ENCRYPTION, f"{KEY}.keyProviderID"): "whether the key is of the provider asked for",
    (ENCRYPTION, f"{KEY}.keyCreatedTime"): "whether the key is young enough already",
    (ENCRYPTION, "result.rekeyMasterKeyAsyncResultID"): "the rekey that runs, or ended last",
    (PROVIDERS, "result.kmipKeyProviders"): "a list that is missing is not an empty one",
    (PROVIDERS, "result.kmipKeyProviders[].keyProviderID"): "whether the provider asked for is there",
    (PROVIDERS, "result.kmipKeyProviders[].keyServerIDs"): "a provider without a key server is of no use",
    (PROVIDER_TEST, "error"): "a provider that fails its test is of no use",
    (PROVIDER_TEST, "error.name"): "whether it failed, or could not be tested now",
    (RESULT, "result.createTime"): "whether a rekey that ended with an error made the current key",
    (RESULT, "result.error"): "whether the rekey ended with an error",
}
"""What the rules decide by, and why. Everything else may be absent, in any release of the cluster.

Not even the handle of our rekey: an answer without it is a lost answer, and the next look finds the rekey.
"""


SCENARIOS = (
    Scenario("internal", INTERNAL, PLAIN),
    Scenario("external", EXTERNAL, PLAIN),
    Scenario("from one provider to another", EXTERNAL, replace(PLAIN, key_provider_id=15)),
    Scenario("met already", replace(INTERNAL, key_created_after=NOW - 200 * DAY), PLAIN),
    Scenario("encryption is off", INTERNAL, replace(PLAIN, encryption_enabled=False)),
    Scenario("a fault that blocks", INTERNAL, replace(PLAIN, cluster_faults=("upgrade",))),
    Scenario("an upgrade is pending", INTERNAL, replace(PLAIN, pending_version="12.5.0.897")),
    Scenario(
        "a provider that fails its test", EXTERNAL, replace(PLAIN, faults=(Fault("providerTestFails", times=None),))
    ),
    Scenario("failed before the change of keys", INTERNAL, failing("CreateNewMasterKey")),
    Scenario("failed after the change of keys", INTERNAL, failing("DecommissionOldMasterKey")),
    Scenario("somebody else's runs", INTERNAL, PLAIN, somebody_elses_runs),
    Scenario("somebody else's ended with an error", INTERNAL, PLAIN, somebody_elses_ended_with_an_error),
    Scenario("its result is read away", INTERNAL, PLAIN, results_are_read_away),
)


def without(value: Any, path: str, here: str = "") -> Any:  # noqa: ANN401 - JSON
    """``value`` without the members at ``path``."""
    if isinstance(value, dict):
        named = {name: f"{here}.{name}" if here else name for name in value}
        return {name: without(inner, path, named[name]) for name, inner in value.items() if named[name] != path}
    if isinstance(value, list):
        return [without(inner, path, f"{here}[]") for inner in value]
    return value


@dataclass
class Interceptor:
    """Stands between client and cluster: sees every member, and takes one of them out."""

    taken_out: Path | None = None
    seen: set[Path] = field(default_factory=set)

    def reply_to(self, cluster: SimulatedCluster, request: HttpRequest) -> Reply:
        reply, method = reply_to(cluster, request), json.loads(request.body)["method"]
        answer = json.loads(reply.body)
        self.seen |= {(method, path) for path in members(answer)}
        if self.taken_out and method == self.taken_out[0]:
            answer = without(answer, self.taken_out[1])
        return replace(reply, body=json.dumps(answer).encode())


@contextmanager
def intercepted(cluster: SimulatedCluster, clock: FakeClock, taken_out: Path | None) -> Iterator[Interceptor]:
    interceptor = Interceptor(taken_out)
    with without_sockets({NAME: cluster}, clock.advance), patch.object(wire, "reply_to", interceptor.reply_to):
        yield interceptor


@dataclass(frozen=True)
class Played:
    """How a scenario ended, and the members seen in it."""

    end: tuple[object, ...]
    """The outcome, the error, the rekeys begun, and the keys before and after."""
    detail: str
    seen: frozenset[Path]


@cache
def play(scenario: Scenario, taken_out: Path | None = None) -> Played:
    """A whole rotation, with one member taken out of every answer."""
    harness = RotationHarness(request=scenario.request)
    cluster = SimulatedCluster(replace(scenario.spec, name=NAME, clock=harness.clock, password=PASSWORD))
    scenario.before(cluster, harness.clock)
    harness.ports = replace(harness.ports, clusters=SimulatedClusters({NAME: cluster}, harness.clock))
    harness.ledger.remember(NAME, ClusterMemory(cluster.uuid))
    with intercepted(cluster, harness.clock, taken_out) as interceptor:
        rotation = harness.run()
    change, failure = rotation.change, rotation.failure
    keys = (change.old_key.key_id, change.new_key.key_id, change.ours) if change else ()
    end = (rotation.outcome, failure.error if failure else "", len(cluster.rekeys), keys)
    return Played(end, rotation.detail, frozenset(interceptor.seen))


def matters(scenario: Scenario) -> dict[Path, bool]:
    """Each member of the scenario's answers, and whether it ends in another way without it."""
    as_it_is = play(scenario)
    return {path: play(scenario, path).end != as_it_is.end for path in as_it_is.seen}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_without_a_member_that_no_rule_reads_a_rotation_ends_as_with_it(scenario: Scenario) -> None:
    unread = {path for path, changes in matters(scenario).items() if changes} - READ.keys()
    assert not unread, {path: play(scenario, path).end for path in unread}


@pytest.mark.parametrize("path", READ, ids=" ".join)
def test_without_a_member_that_a_rule_reads_some_rotation_ends_in_another_way(path: Path) -> None:
    assert any(matters(scenario).get(path) for scenario in SCENARIOS)


def test_a_rekey_that_is_answered_without_its_handle_is_found_by_looking_and_taken_for_ours() -> None:
    internal = SCENARIOS[0]
    unanswered = play(internal, (REKEY, "result.asyncHandle"))
    assert unanswered.end == play(internal).end
    assert unanswered.detail.endswith("The answer to our rekey was lost; this one is taken for it.")


def test_every_call_of_a_rotation_is_in_the_scenarios() -> None:
    assert {method for scenario in SCENARIOS for method, _ in play(scenario).seen} == {*NEEDED, REKEY, KEY_SERVERS}

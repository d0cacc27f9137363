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

from element_rekey.cluster import KeyManagementType
from element_rekey.records import ClusterMemory, Request
from local.simulator import ClusterSpec, Fault, SimulatedCluster
from local.simulator.protocol import reply_to
from tests.fakes import NOW, FakeClock
from tests.reliability import wire
from tests.reliability.in_memory_harness import NAME, REKEY, SimulatedClusters
from tests.reliability.wire import without_sockets
from tests.unit.harness import RotationHarness
from tests.unit.samples import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.simulator.protocol import HttpRequest, Reply

pytestmark = pytest.mark.xdist_group("members")  # they share what was found out

Path = tuple[str, str]
"""A method, and where in its answers a member is; ``[]`` stands for every item of a list."""

API, INFO, VERSION, FAULTS = "GetAPI", "GetClusterInfo", "GetClusterVersionInfo", "ListClusterFaults"
ENCRYPTION, RESULT = "GetSoftwareEncryptionAtRestInfo", "GetAsyncResult"
PROVIDERS, PROVIDER_TEST = "ListKeyProvidersKmip", "TestKeyProviderKmip"
KEY = "result.masterKeyInfo"
METHODS = (API, VERSION, FAULTS, ENCRYPTION, PROVIDERS, PROVIDER_TEST, INFO, REKEY, RESULT)

READ: dict[Path, str] = {
    **{(method, "result"): "an answer without a result is none" for method in METHODS if method != REKEY},
    (API, "result.currentVersion"): "releases before 12.3 have no rekey",
    (API, "result.supportedVersions"): "the registered version has to be served",
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
    (RESULT, "result.resultType"): "whether the handle is that of a rekey",
    (RESULT, "result.status"): "whether the rekey is over",
    (RESULT, "result.createTime"): "whether a rekey that ended with an error made the current key",
    (RESULT, "result.result"): "the keys of a rekey that went well",
    (RESULT, "result.result.newKey"): "the key it says it made has to be the current one",
    (RESULT, "result.result.newKey.keyID"): "likewise",
    (RESULT, "result.result.newKey.keyManagementType"): "a key without it is half an answer",
    (RESULT, "result.result.keyToDecommission"): "the key it says it replaced has to be the one before",
    (RESULT, "result.result.keyToDecommission.keyID"): "likewise",
    (RESULT, "result.result.keyToDecommission.keyManagementType"): "a key without it is half an answer",
    (RESULT, "result.error"): "whether the rekey ended with an error",
    (RESULT, "error"): "why there is no result to read",
    (RESULT, "error.name"): "whether the result was read away, or cannot be read now",
}
"""What the rules decide by, and why. Everything else may be absent, in any release of the cluster.

Not even the handle of our rekey: an answer without it is a lost answer, and the next look finds the rekey.
"""


@dataclass(frozen=True)
class Scenario:
    """A cluster, a demand, and what happened on the cluster before."""

    name: str
    request: Request
    spec: ClusterSpec
    before: Callable[[SimulatedCluster, FakeClock], object] = lambda _cluster, _clock: None

    def __str__(self) -> str:
        return self.name


INTERNAL = Request(NAME, key_created_after=NOW)
EXTERNAL = replace(INTERNAL, key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
UNTESTABLE = Fault("providerTestFails", times=None)
PLAIN = ClusterSpec(rekey_seconds=20.0, cluster_faults=("driveWearFault",))


def failing(phase: str) -> ClusterSpec:
    return replace(PLAIN, faults=(Fault("phaseFailure", method=REKEY, phase=phase, name="xAssumed"),))


def somebody_elses_ended_with_an_error(cluster: SimulatedCluster, clock: FakeClock) -> None:
    cluster.inject(Fault("phaseFailure", phase="DecommissionOldMasterKey", name="xAssumed"))
    cluster.call(REKEY)
    clock.advance(60)


def somebody_elses_runs(cluster: SimulatedCluster, clock: FakeClock) -> None:
    clock.advance(1)
    cluster.inject(Fault("competingRekey", seconds=20.0))


def results_are_read_away(cluster: SimulatedCluster, _clock: FakeClock) -> None:
    cluster.inject(Fault("handleVanished", method=RESULT, skip=1))


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


def members(value: object, path: str = "") -> Iterator[str]:
    """Where each member in ``value`` is."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{name}" if path else name
            yield here
            yield from members(inner, here)
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner, f"{path}[]")


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
    cluster = SimulatedCluster(replace(scenario.spec, name=NAME, clock=harness.clock))
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
    assert {method for scenario in SCENARIOS for method, _ in play(scenario).seen} == set(METHODS)

"""What the tests of members have in common: whole rotations on one cluster, and where members are in its answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from element_rekey.cluster import KeyManagementType
from element_rekey.records import Request
from local.simulator import ClusterSpec, Fault, SimulatedCluster
from tests.fakes import NOW, FakeClock
from tests.reliability.in_memory_harness import NAME, REKEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

API, INFO, VERSION, FAULTS = "GetAPI", "GetClusterInfo", "GetClusterVersionInfo", "ListClusterFaults"
ENCRYPTION, RESULT = "GetSoftwareEncryptionAtRestInfo", "GetAsyncResult"
PROVIDERS, PROVIDER_TEST = "ListKeyProvidersKmip", "TestKeyProviderKmip"
KEY_SERVERS = "ListKeyServersKmip"  # asked for the ends of certificates; no rule of a rotation reads them


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

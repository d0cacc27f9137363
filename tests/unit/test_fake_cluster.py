"""One contract for the cluster that other tests use: FakeCluster shows what the simulated cluster shows.

The simulated one is asked through the real client, without a socket. Both are driven through the same story, and looked
at with every call; ids and handles differ, so each is compared by when it was first seen.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pytest

from element_rekey.cluster import ClusterFault, KeyManagementType, KeyProvider, MasterKey
from element_rekey.errors import ElementRekeyError
from local.simulator import ClusterSpec, Fault, SimulatedCluster
from local.simulator.spec import ProviderSpec
from tests.fakes import NOW, FakeClock, FakeCluster
from tests.reliability.in_memory_harness import NAME, REKEY, SimulatedClusters
from tests.reliability.wire import without_sockets
from tests.unit.samples import BROKEN, DAY, external, key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from element_rekey.cluster import RekeyJob
    from element_rekey.ports import ElementCluster

Ends = Literal["well", "before the change of keys", "after the change of keys"]
EXTERNAL, INTERNAL = KeyManagementType.EXTERNAL, KeyManagementType.INTERNAL
UNKNOWN_HANDLE = 999
REKEY_TAKES, FAILS_AFTER = 20, 5
"""Seconds; a rekey that fails before the change of keys does so in the first quarter of its time."""


@dataclass(frozen=True)
class Given:
    """What a cluster is like before the story."""

    provider: int | None = None
    """Of the key in use; None is an internal key."""
    providers: tuple[KeyProvider, ...] = ()
    failing_test: int | None = None
    faults: tuple[str, ...] = ()
    pending_version: str = ""
    enabled: bool = True


@dataclass
class Story:
    """A cluster that is driven and looked at."""

    clock: FakeClock
    api: ElementCluster
    forget: Callable[[], object]
    """Take the latest rekey's result away."""
    fail_next: Callable[[Ends], object]
    """Say how the next rekey ends."""
    pass_time: Callable[[], object]
    """Let a rekey that runs come to its end."""
    names: dict[object, str] = field(default_factory=dict)

    def rekey(self, kind: KeyManagementType | None = None, provider: int | None = None, ends: Ends = "well") -> str:
        self.fail_next(ends)
        self.clock.advance(1)
        try:
            return self._named("handle", self.api.rekey(kind, provider))
        except ElementRekeyError as error:
            return type(error).__name__

    def look(self, handle: int | None = None) -> dict[str, object]:
        """Everything there is to see, in words that are the same for every cluster."""
        self.api.check_api_version()
        state = self.api.encryption()
        asked = state.rekey_async_result_id if handle is None else handle
        return {
            "pending": self.api.version().pending_cluster_version,
            "faults": self.api.faults(),
            "enabled": state.enabled,
            "key": self._key(state.master_key),
            "key is known by its time": bool(state.master_key and state.master_key.key_created_time),
            "handle": self._named("handle", state.rekey_async_result_id),
            "job": self._job(self.api.rekey_job(asked)) if asked is not None else None,
            "providers": self.api.key_providers(),
            "cluster": self._named("cluster", self.api.identity().uuid),
        }

    def test(self, provider: int) -> str:
        error = self.api.test_key_provider(provider)
        return error.name if error else "passed"

    def _named(self, kind: str, value: object) -> str:
        if value is None:
            return f"no {kind}"
        known = sum(name.startswith(kind) for name in self.names.values())
        return self.names.setdefault((kind, value), f"{kind} {known + 1}")

    def _key(self, key: MasterKey | None) -> object:
        if key is None:
            return None
        age = "new" if key.key_created_time and key.key_created_time > NOW - DAY else "old or without a time"
        return self._named("key", key.key_id), key.key_management_type, key.key_provider_id, age

    def _job(self, job: RekeyJob | None) -> object:
        if job is None:
            return None
        assert job.create_time
        assert job.last_update_time
        return {
            "handle": self._named("handle", job.async_handle),
            "complete": job.complete,
            "begun": round((job.create_time - NOW).total_seconds()),
            "seconds": round((job.last_update_time - job.create_time).total_seconds()),
            "is in a phase": bool(job.phase),
            "new key": self._key(job.new_key),
            "key to decommission": self._key(job.key_to_decommission),
            "error": job.error,
        }


@contextmanager
def fake(given: Given) -> Iterator[Story]:
    clock = FakeClock()
    cluster = FakeCluster(
        clock,
        enabled=given.enabled,
        pending_version=given.pending_version,
        current_faults=tuple(ClusterFault(code) for code in given.faults),
        providers=given.providers,
        key=key() if given.provider is None else external(provider=given.provider),
        test_errors={given.failing_test: BROKEN} if given.failing_test else {},
    )
    if not given.enabled:
        cluster.key = None
    ends: list[Ends] = []

    def forget() -> None:
        cluster.jobs.clear()
        cluster.handle = None

    def pass_time() -> None:
        lasts = FAILS_AFTER if ends[-1] == "before the change of keys" else REKEY_TAKES
        clock.advance(lasts)
        cluster.finish(None if ends[-1] == "well" else BROKEN, replaced=ends[-1] != "before the change of keys")
        clock.advance(REKEY_TAKES - lasts)

    yield Story(clock, cluster, forget, ends.append, pass_time)


PHASES = {"before the change of keys": "CreateNewMasterKey", "after the change of keys": "DecommissionOldMasterKey"}


@contextmanager
def simulated(given: Given) -> Iterator[Story]:
    clock = FakeClock()
    failing = (Fault("providerTestFails", times=None, name=BROKEN.name, message=BROKEN.message),)
    spec = ClusterSpec(
        name=NAME,
        clock=clock,
        rekey_seconds=float(REKEY_TAKES),
        encryption_enabled=given.enabled,
        key_age=400 * DAY,
        key_provider_id=given.provider,
        providers=tuple(ProviderSpec(one.key_provider_id, server_id=_server(one)) for one in given.providers),
        cluster_faults=given.faults,
        pending_version=given.pending_version or None,
        faults=failing if given.failing_test else (),
    )
    cluster = SimulatedCluster(spec)

    def fail_next(ends: Ends) -> None:
        if ends in PHASES:
            phase = PHASES[ends]
            cluster.inject(Fault("phaseFailure", method=REKEY, phase=phase, name=BROKEN.name, message=BROKEN.message))

    def forget() -> None:
        cluster.call("GetAsyncResult", {"asyncHandle": cluster.rekeys[-1].handle})  # which the first reader deletes

    with without_sockets({NAME: cluster}, clock.advance):
        api = SimulatedClusters({NAME: cluster}, clock).connect(NAME)
        yield Story(clock, api, forget, fail_next, lambda: clock.advance(REKEY_TAKES))


def _server(provider: KeyProvider) -> int | None:
    return provider.key_server_ids[0] if provider.key_server_ids else None


def looked_at(story: Story) -> Iterator[object]:
    yield story.look()


def asked_for_a_handle_it_does_not_know(story: Story) -> Iterator[object]:
    yield story.look(UNKNOWN_HANDLE)


def rekeyed(
    kind: KeyManagementType | None = None, provider: int | None = None, ends: Ends = "well"
) -> Callable[[Story], Iterator[object]]:
    def course(story: Story) -> Iterator[object]:
        yield story.look()
        yield story.rekey(kind, provider, ends)
        yield story.look()
        story.pass_time()
        yield story.look()
        story.clock.advance(3600)
        yield story.look()
        yield story.look(UNKNOWN_HANDLE)

    return course


def rekeyed_twice(story: Story) -> Iterator[object]:
    for _ in range(2):
        yield story.rekey()
        yield story.look()
        story.pass_time()
        yield story.look()


def rekeyed_while_a_rekey_runs(story: Story) -> Iterator[object]:
    yield story.rekey()
    yield story.rekey()
    yield story.look()


def its_result_read_away(story: Story) -> Iterator[object]:
    yield story.rekey()
    story.pass_time()
    story.forget()
    yield story.look()
    yield story.rekey()
    yield story.look()


def providers_tested(story: Story) -> Iterator[object]:
    yield story.look()
    yield story.test(15)


PROVIDERS = (KeyProvider(15, (6,)), KeyProvider(16, ()))
ON_A_SERVER = Given(provider=15, providers=PROVIDERS)

STORIES: dict[str, tuple[Given, Callable[[Story], Iterator[object]]]] = {
    "fresh": (Given(), looked_at),
    "fresh, on a key server": (ON_A_SERVER, looked_at),
    "a handle nobody knows": (Given(), asked_for_a_handle_it_does_not_know),
    "a rekey runs and completes": (Given(), rekeyed()),
    "from internal to external": (Given(providers=PROVIDERS), rekeyed(EXTERNAL, 15)),
    "from external to internal": (ON_A_SERVER, rekeyed(INTERNAL)),
    "an external key stays where it is": (ON_A_SERVER, rekeyed()),
    "failed before the change of keys": (Given(), rekeyed(ends="before the change of keys")),
    "failed after the change of keys": (Given(), rekeyed(ends="after the change of keys")),
    "one rekey after the other": (Given(), rekeyed_twice),
    "a rekey while another runs": (Given(), rekeyed_while_a_rekey_runs),
    "a result that was read away": (Given(), its_result_read_away),
    "faults": (Given(faults=("nodeOffline", "driveWearFault")), looked_at),
    "an upgrade is pending": (Given(pending_version="12.5.0.897"), looked_at),
    "encryption is off": (Given(enabled=False), looked_at),
    "a provider that works": (Given(providers=PROVIDERS), providers_tested),
    "a provider that fails its test": (Given(providers=PROVIDERS, failing_test=15), providers_tested),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_fake_shows_what_the_simulated_cluster_shows(name: str) -> None:
    given, story = STORIES[name]
    with simulated(given) as one:
        expected = list(story(one))
    with fake(given) as other:
        assert list(story(other)) == expected

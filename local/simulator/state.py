"""The state of one Element cluster: its key, its rekeys and their results, its providers, its faults, its clock.

It knows nothing of JSON-RPC, accounts or sockets. Nothing moves by itself: `advance` brings the state up to the
time of the clock, and every question is asked after that.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from local.simulator.errors import RpcError
from local.simulator.rekey import Management, MasterKey, Phase, Rekey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.simulator.faults import Fault
    from local.simulator.spec import ClusterSpec, ProviderSpec

COMPETITOR = "another-admin"


@dataclass(frozen=True)
class CloneResult:
    """A finished volume clone: rekey handles share their numbers with results such as this."""

    handle: int
    volume_id: int
    finished: datetime


@dataclass(frozen=True)
class ClusterFault:
    """A fault in the sense of ListClusterFaults; times are true times."""

    fault_id: int
    code: str
    since: datetime
    resolved: datetime | None = None


@dataclass(frozen=True)
class _LateRekey:
    due: datetime
    by: str
    params: Mapping[str, object]


class ClusterState:
    """One cluster, as a state machine over the clock of its specification. Not thread-safe by itself."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.assumptions = spec.assumptions
        # Repeatable ids are wanted here, not secret ones.
        self._random = random.Random(f"{spec.name}/{spec.seed}")  # noqa: S311
        self.begun = spec.clock()
        self.rekeys: list[Rekey] = []
        self.clock_skew = spec.clock_skew
        self.key_time_skew = timedelta(0)
        self.pending_version = spec.pending_version
        self.failure: Fault | None = None
        self._late: list[_LateRekey] = []
        self._faults: list[ClusterFault] = []
        self._fault_list: tuple[datetime, tuple[ClusterFault, ...]] | None = None
        self.version = 1 if spec.encryption_enabled else 0
        self.mvip_node_id = 1
        self._settle_as_new_cluster()
        for code in (*spec.cluster_faults, *self._provider_faults()):
            self.raise_fault(code)
        self._initial_faults = len(self._faults)

    def _settle_as_new_cluster(self) -> None:
        """An identity, a key and a history of its own; made anew when the address passes to another cluster."""
        now = self.now()
        self.uuid = self._new_uuid()
        self.unique_id = "".join(self._random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4))
        self._key = MasterKey(
            self._new_uuid(), now - self.spec.key_age, self.spec.management, self.spec.key_provider_id
        )
        self._held = {self._key}
        self._running: Rekey | None = None
        self._late.clear()
        self.latest_handle: int | None = None
        self._results: dict[int, CloneResult | Rekey] = {}
        self._next_handle = self._random.randrange(10, 40)
        for age in (30, 20, 10):
            handle = self._take_handle()
            self._results[handle] = CloneResult(handle, self._random.randrange(1, 90), now - timedelta(days=age))
            self._next_handle += self._random.randrange(0, 3)

    def _new_uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _take_handle(self) -> int:
        self._next_handle += 1
        return self._next_handle - 1

    # -- time -----------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """True time."""
        return self.spec.clock()

    def timestamp(self, moment: datetime) -> str:
        """A moment as the cluster writes it: by its own clock, in UTC, in the time format assumed."""
        shown = moment + self.clock_skew
        if self.assumptions.time_format == "microseconds":
            return shown.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return shown.strftime("%Y-%m-%dT%H:%M:%SZ")

    def advance(self) -> datetime:
        """Lets delayed requests arrive, rekeys end and old results go, as far as it is time; returns true time."""
        now = self.now()
        for late in sorted((one for one in self._late if one.due <= now), key=lambda one: one.due):
            self._late.remove(late)
            self._end_rekey(late.due)
            if self._running is None:
                self._start(late.by, late.params, own=True, begun=late.due, seconds=None)
        self._end_rekey(now)
        lifetime = self.assumptions.result_lifetime_seconds
        if lifetime is not None:
            for handle, result in list(self._results.items()):
                if isinstance(result, Rekey) and now >= result.ends + timedelta(seconds=lifetime):
                    self.forget_result(handle)
        return now

    def _end_rekey(self, now: datetime) -> None:
        rekey = self._running
        if rekey is not None and rekey.finished(now):
            self._key = rekey.current(now, self.assumptions.key_flips)
            self._held = (self._held - {rekey.old}) | rekey.held(now)
            self._running = None

    # -- the master key -------------------------------------------------------------------------------------------

    def current_key(self) -> MasterKey:
        """The master key in use."""
        if self._running is None:
            return self._key
        return self._running.current(self.now(), self.assumptions.key_flips)

    def held_keys(self) -> frozenset[MasterKey]:
        """All master keys that exist: more than one while a rekey runs, or where one left a key behind."""
        held = frozenset(self._held)
        return held if self._running is None else (held - {self._running.old}) | self._running.held(self.now())

    def running_handle(self) -> int | None:
        """The asyncHandle of the rekey that runs, if one does."""
        return self._running.handle if self._running else None

    def start_rekey(self, by: str, management: Management | None, provider_id: int | None) -> int:
        """RekeySoftwareEncryptionAtRestMasterKey: checks the request, begins a rekey, returns its asyncHandle.

        Raises:
            RpcError: encryption is off, the parameters do not fit together, or a rekey runs or has left a result that
                is kept (assumed answers).
        """
        if not self.spec.encryption_enabled:
            raise RpcError(self.assumptions.encryption_disabled_error, "Software encryption at rest is not enabled.")
        self._check_rekey(management, provider_id)
        if self._running is not None:
            if self.assumptions.second_rekey == "sameHandle":
                return self._running.handle
            raise RpcError(self.assumptions.second_rekey_error, "A master key rekey operation is already in progress.")
        if self.latest_handle is not None and self.assumptions.kept_result == "blocks":
            raise RpcError(self.assumptions.kept_result_error, "The result of the last rekey operation is still kept.")
        return self._start(by, _params(management, provider_id), own=True, begun=self.now(), seconds=None)

    def start_late_rekey(self, by: str, params: Mapping[str, object], delay: timedelta) -> None:
        """A rekey request that is held up inside the cluster and applied `delay` from now, unless one runs then."""
        self._late.append(_LateRekey(self.now() + delay, by, params))

    def compete(self, seconds: float | None, management: str | None = None) -> None:
        """Another administrator rekeys, under the current management unless one is named; no effect if a rekey runs.

        External is with the first provider.
        """
        if self._running is None and self.spec.encryption_enabled:
            provider = self.spec.providers[0].provider_id if management == Management.EXTERNAL else None
            params = _params(Management(management) if management else None, provider)
            self._start(COMPETITOR, params, own=False, begun=self.now(), seconds=seconds)
            self._end_rekey(self.now())

    def _check_rekey(self, management: Management | None, provider_id: int | None) -> None:
        if management is Management.EXTERNAL and provider_id is None:
            raise RpcError(
                "xMissingParameter", "Missing member=[keyProviderID] members={keyManagementType,requestAPIVersion}"
            )
        if management is not Management.EXTERNAL and provider_id is not None:
            raise RpcError("xInvalidParameter", "keyProviderID is only valid with keyManagementType External.")
        if provider_id is None:
            return
        provider = self.provider(provider_id)
        if provider.server_id is None:
            raise RpcError(
                self.assumptions.provider_without_server_error, f"Key provider {provider_id} has no key server."
            )
        if provider.trouble and self.assumptions.provider_down == "refuse":
            raise self.provider_error(provider)

    def _start(
        self, by: str, params: Mapping[str, object], *, own: bool, begun: datetime, seconds: float | None
    ) -> int:
        """Begins a rekey and returns its handle; `seconds` None takes the duration of the specification."""
        old = self._key
        external = params.get("keyManagementType") == Management.EXTERNAL
        stays = "keyManagementType" not in params
        provider_id = old.provider_id if stays else params.get("keyProviderID") if external else None
        rekey = Rekey(
            handle=self._take_handle(),
            begun=begun,
            seconds=self.spec.rekey_seconds if seconds is None else seconds,
            by=by,
            own=own,
            params=dict(params),
            old=old,
            new=MasterKey(
                self._new_uuid(),
                begun,
                old.management if stays else Management(str(params["keyManagementType"])),
                provider_id if isinstance(provider_id, int) else None,
            ),
            cluster_uuid=self.uuid,
        )
        rekey = self._with_failure(rekey)
        rekey = replace(rekey, new=replace(rekey.new, created=rekey.key_made))
        self.rekeys.append(rekey)
        self._results[rekey.handle] = rekey
        self._running = rekey
        self.latest_handle = rekey.handle
        return rekey.handle

    def _with_failure(self, rekey: Rekey) -> Rekey:
        provider = self.spec.provider(rekey.new.provider_id) if rekey.new.provider_id is not None else None
        if provider is not None and provider.trouble:
            error = self.provider_error(provider)
            return replace(rekey, fails_in=Phase.CREATE, error_name=error.name, error_message=error.message)
        rule = self.failure
        if rule is None or not rekey.own:
            return rekey
        self.failure = None
        name = rule.name or self.assumptions.phase_error
        message = rule.message or f"The operation failed in phase {rule.phase}."
        return replace(rekey, fails_in=Phase(str(rule.phase)), error_name=name, error_message=message)

    # -- results --------------------------------------------------------------------------------------------------

    def result(self, handle: int) -> CloneResult | Rekey:
        """The asynchronous result of a handle.

        Raises:
            RpcError: the handle is unknown: never given, read away, or gone.
        """
        found = self._results.get(handle)
        if found is None:
            raise self.unknown_handle(handle)
        return found

    def results(self) -> tuple[CloneResult | Rekey, ...]:
        """All asynchronous results there are, in the order of their handles."""
        return tuple(self._results[handle] for handle in sorted(self._results))

    def forget_result(self, handle: int | None) -> None:
        """Removes a result; rekeyMasterKeyAsyncResultID goes with it. The operation itself is not touched."""
        if handle is not None and self._results.pop(handle, None) is not None and handle == self.latest_handle:
            self.latest_handle = None

    def unknown_handle(self, handle: object) -> RpcError:
        """The error for a handle that is not known, in the wording of the release assumed."""
        if self.assumptions.unknown_handle == "xAsyncHandleDoesNotExist":
            return RpcError("xAsyncHandleDoesNotExist", f"Async handle {handle} does not exist.")
        message = f"DBClient operation requested on a non-existent path at [/asyncresults/{handle}]"
        return RpcError("xDBNoSuchPath", message)

    def latest_phase(self) -> Phase | None:
        """Where the latest rekey is: None if there is none or its result is gone, Ready once it is over."""
        result = None if self.latest_handle is None else self._results.get(self.latest_handle)
        if not isinstance(result, Rekey):
            return None
        return Phase.READY if result.finished(self.now()) else result.phase(self.now())

    # -- providers ------------------------------------------------------------------------------------------------

    def provider(self, provider_id: int) -> ProviderSpec:
        """The key provider of this id.

        Raises:
            RpcError: there is none (assumed name).
        """
        found = self.spec.provider(provider_id)
        if found is None:
            raise RpcError(self.assumptions.unknown_provider_error, f"Key provider {provider_id} does not exist.")
        return found

    def provider_is_active(self, provider_id: int) -> bool:
        """Whether keys made through this provider are outstanding."""
        return any(key.provider_id == provider_id for key in self.held_keys())

    def provider_error(self, provider: ProviderSpec) -> RpcError:
        """The error of a provider that is in trouble (assumed name)."""
        text = {
            "connection": "Unable to connect to the key server.",
            "authentication": "The key server rejected the client certificate.",
            "serverError": "The key server returned an error.",
        }[provider.trouble or "serverError"]
        return RpcError(self.assumptions.provider_test_error, text)

    # -- cluster faults -------------------------------------------------------------------------------------------

    def raise_fault(self, code: str) -> None:
        """Raises a cluster fault of this code."""
        self._faults.append(ClusterFault(len(self._faults) + 1, code, self.now()))

    def resolve_faults(self) -> None:
        """Resolves all cluster faults but those the cluster started with."""
        now = self.now()
        standing = self._initial_faults
        self._faults[standing:] = [replace(one, resolved=one.resolved or now) for one in self._faults[standing:]]

    def _provider_faults(self) -> list[str]:
        return [
            "kmipServerFault" for one in self.spec.providers if one.trouble and self.provider_is_active(one.provider_id)
        ]

    def fault_list(self) -> tuple[ClusterFault, ...]:
        """The faults as ListClusterFaults sees them: the cluster caches the list, by default for 30 seconds."""
        now = self.now()
        cache = timedelta(seconds=self.spec.fault_cache_seconds)
        if self._fault_list is None or now - self._fault_list[0] >= cache:
            self._fault_list = (now, tuple(self._faults))
        return self._fault_list[1]

    # -- identity -------------------------------------------------------------------------------------------------

    def move_master(self) -> None:
        """Another node becomes cluster master and takes the MVIP over."""
        self.mvip_node_id = self.mvip_node_id % 4 + 1

    def become_other_cluster(self) -> None:
        """The address belongs to another cluster from now on: other uuid, other key, other handles."""
        self._settle_as_new_cluster()


def _params(management: Management | None, provider_id: int | None) -> dict[str, object]:
    given = {"keyManagementType": management, "keyProviderID": provider_id}
    return {name: value for name, value in given.items() if value is not None}

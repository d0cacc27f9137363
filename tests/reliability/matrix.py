"""The fault matrix: which fault hits which call, and what must come of it. The rules come first, the runs after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from element_rekey.records import ClusterMemory
from local.simulator import FAULTS, ClusterSpec, Fault, FaultName
from tests.reliability.in_memory_harness import DEMAND, EXTERNAL, NAME, REKEY, in_memory_harness
from tests.workflow.harness import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLUSTER = ClusterSpec(rekey_seconds=6.0, seed="matrix")
RESULT = "GetAsyncResult"
LOOKS = ("GetAPI", "GetClusterVersionInfo", "ListClusterFaults", "GetSoftwareEncryptionAtRestInfo", "GetClusterInfo")
PROVIDER_LOOKS = ("ListKeyProvidersKmip", "TestKeyProviderKmip")
CALLS = {"internal": (*LOOKS, REKEY, RESULT), "external": (*LOOKS, *PROVIDER_LOOKS, REKEY, RESULT)}
GIVEN = {"internal": DEMAND, "external": EXTERNAL}

ROTATED, FOLLOWED = ("Rotated", ""), ("Followed", "")
AWAY = ("Failed", "ClusterUnavailable")
SHUT = ("Failed", "CredentialsRefused")
DENIED = ("Failed", "PermissionDenied")
UNKNOWN = ("OutcomeUnknown", "RekeyOutcomeUnknown")

UNUSABLE = tuple(
    FaultName(name)
    for name in (
        *("resetBeforeProcessing", "resetAfterProcessing", "stall", "drip", "truncatedBody", "nullResult"),
        *("nullBody", "emptyBody", "html404", "html502", "html503", "redirect307"),
    )
)
"""Faults of the answer that leave nothing to read."""
TRANSIENT = (
    *("xDBClosing", "xDBConnectionLoss", "xDBInvalidState", "xDBNoServerResponse", "xDBNoSuchPath"),
    *("xDBOperationTimeout", "xDBSessionExpired", "xDBSessionMoved", "xDBVersionMismatch", "xNotPrimary"),
)
OTHER_ERROR = "xSomethingNobodyPublished"


@dataclass(frozen=True)
class Case:
    """One fault on one call of one kind of rotation, once or for ever."""

    fault: Fault
    kind: str

    @property
    def call(self) -> str:
        """The call it hits."""
        return self.fault.method

    @property
    def for_ever(self) -> bool:
        """Whether it hits every such call."""
        return self.fault.times is None

    @property
    def name(self) -> str:
        """The fault with what makes it one of a kind; the row of the table."""
        fault = self.fault
        words = [str(fault.fault), fault.name or fault.code or fault.phase or ""]
        words.append("applied" if fault.is_applied and not fault.kind.fixed_applied else "")
        words.append(f"{fault.seconds:+.0f} s" if fault.fault in _BY_SECONDS and fault.seconds else "")
        return " ".join([*filter(None, words), "always" if self.for_ever else "once"])


_BY_SECONDS = {FaultName.CLOCK_SKEW, FaultName.KEY_TIME_SKEW, FaultName.APPLY_DELAY, FaultName.REFUSE_CONNECTIONS}


def expected(case: Case) -> tuple[str, str]:
    """The outcome and the error that must come of a case."""
    name = FaultName(case.fault.fault)
    if name in _STATE_RULES:
        return _STATE_RULES[name](case)
    if case.call == REKEY:
        return _expected_of_the_rekey(case, name)
    return _expected_of_a_look(case, name)


def _lost(case: Case, error: str) -> tuple[str, str]:
    """An error that ends the execution: before the rekey nothing was changed, after it nobody knows."""
    return ("OutcomeUnknown" if case.call == RESULT else "Failed", error)


def _expected_of_a_look(case: Case, name: FaultName) -> tuple[str, str]:
    error = case.fault.name
    if name is FaultName.HTML_401:
        return ROTATED if case.call == RESULT and not case.for_ever else _lost(case, "CredentialsRefused")
    if name is FaultName.PROVIDER_TEST_FAILS:
        return ("Failed", "KeyProviderUnusable")
    if case.call == RESULT and (
        name in {FaultName.HANDLE_NOT_YET_VISIBLE, FaultName.NULL_RESULT} or error in {"xDBNoSuchPath", OTHER_ERROR}
    ):
        return ROTATED  # for ever: at the deadline, by the keys alone
    if error == OTHER_ERROR:
        return (
            ("Failed", "KeyProviderUnusable") if case.call == "TestKeyProviderKmip" else _lost(case, "ElementApiError")
        )
    if case.call == "TestKeyProviderKmip" and name in {FaultName.STALL, FaultName.DRIP}:
        return ("Failed", "KeyProviderUnusable")  # not repeated: it may take as long each time
    if not case.for_ever:
        return ROTATED
    unusable = "AnswerNotUnderstood" if name is FaultName.NULL_RESULT else "ClusterUnavailable"
    return _lost(case, "PermissionDenied" if error == "xPermissionDenied" else unusable)


def _expected_of_the_rekey(case: Case, name: FaultName) -> tuple[str, str]:
    if name is FaultName.HTML_401:
        return SHUT
    if case.fault.name in {"xPermissionDenied", OTHER_ERROR}:
        if case.fault.is_applied:
            return FOLLOWED  # the cluster said no and did it all the same: found by looking
        denied = DENIED if case.for_ever else ROTATED
        return denied if case.fault.name == "xPermissionDenied" else ("Failed", "RekeyRefused")
    if case.fault.is_applied or not case.for_ever or name is FaultName.APPLY_DELAY:
        return ROTATED
    return AWAY if name is FaultName.HTML_404 else UNKNOWN


def _until(last: str, refusal: str) -> dict[str, tuple[str, str]]:
    """What holds until a look is over is refused; what comes later goes unnoticed."""
    return dict.fromkeys(LOOKS[: LOOKS.index(last) + 1], ("Failed", refusal))


_STATE_RULES: dict[FaultName, Callable[[Case], tuple[str, str]]] = {
    FaultName.REFUSE_CONNECTIONS: lambda _: ROTATED,
    FaultName.MASTER_MOVE: lambda _: ROTATED,
    FaultName.CLOCK_SKEW: lambda _: ROTATED,
    FaultName.KEY_TIME_SKEW: lambda _: ROTATED,
    FaultName.HANDLE_VANISHED: lambda _: ROTATED,
    FaultName.PASSWORD_CHANGED: lambda case: _lost(case, "CredentialsRefused"),
    FaultName.CERTIFICATE_REPLACED: lambda case: (
        ("OutcomeUnknown" if case.call in {REKEY, RESULT} else "Failed"),
        "CertificateRefused",
    ),
    FaultName.OTHER_CLUSTER: lambda case: (
        ("OutcomeUnknown" if case.call in {REKEY, RESULT} else "Failed"),
        "ClusterIdentityChanged",
    ),
    FaultName.UPGRADE_PENDING: lambda case: (  # after the test of a key provider everything is looked at once more
        _until("GetClusterVersionInfo", "UpgradePending") | dict.fromkeys(PROVIDER_LOOKS, ("Failed", "UpgradePending"))
    ).get(case.call, ROTATED),
    FaultName.CLUSTER_FAULT: lambda case: _until("ListClusterFaults", "ClusterFaultsBlock").get(case.call, ROTATED),
    FaultName.COMPETING_REKEY: lambda case: ROTATED if case.kind == "external" or case.call == RESULT else FOLLOWED,
    FaultName.PHASE_FAILURE: lambda case: (
        ("RotatedWithError", "RekeyEndedWithError")
        if case.fault.phase == "DecommissionOldMasterKey"
        else ("Failed", "RekeyFailed")
    ),
}


def own_rekeys(case: Case) -> set[int]:
    """How many rekeys of ours the cluster may have begun: never more than one."""
    outcome, _ = expected(case)
    if outcome in {"Rotated", "RotatedWithError"}:
        return {1}
    if case.fault.fault == FaultName.OTHER_CLUSTER and case.call == REKEY:
        return {1}  # begun on the other cluster
    if outcome == "Failed":
        return {0, 1} if case.fault.phase else {0}
    return {0, 1}


# -- the cases ----------------------------------------------------------------------------------------------------


def variants(name: FaultName, call: str) -> Iterator[Fault]:
    """The ways in which a fault can hit a call."""
    needed = REQUIRED.get(name, {})
    once = Fault(name, call, name=needed.get("name"), code=needed.get("code"), phase=needed.get("phase"))
    applied = call == REKEY and "applied" in FAULTS[name].members
    if name is FaultName.RPC_ERROR:
        errors = (*TRANSIENT, "xPermissionDenied", OTHER_ERROR) if call == REKEY else _ERRORS_OF_A_LOOK
        for error in errors:
            yield replace(once, name=error)
            if applied and error != "xPermissionDenied":  # that one is said before anything is done
                yield replace(once, name=error, applied=True)
    elif name is FaultName.PHASE_FAILURE:
        yield from (replace(once, phase=phase) for phase in _PHASES)
    elif name in {FaultName.CLOCK_SKEW, FaultName.KEY_TIME_SKEW}:
        yield from (replace(once, seconds=seconds) for seconds in (-3 * 3600.0, 3 * 3600.0))
    elif name is FaultName.APPLY_DELAY:
        yield from (replace(once, seconds=seconds) for seconds in (5.0, 100.0))
    else:
        yield once
        if applied:
            yield replace(once, applied=not once.is_applied)


REQUIRED: dict[FaultName, dict[str, str]] = {
    FaultName.RPC_ERROR: {"name": OTHER_ERROR},
    FaultName.CLUSTER_FAULT: {"code": "ensembleDegraded"},
    FaultName.PHASE_FAILURE: {"phase": "CreateNewMasterKey"},
}
_ERRORS_OF_A_LOOK = ("xDBConnectionLoss", "xDBNoSuchPath", "xPermissionDenied", OTHER_ERROR)
_PHASES = ("CreateNewMasterKey", "RewrapDataEncryptionKeys", "DecommissionOldMasterKey")
_LASTING = frozenset({*UNUSABLE, FaultName.HTML_401, FaultName.RPC_ERROR, FaultName.HANDLE_NOT_YET_VISIBLE})


def cases(name: FaultName) -> list[Case]:
    """All cases of a fault; an external rotation differs in its own calls, the rekey, and what comes after it."""
    found: list[Case] = []
    for kind, calls in CALLS.items():
        for call in calls:
            shared = kind == "external" and call in LOOKS and name is not FaultName.COMPETING_REKEY
            if shared or not FAULTS[name].can_hit(call) or (name is FaultName.HANDLE_VANISHED and call != RESULT):
                continue
            for fault in variants(name, call):
                found.append(Case(fault, kind))
                if name in _LASTING:
                    found.append(Case(replace(fault, times=None), kind))
    return found


# -- the runs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What came of a case."""

    outcome: str
    error: str
    status: str
    own_rekeys: int
    notifications: int
    deliveries: int
    lock_seconds: float
    took_seconds: float
    dead_letters: int
    key_is_as_published: bool


@cache
def run(case: Case) -> Result:
    """Rotate with the fault."""
    with in_memory_harness(CLUSTER) as harness:
        began, uuid = harness.clock(), harness.cluster.uuid
        harness.ledger.remember(NAME, ClusterMemory(uuid))
        harness.cluster.inject(case.fault)
        arn = harness.start(GIVEN[case.kind])
        harness.clock.run()
        (notification, *more) = harness.topic.notifications_of(arn)
        return Result(
            outcome=notification["outcome"],
            error=notification.get("error", ""),
            status=harness.status(arn),
            own_rekeys=harness.own_rekeys(),
            notifications=1 + len(more),
            deliveries=len(harness.topic.deliveries),
            lock_seconds=harness.lock_seconds(),
            took_seconds=(harness.clock() - began).total_seconds(),
            dead_letters=len(harness.dead_letters),
            key_is_as_published="newKey" not in notification
            or notification["newKey"]["keyID"] == harness.cluster.current_key.key_id,
        )


def violations(case: Case) -> list[str]:
    """Everything about a case that is not as it must be."""
    result = run(case)
    outcome, error = expected(case)
    settling = SETTINGS.settling.total_seconds()
    until_the_deadline = case.for_ever and case.call == RESULT and outcome == "Rotated"
    longest = (6.2 if until_the_deadline else 1.0) * 3600.0
    expectations = {
        f"{result.outcome} {result.error}, not {outcome} {error}": (result.outcome, result.error) == (outcome, error),
        f"{result.own_rekeys} rekeys of ours": result.own_rekeys in own_rekeys(case),
        f"{result.notifications} notifications in {result.deliveries} deliveries": result.notifications
        == result.deliveries
        == 1,
        f"ended as {result.status}": result.status == ("FAILED" if result.error else "SUCCEEDED"),
        f"took {result.took_seconds} s": result.took_seconds <= longest,
        f"the lock is held for {result.lock_seconds} s": result.lock_seconds
        <= (settling if result.outcome == UNKNOWN[0] else 0),
        "there are dead letters": result.dead_letters == 0,
        "the key published is not the key in use": result.key_is_as_published,
    }
    return [f"{case.name} on {case.call}, {case.kind}: {what}" for what, kept in expectations.items() if not kept]

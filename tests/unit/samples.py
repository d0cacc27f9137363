"""Keys, observations and records to begin a test with; each argument changes one thing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from element_rekey.cluster import (
    ClusterIdentity,
    ClusterVersion,
    ElementError,
    EncryptionState,
    KeyManagementType,
    MasterKey,
    RekeyJob,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterMemory, Execution, Failure, Following, Intent, KeyChange, Request, Rotation
from element_rekey.rules.decisions import Fail, Observation, Refuse
from element_rekey.rules.demand import Demand
from tests.fakes import NOW, SETTINGS

if TYPE_CHECKING:
    from element_rekey.errors import ElementRekeyError

if TYPE_CHECKING:
    from element_rekey.ports import Ledger

ARN = "arn:aws:states:eu-central-1:123456789012:execution:RotateMasterKey:one"
OTHER_ARN = ARN.removesuffix("one") + "other"
UUID = "uuid-of-prod-a"

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
SETTLING = SETTINGS.settling

BROKEN = ElementError("xAssumed", "Out of entropy.")


def execution(started_at: datetime = NOW, arn: str = ARN) -> Execution:
    return Execution(arn, started_at)


def key(
    key_id: str = "key-0",
    made: datetime | None = NOW - 400 * DAY,
    kind: KeyManagementType = KeyManagementType.INTERNAL,
    provider: int | None = None,
) -> MasterKey:
    return MasterKey(key_id, kind, provider, made)


def external(key_id: str = "key-0", provider: int = 15, made: datetime | None = NOW - 400 * DAY) -> MasterKey:
    return key(key_id, made, KeyManagementType.EXTERNAL, provider)


YOUNG = key("key-1", NOW - DAY)
OLD = key("key-0", NOW - 400 * DAY)


def demand(**changes: Any) -> Demand:  # noqa: ANN401 - one argument for each member
    plain = Demand(
        cluster="prod-a",
        made_after=NOW - 90 * DAY,
        key_management_type=None,
        key_provider_id=None,
        needs_age=True,
        cool_down=timedelta(),
        urgent=False,
        ignore_faults=frozenset(),
        accept_cluster_uuid="",
    )
    return replace(plain, **changes)


def seen(  # noqa: PLR0913 - one argument for each thing a test varies
    current: MasterKey | None = None,
    *,
    at: datetime = NOW,
    enabled: bool = True,
    handle: int | None = None,
    job: RekeyJob | None = None,
    memory: ClusterMemory | None = None,
    uuid: str = UUID,
    pending: str = "",
    **more: Any,  # noqa: ANN401 - what is left of Observation
) -> Observation:
    return Observation(
        at=at,
        identity=ClusterIdentity(uuid, "production"),
        memory=memory,
        version=ClusterVersion(pending),
        encryption=EncryptionState(enabled, current or key(), handle),
        job=job,
        **more,
    )


def main_memory(ledger: Ledger) -> ClusterMemory | None:
    """What is remembered of the cluster, without what ``rules/test_memory.py`` and ``test_changes.py`` are about."""
    memory = ledger.memory("prod-a")
    if memory is None:
        return None
    return replace(
        memory, key_known_since=None, key_created_time=None, earlier_keys=(), version=0, rekey_of=None, claimed=None
    )


def looked(at: datetime, job: RekeyJob | None, encryption: EncryptionState) -> Observation:
    """What a status check sees."""
    return Observation(at, ClusterIdentity(UUID, "production"), None, encryption, job)


def running(handle: int = 7, **changes: Any) -> RekeyJob:  # noqa: ANN401 - one argument for each member
    return replace(RekeyJob(handle, complete=False, create_time=NOW - MINUTE, phase="CreateNewMasterKey"), **changes)


def done(new: MasterKey | None, old: MasterKey | None, handle: int = 7, error: ElementError | None = None) -> RekeyJob:
    return RekeyJob(
        handle,
        complete=True,
        create_time=NOW - MINUTE,
        last_update_time=NOW - timedelta(seconds=10),
        new_key=new,
        key_to_decommission=old,
        error=error,
    )


def intent(**changes: Any) -> Intent:  # noqa: ANN401 - one argument for each member
    return replace(Intent(UUID, key(), None, NOW - timedelta(seconds=30)), **changes)


def following(**changes: Any) -> Following:  # noqa: ANN401 - one argument for each member
    return replace(Following(7, ours=True, since=NOW - MINUTE, baseline_key=key()), **changes)


def change(**changes: Any) -> KeyChange:  # noqa: ANN401 - one argument for each member
    plain = KeyChange(
        old_key=key(),
        new_key=key("key-1", NOW + MINUTE),
        ours=True,
        finished_at=NOW + 3 * MINUTE,
        detected_at=NOW + 3 * MINUTE + timedelta(seconds=12),
        job_result_read=True,
        key_to_decommission=key(),
        job_seconds=120,
    )
    return replace(plain, **changes)


def rotation(**changes: Any) -> Rotation:  # noqa: ANN401 - one argument for each member
    return replace(Rotation(execution(), "prod-a", Request("prod-a")), **changes)


def rotated(**changes: Any) -> Rotation:  # noqa: ANN401 - one argument for each member
    plain = rotation(
        cluster_uuid=UUID,
        cluster_name="production",
        current_key=key("key-1", NOW + MINUTE),
        intent=intent(),
        following=following(),
        change=change(),
        polls=3,
        detail="Key key-0 was replaced by key-1.",
        outcome=Outcome.ROTATED,
        ended_at=NOW + 4 * MINUTE,
    )
    return replace(plain, **changes)


def failed(error: str = "RekeyFailed", outcome: Outcome = Outcome.FAILED, **changes: Any) -> Rotation:  # noqa: ANN401
    failure = Failure(error, "The rekey ended with xAssumed: out of entropy", "Mend it, then start again.")
    return rotated(outcome=outcome, failure=failure, change=None, current_key=key(), detail="", **changes)


def error_of(decision: object) -> ElementRekeyError:
    assert isinstance(decision, Refuse | Fail)
    return decision.error

"""A night on which a compromise was reported: one cluster of each kind, written by the layer's own ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    ClusterMemory,
    Execution,
    Failure,
    FleetRequest,
    FleetRun,
    Lock,
    NotSelected,
    Request,
    Rotation,
    Selected,
)
from tests.fakes import NOW
from tests.unit.cli.harness import FLEET, arn
from tests.unit.samples import DAY, HOUR, MINUTE, UUID, change, external, following, intent, key

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.cluster import MasterKey
    from tests.unit.cli.harness import Harness

REPORTED = NOW - HOUR
SECOND = timedelta(seconds=1)


def remembered(harness: Harness, cluster: str, key_id: str, made: datetime) -> None:
    """The cluster's last known key."""
    harness.ledger.remember(
        cluster,
        ClusterMemory(UUID, key_id, key_seen_at=NOW, key_known_since=made, key_created_time=made, key_made_after=made),
    )


def recorded(harness: Harness, cluster: str, began: datetime, **changes: Any) -> Rotation:  # noqa: ANN401 - members
    """A rotation on record; returns it."""
    name = f"{cluster}-{began:%Y-%m-%d-%H%M%S}"
    plain = Rotation(
        Execution(arn(name), began),
        cluster=cluster,
        request=Request(cluster, reason="quarterly", requested_by="j.doe", trigger=Trigger.MANUAL),
        cluster_uuid=UUID,
        cluster_name=cluster,
        ended_at=began + 4 * MINUTE,
        notified_at=began + 4 * MINUTE,
    )
    saved: Rotation = harness.ledger.save(replace(plain, **changes))
    return saved


def rotated(harness: Harness, cluster: str, began: datetime, old: MasterKey, new: MasterKey) -> Rotation:
    """A rotation that went well."""
    changed = change(old_key=old, new_key=new, key_to_decommission=old, finished_at=began + 3 * MINUTE)
    return recorded(
        harness,
        cluster,
        began,
        current_key=new,
        intent=intent(sent_at=began + SECOND, baseline_key=old),
        following=following(since=began + SECOND),
        change=changed,
        polls=3,
        detail=f"Key {old.key_id} was replaced by {new.key_id}.",
        outcome=Outcome.ROTATED,
    )


def failure(error: str, cause: str) -> Failure:
    return Failure(error, cause, "Mend it, then start again.")


def well(harness: Harness, cluster: str = "prod-a") -> Rotation:
    """A cluster that was rotated ten days ago."""
    old, new = key("0a1b2c3d-old", NOW - 100 * DAY), key("1b2c3d4e-new", NOW - 10 * DAY)
    harness.register(cluster)
    remembered(harness, cluster, new.key_id, NOW - 10 * DAY)
    return rotated(harness, cluster, NOW - 10 * DAY, old, new)


def a_night(harness: Harness) -> None:
    """Everything at once."""
    well(harness)

    harness.register("prod-b")  # has the new key already
    newer = external("2c3d4e5f-new", 15, NOW - 30 * MINUTE)
    remembered(harness, "prod-b", newer.key_id, NOW - 30 * MINUTE)
    rotated(harness, "prod-b", NOW - 40 * MINUTE, external("2c3d4e5f-old", 15), newer)

    harness.register("prod-c")  # is being rotated
    remembered(harness, "prod-c", "3d4e5f60-old", NOW - 80 * DAY)
    name = harness.steps.add("prod-c-one", NOW - 12 * MINUTE, cluster="prod-c", trigger="alarm")
    record = Rotation(Execution(name, NOW - 12 * MINUTE), "prod-c", Request("prod-c", trigger=Trigger.ALARM))
    followed = following(since=NOW - 11 * MINUTE)
    harness.ledger.save(replace(record, following=followed, polls=4, detail="RewrapDataEncryptionKeys"))
    harness.ledger.take_lock("prod-c", Lock(name, NOW + 15 * MINUTE), NOW)
    entered(harness, name, "WaitForRekey", NOW - 2 * MINUTE)

    harness.register("prod-d")  # does not answer
    remembered(harness, "prod-d", "4e5f6071-old", NOW - 80 * DAY)
    name = harness.steps.add("prod-d-one", NOW - 5 * MINUTE, cluster="prod-d", trigger="alarm")
    entered(harness, name, "StartRekey", NOW - 5 * MINUTE)
    for number in range(3):
        cause = json.dumps({"errorMessage": "The MVIP 192.0.2.4 did not answer within 10 seconds."})
        details = {"error": "ClusterUnavailable", "cause": cause}
        harness.steps.happened(name, "TaskFailed", NOW - (4 - number) * MINUTE, taskFailedEventDetails=details)

    harness.register("prod-e")  # nobody knows what became of it
    remembered(harness, "prod-e", "5f607182-old", NOW - 80 * DAY)
    lost = recorded(
        harness,
        "prod-e",
        NOW - 50 * MINUTE,
        request=Request("prod-e", trigger=Trigger.ALARM, reason="the SIEM saw it"),
        current_key=key("5f607182-old"),
        intent=intent(sent_at=NOW - 49 * MINUTE),
        outcome=Outcome.OUTCOME_UNKNOWN,
        failure=failure("RekeyOutcomeUnknown", "A rekey was sent, and its answer was lost."),
    )
    harness.ledger.take_lock("prod-e", Lock(lost.execution.id, NOW + 5 * MINUTE), NOW)

    harness.register("prod-f-with-a-rather-long-name-in-frankfurt")  # its password is wrong
    recorded(
        harness,
        "prod-f-with-a-rather-long-name-in-frankfurt",
        NOW - 45 * MINUTE,
        outcome=Outcome.FAILED,
        failure=failure("CredentialsRefused", "The cluster refused the user rekey (HTTP 401)."),
    )

    harness.register("lab-a", max_key_age_days="30")  # too old by its own tag
    remembered(harness, "lab-a", "60718293-old", NOW - 40 * DAY)
    harness.register("lab-b", max_key_age_days="soon")
    remembered(harness, "lab-b", "718293a4-old", NOW - 20 * DAY)
    harness.register("lab-c")
    remembered(harness, "lab-c", "8293a4b5-old", NOW - 92 * DAY)

    named = ("prod-b", "prod-c", "prod-d", "prod-e", "prod-f-with-a-rather-long-name-in-frankfurt", "prod-x")
    asked = FleetRequest(clusters=named, trigger=Trigger.ALARM, reason="the SIEM saw it", key_created_after=REPORTED)
    run = harness.steps.add("a-report", REPORTED, "FAILED", FLEET)
    harness.ledger.save_fleet_run(
        FleetRun(
            Execution(run, REPORTED),
            asked,
            selected=tuple(Selected(name, f"{name}-one", REPORTED) for name in named[:-1]),
            not_selected=(NotSelected("prod-x", "AlarmTargetUnknown", "Not registered."),),
            ended_at=NOW,
        )
    )


def entered(harness: Harness, execution: str, state: str, at: datetime) -> None:
    harness.steps.happened(execution, "TaskStateEntered", at, stateEnteredEventDetails={"name": state, "input": "{}"})

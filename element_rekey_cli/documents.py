"""What the command says with ``--json``; each document has its schema in ``schemas/``.

Members are added, never renamed or removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - codec reads the annotations at run time
from typing import TYPE_CHECKING, Any

from element_rekey.codec import encode
from element_rekey.notifications import build_notification
from element_rekey.records import asked_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from element_rekey.cluster import MasterKey
    from element_rekey.outcomes import Outcome, Trigger
    from element_rekey.records import FleetRun, OutsideChange, Rotation

    from .evidence import ClusterEvidence, Summary
    from .execution_history import HistoryEvent
    from .hops import Hop
    from .standing import Incident, Standing

STATUS_SCHEMA = "element-rekey.status.v1"
HISTORY_SCHEMA = "element-rekey.history.v1"
EXECUTION_SCHEMA = "element-rekey.execution.v1"
STARTED_SCHEMA = "element-rekey.started.v1"
DOCTOR_SCHEMA = "element-rekey.doctor.v1"
REGISTRATION_SCHEMA = "element-rekey.registration.v1"
EXPLANATION_SCHEMA = "element-rekey.explanation.v1"
REPORT_SCHEMA = "element-rekey.report.v1"


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """How every cluster stands; ``open``: somebody has something to do, or to wait for."""

    schema: str
    stack: str
    at: datetime
    open: bool
    clusters: tuple[Standing, ...]  # the worst first
    incidents: tuple[Incident, ...]


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One rotation in the history; without ``outcome`` it is under way."""

    execution_arn: str
    cluster: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None
    trigger: Trigger | None
    reason: str
    requested_by: str
    dry_run: bool
    old_key: MasterKey | None = None
    new_key: MasterKey | None = None
    error: str | None = None
    settled_by: str | None = None  # the execution that saw what became of its rekey, by its ARN
    settles: tuple[str, ...] | None = None  # the executions whose rekeys this one saw the end of
    key_changed_outside: tuple[OutsideChange, ...] | None = None


@dataclass(frozen=True, slots=True)
class FleetRunLine:
    """One fleet run in the history; without ``ended_at`` it is under way."""

    execution_arn: str
    started_at: datetime
    ended_at: datetime | None
    clusters: int  # that it selected, or was asked for and could not select
    trigger: Trigger | None
    reason: str
    requested_by: str
    dry_run: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryDocument:
    """Rotations, the newest first; and the fleet runs, unless one cluster was named."""

    schema: str
    stack: str
    rotations: tuple[HistoryLine, ...]
    fleet_runs: tuple[FleetRunLine, ...] | None = None


@dataclass(frozen=True, slots=True)
class StartedDocument:
    """An execution that was started and is not waited for."""

    schema: str
    execution_arn: str
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a name means, and what to do about it."""

    schema: str
    name: str
    kind: str  # error, outcome, alarm, fault, state of an execution
    meaning: str
    next_step: str | None = None
    runbook: str | None = None  # the entry, as Markdown


@dataclass(frozen=True, slots=True)
class DoctorDocument:
    """What every hop is like; ``cluster`` where one was named."""

    schema: str
    well: bool
    hops: tuple[Hop, ...]
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class RegistrationLine:
    """What became of the registration of one cluster."""

    cluster: str
    registered: bool  # whether it is now
    changed: bool  # whether this call made it so
    detail: str
    cluster_uuid: str | None = None
    certificate_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class RegistrationDocument:
    """What became of the registrations that were asked for."""

    schema: str
    stack: str
    clusters: tuple[RegistrationLine, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a standard, and the members of the summary that speak to it."""

    name: str
    asks: str
    figures: tuple[str, ...]


CONTROLS = (
    Control(
        "PCI DSS v4, requirement 3.7.4",
        "A cryptoperiod is defined for each key, and a key that has reached the end of it is changed.",
        ("maxKeyAgeDays", "inPolicy", "inBreach", "daysInBreach", "ageUnknown", "unseen", "neverRotated"),
    ),
    Control(
        "NIST SP 800-57 Part 1, cryptoperiods (section 5.3)",
        "The time for which a key may be used is limited.",
        ("maxKeyAgeDays", "inPolicy", "inBreach", "daysInBreach", "ageUnknown"),
    ),
    Control(
        "ISO/IEC 27001:2022, Annex A 8.24",
        "Rules for the use of cryptography, key management included, are defined and put into effect.",
        ("neverRotated", "keyChanges", "failures", "changesOutside", "gaps"),
    ),
)
NOT_CHAINED = "Records are not chained yet: what is shown is what the table holds."


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """What the records show of the keys of the whole fleet over a time."""

    schema: str
    stack: str
    at: datetime  # when it was made
    since: datetime
    until: datetime  # not included
    as_of: datetime  # until, or when the report was made where that is earlier
    max_key_age_days: float  # of the deployment; a cluster can have its own
    basis: str  # what the report rests on, and what it cannot show
    controls: tuple[Control, ...]
    summary: Summary
    clusters: tuple[ClusterEvidence, ...]  # the worst first


def history_line(rotation: Rotation) -> HistoryLine:
    """A record as a line of the history."""
    asked, change = asked_of(rotation), rotation.change
    return HistoryLine(
        execution_arn=rotation.execution.id,
        cluster=rotation.cluster,
        started_at=rotation.execution.started_at,
        ended_at=rotation.ended_at,
        outcome=rotation.outcome,
        trigger=asked.trigger,
        reason=asked.reason,
        requested_by=asked.requested_by,
        dry_run=asked.dry_run,
        old_key=change.old_key if change else None,
        new_key=change.new_key if change else None,
        error=rotation.failure.error if rotation.failure else None,
        settled_by=rotation.settled_by.id if rotation.settled_by else None,
        settles=tuple(one.execution.id for one in rotation.settled) if rotation.settled else None,
        key_changed_outside=rotation.outside,
    )


def fleet_run_line(run: FleetRun) -> FleetRunLine:
    """The record of a fleet run as a line of the history."""
    asked = asked_of(run)
    return FleetRunLine(
        execution_arn=run.execution.id,
        started_at=run.execution.started_at,
        ended_at=run.ended_at,
        clusters=len(run.selected) + len(run.not_selected),
        trigger=asked.trigger,
        reason=asked.reason,
        requested_by=asked.requested_by,
        dry_run=asked.dry_run,
        error=run.failure.error if run.failure else None,
    )


def execution_document(
    rotation: Rotation | None, arn: str, status: str | None, events: Iterable[HistoryEvent]
) -> dict[str, Any]:
    """One execution whole: its record as the table keeps it, its notification, and what happened when."""
    document: dict[str, Any] = {"schema": EXECUTION_SCHEMA, "executionArn": arn}
    if status:
        document["status"] = status
    if rotation:
        document["record"] = encode(rotation)
        if rotation.ended_at:
            document["notification"] = encode(build_notification(rotation))
    document["timeline"] = [
        {"seconds": round(one.seconds, 3), "state": one.state, "text": one.text, "isError": one.is_error}
        for one in events
    ]
    return document

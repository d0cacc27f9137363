"""How each cluster stands: what is known of it, which state that is, and whether somebody has to do something.

Rules only: data in, data out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from element_rekey.moments import is_plausible
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import asked_of
from element_rekey.rules.memory import remembered_key_made

from .words import clock, duration

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from element_rekey.cluster import KeyManagementType, MasterKey
    from element_rekey.records import ClusterMemory, Execution, Failure, FleetRun, Lock, Readiness, Rotation

REMEMBERED_REPORTS = timedelta(days=31)
"""How long an urgent run that a cluster did not meet stays open: no execution lives longer."""
REMEMBERED_NAMES = timedelta(days=7)
"""The same where the name that was reported is nobody's: there is no rotation that could ever meet it."""
JUST_OVER = timedelta(days=1)
"""How long an incident that is over is still told."""


class State(StrEnum):
    """How a cluster stands; the worst first."""

    UNMET_REPORT = "unmet report"
    UNKNOWN = "unknown"
    RETRYING = "retrying"
    OVERDUE = "overdue"
    NOT_READY = "not ready"
    ROTATING = "rotating"
    DUE = "due"
    OK = "ok"

    @property
    def open(self) -> bool:
        """Whether something is left to do or to wait for; what is due is the schedule's."""
        return self not in (State.DUE, State.OK)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A step that failed and is tried again."""

    error: str
    cause: str
    attempt: int  # the one that comes next, or runs
    of_attempts: int | None  # None: the definition says nothing of this error


@dataclass(frozen=True, slots=True)
class Running:
    """An execution under way; ``phase`` is the cluster's own word for what it does, else what is waited for."""

    execution: Execution
    phase: str
    since: datetime  # of the rekey, or of the state where there is none yet
    polls: int = 0
    async_handle: int | None = None
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """An alarm or a report of a compromise, or what else asked urgently: these clusters need a key made after it."""

    execution: Execution  # of the fleet run
    since: datetime
    clusters: tuple[str, ...]
    reason: str
    running: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a cluster says of a rotation that would begin now; ``ready`` is None where it says nothing."""

    at: datetime | None
    by: str
    ready: bool | None
    failure: Failure | None


def _look_of(record: Rotation) -> Look:
    outcome, unfit = record.outcome or Outcome.OUTCOME_UNKNOWN, record.unfit
    ready = True if outcome.succeeded and not unfit else None
    if unfit or outcome in (Outcome.FAILED, Outcome.WOULD_BE_REFUSED):
        ready = False
    return Look(record.ended_at, outcome, ready, record.failure or unfit)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one cluster."""

    cluster: str
    registered: bool = True
    problem: str = ""  # of its registration, as far as that shows from outside
    max_key_age: timedelta | None = None
    memory: ClusterMemory | None = None
    lock: Lock | None = None
    running: tuple[Running, ...] = ()
    records: tuple[Rotation, ...] = ()  # the newest first
    readiness: Readiness | None = None  # what the daily look found

    @property
    def key_made(self) -> datetime | None:
        """When its key was made, as far as is remembered; a dry run remembers nothing, its record shows the key."""
        if self.memory:
            return remembered_key_made(self.memory)
        made = self.key.key_created_time if self.key else None
        return made if made and is_plausible(made) else None

    @property
    def key(self) -> MasterKey | None:
        """Its key as last described by the cluster."""
        seen = (one.current_key for one in self.records)
        key_id = self.memory.key_id if self.memory else None
        return next((key for key in seen if key and key_id in (None, key.key_id)), None)

    @property
    def last(self) -> Rotation | None:
        """The last rotation that ended; a dry run is none."""
        return next((one for one in self.records if one.outcome and not asked_of(one).dry_run), None)

    @property
    def last_look(self) -> Look | None:
        """The last look at it that came to an end: a rotation, a dry run, or the daily one."""
        record = next((one for one in self.records if one.outcome), None)
        look = _look_of(record) if record else None
        daily = self.readiness
        if daily and (look is None or look.at is None or look.at <= daily.looked_at):
            return Look(daily.looked_at, "the daily look", ready=daily.failure is None, failure=daily.failure)
        return look

    def meets(self, report: Report) -> bool:
        """Whether its key is newer than a report."""
        return self.key_made is not None and self.key_made > report.since


@dataclass(frozen=True, slots=True)
class HeldLock:
    """Who may change a cluster, and until when."""

    execution_arn: str
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class RunningLine:
    """The execution that works on a cluster."""

    execution_arn: str
    started_at: datetime
    phase: str
    phase_since: datetime
    polls: int
    async_handle: int | None = None
    retrying: Attempt | None = None
    others: int = 0  # executions that wait for their turn


@dataclass(frozen=True, slots=True)
class LastLine:
    """How the last rotation of a cluster ended."""

    execution_arn: str
    outcome: Outcome
    ended_at: datetime | None
    trigger: Trigger | None
    error: str | None = None
    cause: str | None = None
    next_step: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How one cluster stands. A member of ``element-rekey.status.v1``."""

    cluster: str
    state: State
    open: bool
    why: str  # one sentence; empty where all is well
    registered: bool
    cluster_uuid: str | None = None
    key_id: str | None = None
    key_management_type: KeyManagementType | None = None
    key_provider_id: int | None = None
    key_made_at: datetime | None = None
    key_age_days: float | None = None
    due_at: datetime | None = None
    due_in_days: float | None = None
    ready: bool | None = None
    lock: HeldLock | None = None
    running: RunningLine | None = None
    last_outcome: LastLine | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """What became so far of an urgent demand on some or all clusters."""

    execution_arn: str
    since: datetime
    reason: str
    clusters: int
    newer_key: int
    rotating: int
    unknown: int
    unmet: int
    line: str


def stand(facts: Facts, reports: Iterable[Report], grace: timedelta, now: datetime) -> Standing:
    """How a cluster stands.

    ``grace`` is how long after its due date a key is due and not yet overdue: the schedule needs a while to come by.
    """
    unmet = [one for one in reports if facts.cluster in one.clusters and not facts.meets(one)]
    made, key, memory = facts.key_made, facts.key, facts.memory
    due = made + facts.max_key_age if made and facts.max_key_age is not None else None
    state, why = _state(facts, unmet, due, grace, now)
    look = facts.last_look
    return Standing(
        cluster=facts.cluster,
        state=state,
        open=state.open,
        why=why,
        registered=facts.registered,
        cluster_uuid=memory.uuid if memory else None,
        key_id=memory.key_id if memory else key.key_id if key else None,
        key_management_type=key.key_management_type if key else None,
        key_provider_id=key.key_provider_id if key else None,
        key_made_at=made,
        key_age_days=_days(now - made) if made else None,
        due_at=due,
        due_in_days=_days(due - now) if due else None,
        ready=look.ready if look else None,
        lock=_held(facts.lock, now),
        running=_running_line(facts.running),
        last_outcome=_last_line(facts.last),
    )


def _state(  # noqa: PLR0911 - one for each state
    facts: Facts, unmet: Sequence[Report], due: datetime | None, grace: timedelta, now: datetime
) -> tuple[State, str]:
    last = facts.last
    if facts.running:
        first = facts.running[0]
        return (State.RETRYING, _retried(first.attempt)) if first.attempt else (State.ROTATING, "")
    if last and last.outcome and last.outcome.look_at_cluster and not last.settled_by:
        return State.UNKNOWN, _failure(last)
    if unmet:
        return State.UNMET_REPORT, _unmet(unmet[0], last, now, registered=facts.registered)
    if due and due + grace <= now:
        return State.OVERDUE, f"The key was due {duration(now - due)} ago{_because(facts.last_look)}."
    if facts.problem:
        return State.NOT_READY, facts.problem
    if facts.last_look and facts.last_look.ready is False:
        return State.NOT_READY, _said(facts.last_look.failure) or f"{facts.last_look.by}."
    if facts.key_made is None:
        return State.NOT_READY, "Its key was never seen: no rotation or dry run has looked at it yet."
    return (State.DUE, "") if due and due <= now else (State.OK, "")


def _retried(attempt: Attempt) -> str:
    of = f" of {attempt.of_attempts}" if attempt.of_attempts else ""
    return f"Attempt {attempt.attempt}{of} after {attempt.error}: {attempt.cause}".rstrip(": ")


def _failure(rotation: Rotation) -> str:
    return _said(rotation.failure) or rotation.detail


def _said(failure: Failure | None) -> str:
    return f"{failure.error}: {failure.cause}" if failure else ""


def _because(look: Look | None) -> str:
    failed = look.failure if look and look.ready is False else None
    return f", and the last look at it ended with {failed.error}: {failed.cause.rstrip('.')}" if failed else ""


def _unmet(report: Report, last: Rotation | None, now: datetime, *, registered: bool) -> str:
    said = f"{report.reason or 'an urgent run'}, at {clock(report.since, now)}"
    if not registered:
        return f"Reported ({said}), and no cluster is registered under this name: no key was replaced."
    ended = last if last and last.execution.started_at >= report.execution.started_at else None
    tried = f" The rotation ended with {_failure(ended)}" if ended and ended.failure else " No rotation runs."
    return f"Reported ({said}), and its key is older than that.{tried}"


def _days(length: timedelta) -> float:
    return round(length / timedelta(days=1), 2)


def _held(lock: Lock | None, now: datetime) -> HeldLock | None:
    return HeldLock(lock.owner, lock.lease_until) if lock and lock.lease_until > now else None


def _running_line(running: Sequence[Running]) -> RunningLine | None:
    if not running:
        return None
    first = running[0]
    return RunningLine(
        execution_arn=first.execution.id,
        started_at=first.execution.started_at,
        phase=first.phase,
        phase_since=first.since,
        polls=first.polls,
        async_handle=first.async_handle,
        retrying=first.attempt,
        others=len(running) - 1,
    )


def _last_line(last: Rotation | None) -> LastLine | None:
    if last is None or last.outcome is None:
        return None
    failure = last.failure
    return LastLine(
        execution_arn=last.execution.id,
        outcome=last.outcome,
        ended_at=last.ended_at,
        trigger=asked_of(last).trigger,
        error=failure.error if failure else None,
        cause=failure.cause if failure else None,
        next_step=failure.next_step if failure else None,
    )


_ORDER = {state: place for place, state in enumerate(State)}


def worst_first(standings: Iterable[Standing]) -> tuple[Standing, ...]:
    """The worst first; within a state what is due the longest, then by name."""

    def place(one: Standing) -> tuple[int, float, str]:
        return _ORDER[one.state], one.due_in_days if one.due_in_days is not None else float("-inf"), one.cluster

    return tuple(sorted(standings, key=place))


def report_of(run: FleetRun, registered: Collection[str], now: datetime, *, running: bool) -> Report | None:
    """What an urgent fleet run demands of which clusters; None where it was not urgent.

    Names that are nobody's are left out after a while: see REMEMBERED_NAMES.
    """
    request = run.request
    if request is None or not request.trigger.urgent or request.dry_run:
        return None
    named = request.clusters
    if named is None:  # every cluster: those it selected, or that are there where it came to nothing
        chosen = [one.cluster for one in run.selected] + [one.cluster for one in run.not_selected]
        named = tuple(chosen) or tuple(registered)
    since = request.key_created_after or run.execution.started_at
    if now >= run.execution.started_at + REMEMBERED_NAMES:
        named = tuple(one for one in named if one in registered)
    return Report(run.execution, since, tuple(sorted(set(named))), request.reason, running)


def incidents(
    reports: Iterable[Report], facts: Mapping[str, Facts], standings: Mapping[str, Standing], now: datetime
) -> tuple[Incident, ...]:
    """The incidents that are open, or were until a moment ago, the latest first.

    Who is reported again is looked at under the later report only.
    """
    found: list[Incident] = []
    asked_later: set[str] = set()
    for report in sorted(reports, key=lambda one: one.since, reverse=True):
        clusters = [one for one in report.clusters if one not in asked_later]
        asked_later.update(report.clusters)
        if not clusters:
            continue
        incident = _incident(report, [(facts[one], standings[one]) for one in clusters], now)
        if report.running or incident.newer_key < incident.clusters or now < report.since + JUST_OVER:
            found.append(incident)
    return tuple(found)


def _incident(report: Report, clusters: Sequence[tuple[Facts, Standing]], now: datetime) -> Incident:
    left = [standing for facts, standing in clusters if not facts.meets(report)]
    rotating = sum(one.state in (State.ROTATING, State.RETRYING) for one in left)
    unknown = sum(one.state is State.UNKNOWN for one in left)
    newer, unmet = len(clusters) - len(left), len(left) - rotating - unknown
    rest = ((rotating, "rotating"), (unknown, "unknown"), (unmet, "unmet"))
    day = "" if report.since.date() == now.date() else f"{report.since:%Y-%m-%d} "
    parts = [f"{newer}/{len(clusters)} have a newer key", *(f"{count} {word}" for count, word in rest if count)]
    return Incident(
        execution_arn=report.execution.id,
        since=report.since,
        reason=report.reason,
        clusters=len(clusters),
        newer_key=newer,
        rotating=rotating,
        unknown=unknown,
        unmet=unmet,
        line=f"since {day}{report.since:%H:%M}: {', '.join(parts)}",
    )

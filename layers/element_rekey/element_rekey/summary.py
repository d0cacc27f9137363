"""What is published of one fleet run: a document for machines (``schemas/``) and plain words for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .outcomes import Outcome, Trigger
from .text import cut, flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .records import ClusterResult, FleetRun

SUMMARY_SCHEMA = "element-rekey.fleet-summary.v1"

_CAUSE_LENGTH = 300  # of each cluster's cause
_LISTED = 50  # clusters named in each list of a summary; the counts are always complete


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """One cluster in a summary."""

    cluster: str
    outcome: str
    error: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One cluster's key in a summary: how old it is, and when it is due."""

    cluster: str
    key_age_days: float
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Summary:
    """Version 1 of a fleet run's summary. New members may be added; none is renamed or removed."""

    schema: str
    notification_id: str
    succeeded: bool
    headline: str
    trigger: Trigger
    reason: str
    requested_by: str
    dry_run: bool
    execution_arn: str
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: int
    clusters: int
    counts: tuple[Count, ...]
    rotated: tuple[str, ...]
    attention: tuple[ClusterLine, ...]  # everything a person has to look at
    overdue_keys: tuple[KeyLine, ...]  # still older than allowed, the oldest first
    next_due: tuple[KeyLine, ...]  # the soonest first
    oldest_key_age_days: float | None = None
    error: str | None = None
    cause: str | None = None
    next_step: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """How many clusters came to one outcome."""

    outcome: str
    clusters: int


def build_summary(run: FleetRun, results: Sequence[ClusterResult]) -> Summary:
    """The summary of a closed fleet run."""
    request, failure = run.request, run.failure
    started, ended = run.execution.started_at, run.ended_at
    rotated = [one.selected.cluster for one in results if one.replaced]
    keys = sorted(_key_lines(results, ended or started), key=lambda line: line.due_at)
    return Summary(
        schema=SUMMARY_SCHEMA,
        notification_id=run.execution.id,
        succeeded=failure is None,
        headline=_summary_headline(run, results, len(rotated)),
        trigger=request.trigger if request else Trigger.MANUAL,
        reason=request.reason if request else "",
        requested_by=request.requested_by if request else "",
        dry_run=request.dry_run if request else False,
        execution_arn=run.execution.id,
        started_at=started,
        ended_at=ended,
        duration_seconds=round((ended - started).total_seconds()) if ended else 0,
        clusters=len(results) + len(run.not_selected),
        counts=tuple(Count(name, count) for name, count in outcome_counts(run, results).items()),
        rotated=tuple(rotated[:_LISTED]),
        attention=tuple(_attention(run, results))[:_LISTED],
        overdue_keys=tuple(line for line in keys if line.due_at <= (ended or started))[:_LISTED],
        next_due=tuple(line for line in keys if line.due_at > (ended or started))[:_LISTED],
        oldest_key_age_days=oldest_key_age_days(results, ended or started),
        error=failure.error if failure else None,
        cause=failure.cause if failure else None,
        next_step=failure.next_step if failure else None,
    )


def oldest_key_age_days(results: Iterable[ClusterResult], now: datetime) -> float | None:
    """The age of the oldest key, by the last look at each cluster; None where nobody ever saw one."""
    return max((_days(now - one.key_made) for one in results if one.key_made), default=None)


def _days(age: timedelta) -> float:
    return round(max(0.0, age / timedelta(days=1)), 2)


def _key_lines(results: Iterable[ClusterResult], now: datetime) -> Iterable[KeyLine]:
    for one in results:
        if one.key_made and one.selected.max_key_age_seconds is not None:
            due = one.key_made + timedelta(seconds=one.selected.max_key_age_seconds)
            yield KeyLine(one.selected.cluster, _days(now - one.key_made), due)


def _attention(run: FleetRun, results: Iterable[ClusterResult]) -> Iterable[ClusterLine]:
    for left_out in run.not_selected:
        yield ClusterLine(left_out.cluster, "Refused", left_out.error, left_out.cause)
    for one in results:
        if not one.succeeded:
            failure = one.rotation.failure if one.rotation else None
            cause = cut(failure.cause, _CAUSE_LENGTH) if failure else ""
            yield ClusterLine(one.selected.cluster, one.outcome, failure.error if failure else "", cause)


def _summary_headline(run: FleetRun, results: Sequence[ClusterResult], rotated: int) -> str:
    bad = sum(not one.succeeded for one in results) + len(run.not_selected)
    total = len(results) + len(run.not_selected)
    if run.failure and not bad:
        return f"fleet run FAILED: {run.failure.error}"
    dry = "dry run, " if run.request and run.request.dry_run else ""
    clusters = "1 cluster" if total == 1 else f"{total} clusters"
    return f"{dry}{clusters}, {rotated} rotated, " + (f"{bad} need ATTENTION" if bad else "all well")


def summary_in_words(summary: Summary) -> str:
    """The summary for a person who reads it in an e-mail; no text in it makes a line of its own."""
    return "\n".join(map(flat, _summary_lines(summary))) + "\n"


def _summary_lines(summary: Summary) -> Iterable[str]:
    yield f"Fleet: {summary.headline}."
    yield ""
    if summary.error:
        yield f"What happened: {summary.error}. {summary.cause}"
        yield f"What to do:    {summary.next_step}"
        yield ""
    yield ", ".join(f"{count.outcome} {count.clusters}" for count in summary.counts) or "No cluster was selected."
    for line in summary.attention:
        yield f"  ! {line.cluster}: {line.outcome} {line.error} {line.cause}".rstrip()
    for label, keys in (("Overdue keys:", summary.overdue_keys), ("Due next:", summary.next_due[:10])):
        if keys:
            yield ""
            yield label
            yield from (f"  {key.cluster}: {key.key_age_days} days old, due {key.due_at:%Y-%m-%d}" for key in keys)
    yield ""
    asked = " and ".join(part for part in (summary.requested_by, summary.reason) if part)
    yield f"Asked by:  {summary.trigger}{f' ({asked})' if asked else ''}"
    yield f"Began:     {summary.started_at:%Y-%m-%d %H:%M:%S} UTC, took {summary.duration_seconds} s"
    yield f"Execution: {summary.execution_arn}"


def outcome_counts(run: FleetRun, results: Iterable[ClusterResult]) -> dict[str, int]:
    """How many clusters came to which outcome; those not selected and those not begun have counts of their own."""
    counts = {outcome.value: 0 for outcome in Outcome}
    counts |= {"Refused": len(run.not_selected), "NotEnded": 0, "NotBegun": 0}
    for one in results:
        counts[one.outcome] += 1
    return {name: count for name, count in counts.items() if count}

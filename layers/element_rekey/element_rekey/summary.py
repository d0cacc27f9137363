"""What is published of one fleet run: a document for machines (``schemas/``) and plain words for people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .codec import encode
from .errors import ElementRekeyError, InvalidInput, errors_by_name, unknown_targets
from .outcomes import Outcome, Trigger
from .pasting import input_text, start_command
from .records import EndingCertificate, FleetRequest, NotReady, asked_of
from .text import cut, flat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .records import ClusterResult, FleetReadiness, FleetRun

SUMMARY_SCHEMA = "element-rekey.fleet-summary.v1"

_CAUSE_LENGTH = 300  # of each cluster's cause
_LONGEST_INPUT = 2000  # characters of an input that is printed
_IN_HEADLINE = 3  # clusters named in it
_LISTED = 50  # clusters named in each list of a summary; the counts are always complete


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """One cluster in a summary."""

    cluster: str
    outcome: str
    error: str = ""
    cause: str = ""
    next_step: str | None = None  # of one that could not be selected: it has no notification of its own


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One cluster's key in a summary: how old it is, and when it is due."""

    cluster: str
    key_age_days: float
    due_at: datetime


@dataclass(frozen=True, slots=True)
class CanaryLine:
    """The cluster that went ahead of all others; not ``proved``: its key was not replaced, which says nothing."""

    cluster: str
    outcome: str
    proved: bool


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
    would_be_refused: tuple[ClusterLine, ...] | None = None  # of a dry run
    oldest_key_age_days: float | None = None
    error: str | None = None
    cause: str | None = None
    next_step: str | None = None
    start_again_with: FleetRequest | None = None  # the input under which clusters that are done are found done
    canary: CanaryLine | None = None
    clusters_not_ready: int | None = None  # of a run that judges readiness: of all its clusters
    became_not_ready: tuple[NotReady, ...] | None = None  # since the last look, or for another reason than then
    ready_again: tuple[str, ...] | None = None
    ending_certificates: tuple[EndingCertificate, ...] | None = None  # a notice at 90, 60 and 30 days before the end


@dataclass(frozen=True, slots=True)
class Count:
    """How many clusters came to one outcome."""

    outcome: str
    clusters: int


def build_summary(run: FleetRun, results: Sequence[ClusterResult]) -> Summary:
    """The summary of a closed fleet run."""
    asked, failure, readiness = asked_of(run), run.failure, run.readiness
    started, ended = run.execution.started_at, run.ended_at
    rotated = [one.selected.cluster for one in results if one.replaced]
    keys = sorted(_key_lines(run, results, ended or started), key=lambda line: line.due_at)
    return Summary(
        schema=SUMMARY_SCHEMA,
        notification_id=run.execution.id,
        succeeded=failure is None,
        headline=_summary_headline(run, results, len(rotated)),
        trigger=asked.trigger or Trigger.MANUAL,
        reason=asked.reason,
        requested_by=asked.requested_by,
        dry_run=asked.dry_run,
        execution_arn=run.execution.id,
        started_at=started,
        ended_at=ended,
        duration_seconds=round((ended - started).total_seconds()) if ended else 0,
        clusters=len(results) + len(run.not_selected) + len(run.looked_at_before or ()),
        counts=tuple(Count(name, count) for name, count in outcome_counts(run, results).items()),
        rotated=tuple(rotated[:_LISTED]),
        attention=tuple(_attention(run, results))[:_LISTED],
        overdue_keys=tuple(line for line in keys if line.due_at <= (ended or started))[:_LISTED],
        next_due=tuple(line for line in keys if line.due_at > (ended or started))[:_LISTED],
        would_be_refused=tuple(_would_be_refused(run, results))[:_LISTED] if run.dry else None,
        oldest_key_age_days=oldest_key_age_days(results, ended or started),
        error=failure.error if failure else None,
        cause=failure.cause if failure else None,
        next_step=failure.next_step if failure else None,
        start_again_with=_start_again(run),
        canary=_canary(run, results),
        clusters_not_ready=readiness.clusters_not_ready if readiness else None,
        became_not_ready=readiness.became_not_ready if readiness else None,
        ready_again=readiness.ready_again if readiness else None,
        ending_certificates=readiness.ending_certificates if readiness else None,
    )


def _canary(run: FleetRun, results: Iterable[ClusterResult]) -> CanaryLine | None:
    named = run.request.canary if run.request and not run.dry else ""
    found = (one for one in results if one.selected.cluster == named)
    return next((CanaryLine(named, one.outcome, proved=one.replaced) for one in found), None)


def _start_again(run: FleetRun) -> FleetRequest | None:
    """The same request, met by any key made since it was first asked; None where it was a wrong one, or all is well."""
    if run.request is None or run.failure is None:
        return None
    wrong = not run.selected and issubclass(errors_by_name().get(run.failure.error, ElementRekeyError), InvalidInput)
    made_after = run.request.made_after(run.execution.started_at)
    return None if wrong else replace(run.request, key_created_after=made_after)


def oldest_key_age_days(results: Iterable[ClusterResult], now: datetime) -> float | None:
    """The age of the oldest key, by the last look at each cluster; None where nobody ever saw one."""
    return max((_days(now - one.key_made) for one in results if one.key_made), default=None)


def _days(age: timedelta) -> float:
    return round(max(0.0, age / timedelta(days=1)), 2)


def _key_lines(run: FleetRun, results: Iterable[ClusterResult], now: datetime) -> Iterable[KeyLine]:
    """When each key is due; none of the daily looks, which only keep the policy: what is due is told by who rotates."""
    for one in () if run.request and run.request.trigger.looks_only else results:
        if one.key_made and one.selected.max_key_age_seconds is not None:
            due = one.key_made + timedelta(seconds=one.selected.max_key_age_seconds)
            yield KeyLine(one.selected.cluster, _days(now - one.key_made), due)


def _attention(run: FleetRun, results: Iterable[ClusterResult]) -> Iterable[ClusterLine]:
    if not run.dry:
        yield from _refused(run)
    yield from (_line(one) for one in results if not one.succeeded)


def _would_be_refused(run: FleetRun, results: Iterable[ClusterResult]) -> Iterable[ClusterLine]:
    yield from _refused(run)
    yield from (_line(one) for one in results if one.outcome == Outcome.WOULD_BE_REFUSED)


def _refused(run: FleetRun) -> Iterable[ClusterLine]:
    steps = errors_by_name()
    for one in run.not_selected:
        next_step = steps[one.error].next_step if one.error in steps else None
        yield ClusterLine(one.cluster, "Refused", one.error, one.cause, next_step)


def _line(one: ClusterResult) -> ClusterLine:
    failure = one.rotation.failure if one.rotation else None
    cause = cut(failure.cause, _CAUSE_LENGTH) if failure else ""
    return ClusterLine(one.selected.cluster, one.outcome, failure.error if failure else "", cause)


def _summary_headline(run: FleetRun, results: Sequence[ClusterResult], rotated: int) -> str:
    bad = len(tuple(_attention(run, results)))
    total = len(results) + len(run.not_selected) + len(run.looked_at_before or ())
    unknown = unknown_targets(run)
    if run.failure and not bad:
        return f"{'dry run' if run.dry else 'fleet run'} FAILED: {run.failure.error}"
    looks_only = run.request is not None and run.request.trigger.looks_only
    clusters = "1 cluster" if total == 1 else f"{total} clusters"
    parts = [clusters, f"{rotated} rotated", f"{bad} need ATTENTION" if bad else "all well"]
    if run.dry:
        refused = len(tuple(_would_be_refused(run, results)))
        parts = ["dry run", *parts[:-1], f"{refused} would be REFUSED" if refused and not bad else parts[-1]]
    if run.readiness:
        parts = list(_readiness(run.readiness, clusters)) if looks_only else parts
        needing = () if looks_only else [one.cluster for one in _attention(run, results)]
        parts = [*_news(run.readiness, needing), *parts]
    if unknown:  # an emergency that was not met goes before all else
        parts = [f"UNKNOWN alarm target{'s' if len(unknown) > 1 else ''} {', '.join(unknown[:_IN_HEADLINE])}", *parts]
    return ", ".join(parts)


def _readiness(readiness: FleetReadiness, clusters: str) -> tuple[str, str]:
    not_ready = readiness.clusters_not_ready
    return f"readiness of {clusters}", f"{not_ready} not ready" if not_ready else "all ready"


def _news(readiness: FleetReadiness, elsewhere: Collection[str]) -> Iterable[str]:
    """Who is ready no more, or again, without those a reader is told of ``elsewhere``."""
    became = [one.cluster for one in readiness.became_not_ready if one.cluster not in elsewhere]
    ending = list(dict.fromkeys(one.cluster for one in readiness.ending_certificates or ()))
    news = (
        ("NOT READY any more", became),
        ("certificates END SOON", ending),
        ("ready again", readiness.ready_again),
    )
    for what, clusters in news:
        if clusters:
            more = f" and {len(clusters) - _IN_HEADLINE} more" if len(clusters) > _IN_HEADLINE else ""
            yield f"{what}: {', '.join(clusters[:_IN_HEADLINE])}{more}"


def summary_in_words(summary: Summary) -> str:
    """The summary for a person who reads it in an e-mail; no text in it makes a line of its own."""
    return "\n".join(map(flat, _summary_lines(summary))) + "\n"


def _summary_lines(summary: Summary) -> Iterable[str]:
    yield f"Fleet: {summary.headline}."
    yield ""
    if summary.error:
        yield f"What happened: {summary.error}. {summary.cause}"
        yield f"What to do:    {summary.next_step}"
        if summary.start_again_with:
            yield f"Start again:   {_start_in_words(summary.execution_arn, summary.start_again_with)}"
        yield ""
    yield ", ".join(f"{count.outcome} {count.clusters}" for count in summary.counts) or "No cluster was selected."
    for line in (*summary.attention, *(summary.would_be_refused or ())):
        step = f" Next: {line.next_step}" if line.next_step else ""
        yield f"  ! {line.cluster}: {line.outcome} {line.error} {line.cause}".rstrip() + step
    yield from _readiness_lines(summary)
    if summary.canary and not summary.canary.proved:
        yield ""
        cluster, outcome = summary.canary.cluster, summary.canary.outcome
        yield f"Canary:    {cluster} was {outcome}: no key was replaced, so it proved nothing for the others."
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


def _readiness_lines(summary: Summary) -> Iterable[str]:
    """What is news of the readiness of clusters."""
    named = () if summary.trigger.looks_only else [line.cluster for line in summary.attention]
    became = [one for one in summary.became_not_ready or () if one.cluster not in named]
    if became:
        yield ""
        yield "Not ready any more: a rotation begun now would be refused, or fail."
        yield from (f"  {one.cluster}: {one.error} {one.cause} Next: {one.next_step}" for one in became)
    if summary.ending_certificates:
        yield ""
        yield "Certificates that end soon; without them no rotation works:"
        for ending in summary.ending_certificates:
            left = f"in {ending.days_left} days" if ending.days_left >= 0 else "it HAS ENDED"
            yield f"  {ending.cluster}: that of {ending.of} ends {ending.expires:%Y-%m-%d}, {left}"
    if summary.ready_again:
        yield ""
        yield f"Ready again: {', '.join(summary.ready_again)}."


def _start_in_words(execution_arn: str, request: FleetRequest) -> str:
    """The command line that a person pastes, but not one with many clusters in it."""
    if len(input_text(request)) <= _LONGEST_INPUT:
        return start_command(execution_arn, request)
    moment = request.key_created_after
    and_moment = f' and "keyCreatedAfter": "{encode(moment)}"' if moment else ""
    return f"with the input of this run{and_moment}"


def outcome_counts(run: FleetRun, results: Iterable[ClusterResult]) -> dict[str, int]:
    """How many clusters came to which outcome; those not selected and those not begun have counts of their own."""
    counts = {outcome.value: 0 for outcome in Outcome}
    counts |= {"Refused": len(run.not_selected), "NotEnded": 0, "NotBegun": 0}
    for one in results:
        counts[one.outcome] += 1
    return {name: count for name, count in counts.items() if count}

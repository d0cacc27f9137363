"""What is published of one rotation: a document for machines (``schemas/``) and plain words for people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime  # noqa: TC003 - codec reads the annotations at run time
from typing import TYPE_CHECKING

from .cluster import ElementError, MasterKey, Unfamiliar  # noqa: TC001 - codec reads the annotations at run time
from .outcomes import NoticeKind, Outcome, Trigger
from .pasting import start_command
from .records import OutsideChange, Request, Settled, asked_of
from .text import flat

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .records import Rotation

SCHEMA = "element-rekey.rotation-outcome.v1"

_SUBJECT_LENGTH = 100  # what SNS allows


@dataclass(frozen=True, slots=True)
class Notification:
    """Version 1 of the notification. New members may be added; none is renamed or removed."""

    schema: str
    notification_id: str  # the same in a repeated delivery
    outcome: Outcome
    succeeded: bool
    headline: str
    detail: str
    cluster: str
    cluster_uuid: str
    cluster_name: str
    trigger: Trigger
    reason: str
    requested_by: str
    dry_run: bool
    execution_arn: str
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: int
    polls: int
    current_key: MasterKey | None = None
    old_key: MasterKey | None = None
    new_key: MasterKey | None = None
    key_to_decommission: MasterKey | None = None
    rekey_seconds: int | None = None
    job_result_read: bool | None = None
    job_error: ElementError | None = None
    error: str | None = None
    cause: str | None = None
    next_step: str | None = None
    start_again_with: Request | None = None  # the input under which a rekey that went through after all counts
    unfamiliar: tuple[Unfamiliar, ...] | None = None  # what could not be interpreted in the cluster's answers
    settled: tuple[Settled, ...] | None = None  # the rekeys of earlier executions whose end this one saw first
    key_changed_outside: tuple[OutsideChange, ...] | None = None  # each has a message of its own, too


NOTICE_SCHEMA = "element-rekey.rotation-notice.v1"


@dataclass(frozen=True, slots=True)
class RotationNotice:
    """Version 1 of the notice of an urgent rotation before its end. Its outcome is published as well, at the end."""

    schema: str
    notification_id: str  # the same in a repeated delivery
    kind: NoticeKind
    headline: str
    detail: str
    cluster: str
    trigger: Trigger
    reason: str
    requested_by: str
    execution_arn: str
    started_at: datetime
    cooling_until: datetime | None = None
    start_now_with: Request | None = None  # the input that does not wait for the end of the cool-down


def build_notice(rotation: Rotation, kind: NoticeKind, detail: str) -> RotationNotice:
    """The notice of a rotation under way."""
    request = rotation.request or Request(rotation.cluster)
    waits = kind is NoticeKind.COOLING_DOWN
    return RotationNotice(
        schema=NOTICE_SCHEMA,
        notification_id=f"{rotation.execution.id}#{kind}",
        kind=kind,
        headline=kind.headline,
        detail=detail,
        cluster=rotation.cluster,
        trigger=request.trigger,
        reason=request.reason,
        requested_by=request.requested_by,
        execution_arn=rotation.execution.id,
        started_at=rotation.execution.started_at,
        cooling_until=rotation.cooling_until if waits else None,
        start_now_with=replace(request, cool_down_seconds=0, force=True) if waits else None,
    )


def notice_in_words(notice: RotationNotice) -> str:
    """The notice for a person who reads it in an e-mail at night."""
    return "\n".join(_notice_lines(notice)) + "\n"


def _notice_lines(notice: RotationNotice) -> Iterable[str]:
    yield f"Cluster {notice.cluster}: {notice.headline}."
    yield ""
    yield notice.detail
    if notice.start_now_with:
        yield f"To rotate now: {start_command(notice.execution_arn, notice.start_now_with)}"
    yield ""
    asked = " and ".join(part for part in (notice.requested_by, notice.reason) if part)
    yield f"{'Asked by:':22}{notice.trigger}{f' ({asked})' if asked else ''}"
    yield f"{'Began:':22}{notice.started_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"{'Execution:':22}{notice.execution_arn}"


def build_notification(rotation: Rotation) -> Notification:
    """The notification of a closed rotation."""
    outcome = rotation.outcome or Outcome.OUTCOME_UNKNOWN
    asked, change, failure = asked_of(rotation), rotation.change, rotation.failure
    started, ended = rotation.execution.started_at, rotation.ended_at
    return Notification(
        schema=SCHEMA,
        notification_id=rotation.execution.id,
        outcome=outcome,
        succeeded=outcome.succeeded,
        headline=_headline(rotation, outcome),
        detail=rotation.detail,
        cluster=rotation.cluster,
        cluster_uuid=rotation.cluster_uuid,
        cluster_name=rotation.cluster_name,
        trigger=asked.trigger or Trigger.MANUAL,
        reason=asked.reason,
        requested_by=asked.requested_by,
        dry_run=asked.dry_run,
        execution_arn=rotation.execution.id,
        started_at=started,
        ended_at=ended,
        duration_seconds=round((ended - started).total_seconds()) if ended else 0,
        polls=rotation.polls,
        current_key=rotation.current_key,
        old_key=change.old_key if change else None,
        new_key=change.new_key if change else None,
        key_to_decommission=change.key_to_decommission if change else None,
        rekey_seconds=change.job_seconds if change else None,
        job_result_read=change.job_result_read if change else None,
        job_error=change.job_error if change else None,
        error=failure.error if failure else None,
        cause=failure.cause if failure else None,
        next_step=failure.next_step if failure else None,
        start_again_with=_start_again(rotation, outcome),
        unfamiliar=rotation.unfamiliar,
        settled=rotation.settled,
        key_changed_outside=rotation.outside,
    )


def _story(settled: Settled) -> str:
    """What an earlier execution's rekey turned out to have done, and whose demand that was."""
    change, asked = settled.change, settled.asked
    whose = "its rekey" if change.ours else "somebody else's rekey, which it followed,"
    by = ", ".join(part for part in (asked.trigger, asked.requested_by, asked.reason) if part)
    old, new = change.old_key.key_id, change.new_key.key_id
    return f"execution {settled.execution.id} ({by}): {whose} replaced key {old} by {new}."


def _outside_in_short(change: OutsideChange) -> str:
    after = f"after {change.old_key_seen_at:%Y-%m-%d %H:%M:%S} UTC and " if change.old_key_seen_at else ""
    before = f"before {change.new_key_seen_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"key {change.old_key_id} was replaced by {change.new_key.key_id} {after}{before}."


OUTSIDE_SCHEMA = "element-rekey.key-changed-outside.v1"


@dataclass(frozen=True, slots=True)
class KeyChangedOutside:
    """Version 1 of the message on a change of keys that nothing in the ledger explains."""

    schema: str
    notification_id: str  # the same in a repeated delivery
    headline: str
    detail: str
    next_step: str
    cluster: str
    cluster_uuid: str
    cluster_name: str
    old_key_id: str
    new_key: MasterKey
    old_key_seen_at: datetime | None
    new_key_seen_at: datetime
    rekey_async_result_id: int | None
    execution_arn: str  # the one that saw it first


def build_outside(rotation: Rotation, change: OutsideChange) -> KeyChangedOutside:
    """The message on a change of keys that ``rotation`` saw first."""
    listed = change.rekey_async_result_id
    shows = f"lists rekey {listed} as its latest" if listed is not None else "lists no rekey"
    return KeyChangedOutside(
        schema=OUTSIDE_SCHEMA,
        notification_id=f"{rotation.execution.id}#KeyChangedOutside#{change.new_key.key_id}",
        headline="master key CHANGED, and not by Element Rekey",
        detail=f"On this cluster {_outside_in_short(change)} No record explains it. The cluster {shows}.",
        next_step="Find out who rekeyed the cluster; docs/runbook.md, key-changed-outside, says where to look.",
        cluster=rotation.cluster,
        cluster_uuid=rotation.cluster_uuid,
        cluster_name=rotation.cluster_name,
        old_key_id=change.old_key_id,
        new_key=change.new_key,
        old_key_seen_at=change.old_key_seen_at,
        new_key_seen_at=change.new_key_seen_at,
        rekey_async_result_id=listed,
        execution_arn=rotation.execution.id,
    )


def outside_in_words(message: KeyChangedOutside) -> str:
    """The message for a person who reads it in an e-mail at night."""
    return "\n".join(map(flat, _outside_lines(message))) + "\n"


def _outside_lines(message: KeyChangedOutside) -> Iterable[str]:
    yield f"Cluster {message.cluster}: {message.headline}."
    yield ""
    yield f"What happened: {message.detail}"
    yield f"What to do:    {message.next_step}"
    yield ""
    yield f"{'Old key:':22}{message.old_key_id}"
    yield f"{'New key:':22}{_describe(message.new_key)}"
    yield f"{'Cluster uuid:':22}{message.cluster_uuid} ({message.cluster_name})"
    yield f"{'Seen by execution:':22}{message.execution_arn}"


def _headline(rotation: Rotation, outcome: Outcome) -> str:
    other = outcome.dry_headline if asked_of(rotation).dry_run else outcome.sent_headline if rotation.intent else ""
    return other or outcome.headline


def _start_again(rotation: Rotation, outcome: Outcome) -> Request | None:
    """The same request, met by any key made since this execution began: started again, it never rotates twice."""
    if rotation.request is None or not outcome.may_go_on:
        return None
    made_after = rotation.request.key_created_after or rotation.execution.started_at
    return replace(rotation.request, key_created_after=made_after)


def subject_of(notification: Notification) -> str:
    """One line, as SNS takes it: printable ASCII, at most 100 characters."""
    return subject_line(f"[{notification.outcome}] {notification.cluster or 'no cluster'}: {notification.headline}")


def subject_line(text: str) -> str:
    """A subject as SNS takes it."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:_SUBJECT_LENGTH]


def plain_words(notification: Notification) -> str:
    """The notification for a person who reads it in an e-mail at night.

    No text in it makes a line of its own: what comes in is on one line, and records of earlier releases may hold more.
    """
    return "\n".join(map(flat, _lines(notification))) + "\n"


def _lines(notification: Notification) -> Iterable[str]:
    yield f"Cluster {notification.cluster or '(not named in the input)'}: {notification.headline}."
    yield ""
    if notification.error:
        yield f"What happened: {notification.error}. {notification.cause}"
        yield f"What to do:    {notification.next_step}"
        if notification.start_again_with:
            yield f"Start again:   {start_command(notification.execution_arn, notification.start_again_with)}"
        if notification.detail:
            yield f"Last seen:     {notification.detail}"
        yield ""
    elif notification.detail:
        yield notification.detail
        yield ""
    for label, key in (
        ("Old key", notification.old_key),
        ("New key", notification.new_key),
        ("To be decommissioned", notification.key_to_decommission),
        ("Current key", None if notification.new_key else notification.current_key),
    ):
        if key:
            yield f"{label + ':':22}{_describe(key)}"
    yield from _further_lines(notification)
    asked = " and ".join(part for part in (notification.requested_by, notification.reason) if part)
    yield f"{'Asked by:':22}{notification.trigger}{f' ({asked})' if asked else ''}"
    yield f"{'Began:':22}{notification.started_at:%Y-%m-%d %H:%M:%S} UTC"
    polls = "1 poll" if notification.polls == 1 else f"{notification.polls} polls"
    yield f"{'Took:':22}{notification.duration_seconds} s, {polls}"
    if notification.cluster_uuid:
        yield f"{'Cluster uuid:':22}{notification.cluster_uuid} ({notification.cluster_name})"
    yield f"{'Execution:':22}{notification.execution_arn}"


def _further_lines(notification: Notification) -> Iterable[str]:
    """What is not there in most of them."""
    if notification.job_result_read is False:
        yield "The job's own result could not be read; the cluster's state shows the change of keys."
    for story in notification.settled or ():
        yield f"{'Settled now:':22}{_story(story)}"
    for outside in notification.key_changed_outside or ():
        yield f"{'Changed by others:':22}{_outside_in_short(outside)}"
    for one in notification.unfamiliar or ():
        yield f"{'Not understood:':22}{one.member} is {one.value}"


def _describe(key: MasterKey) -> str:
    provider = f", provider {key.key_provider_id}" if key.key_provider_id is not None else ""
    made = f", made {key.key_created_time:%Y-%m-%d %H:%M:%S} UTC" if key.key_created_time else ""
    management = key.key_management_type or "management not known"
    return f"{key.key_id} ({management}{provider}{made})"

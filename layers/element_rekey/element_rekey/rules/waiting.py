"""How long to wait, and until when: for our turn, for a moment, for a rekey, for an answer that was lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from element_rekey.errors import ClusterBusy, RotationOverdue

from .decisions import Follow, Refuse, StartAgain, Wait
from .wording import at_time

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.records import Following, Intent, KeptResult, Lock, Request, Rotation
    from element_rekey.settings import Settings

    from .decisions import StillRunning

SHORTEST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(seconds=300)
LONGEST_COOL_DOWN_WAIT = 3600  # seconds
SENT_WITHIN = timedelta(seconds=30)
"""After its intent; three attempts of a call to DynamoDB that all stall are shorter."""
_SECOND = timedelta(seconds=1)


def next_wait(age: timedelta, left: timedelta) -> int:
    """Whole seconds until the next look at something ``age`` old, with ``left`` until the deadline.

    A quarter of the age, between 5 and 300 seconds: few polls, and late by a quarter of the duration at most, or by
    five seconds.
    """
    wait = min(max(age / 4, SHORTEST_WAIT), LONGEST_WAIT, max(left, SHORTEST_WAIT))
    return int(wait / _SECOND)


def until_moment(request: Request, now: datetime) -> Wait | None:
    """Wait until a key made now meets the demand: one made before would have to be replaced for it once more."""
    early = (request.key_created_after or now) - now
    if early <= timedelta():
        return None
    return Wait(int(early / _SECOND) + 1, "Waiting for the moment after which the key is to be made.")


def for_cool_down(until: datetime, now: datetime) -> Wait:
    """Wait for the end of the cool-down, with a look every hour: one rekey meets every demand that waited for it."""
    seconds = int((until - now) / _SECOND) + 1
    detail = f"The key is too new: cooling down until {at_time(until)}. Override with force and a reason."
    return Wait(min(seconds, LONGEST_COOL_DOWN_WAIT), detail, cooling_until=until)


def for_turn(rotation: Rotation, holder: Lock, now: datetime, settings: Settings) -> Wait | Refuse:
    """Another execution holds the cluster and may well meet our demand: wait, but not beyond the deadline."""
    deadline = _begin_of(rotation) + settings.deadline
    if now >= deadline:
        what = f"Execution {holder.owner} holds it until {at_time(holder.lease_until)}."
        return Refuse(ClusterBusy(what, cluster=rotation.cluster))
    seconds = next_wait(now - _begin_of(rotation), deadline - now)
    return Wait(seconds, f"Waiting for execution {holder.owner}.")


def sent_too_late(intent: Intent, now: datetime) -> bool:
    """Whether a rekey is not to be sent any more: the settling time counts from its intent on, not from its sending."""
    return now > intent.sent_at + SENT_WITHIN


def for_settling(intent: Intent, kept: KeptResult, now: datetime, settings: Settings) -> Wait:
    """Wait until a rekey that was refused can certainly not begin any more, before another one is sent."""
    left = intent.sent_at + settings.settling - now
    wait = max(SHORTEST_WAIT, min(left + _SECOND, LONGEST_WAIT))
    handle = kept.job.async_handle
    detail = f"The rekey was refused while the cluster kept the result of rekey {handle}; that was released."
    return Wait(int(wait / _SECOND), detail)


def for_rekey(rotation: Rotation, following: Following, now: datetime, settings: Settings) -> int:
    """Whole seconds until the next look at the rekey that is followed."""
    return next_wait(now - following.since, deadline_of(rotation, following, settings) - now)


def deadline_of(rotation: Rotation, following: Following, settings: Settings) -> datetime:
    """Until when to look; at a rekey that is presumed ours at least until it may be verified."""
    deadline = _begin_of(rotation) + settings.deadline
    return max(deadline, following.since + settings.settling) if following.presumed_ours else deadline


def _begin_of(rotation: Rotation) -> datetime:
    """From when on a rotation counts: the time it cooled down does not use up its deadline."""
    return max(rotation.execution.started_at, rotation.cooling_until or rotation.execution.started_at)


def keep_waiting(
    rotation: Rotation,
    following: Following,
    running: StillRunning,
    phase: str,
    now: datetime,
    settings: Settings,
) -> Follow | StartAgain:
    """The rekey is not over. Somebody else's that is listed and never shown is disregarded after a while."""
    since = None if running.shown else following.not_shown_since or now
    if since and not following.ours and now >= since + settings.settling:
        why = f"The cluster lists rekey {following.async_handle} but never shows it."
        return StartAgain(why, rotation.change, disregarded_handle=following.async_handle)
    overdue = None
    if now >= deadline_of(rotation, following, settings):
        still = "still runs" if running.shown else "is still listed and not shown"
        what = f"Rekey {following.async_handle} {still} after {now - following.since}."
        overdue = RotationOverdue(what, cluster=rotation.cluster)
    return Follow(replace(following, not_shown_since=since), phase, overdue)

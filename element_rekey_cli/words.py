"""Times and durations, short enough for a column."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def duration(length: timedelta) -> str:
    """In its largest unit: ``45 s``, ``12 min``, ``3 h``, ``100 d``."""
    sign, length = ("-", -length) if length < timedelta() else ("", length)
    if length < _MINUTE:
        return f"{sign}{int(length.total_seconds())} s"
    if length < 2 * _HOUR:
        return f"{sign}{length // _MINUTE} min"
    if length < 2 * _DAY:
        return f"{sign}{length // _HOUR} h"
    return f"{sign}{length // _DAY} d"


def compact(length: timedelta) -> str:
    """The same for a narrow column: ``45s``, ``12m``, ``3h``, ``100d``."""
    return duration(length).replace(" min", "m").replace(" ", "")


def ago(moment: datetime, now: datetime) -> str:
    """How long ago a moment was."""
    return f"{duration(max(timedelta(), now - moment))} ago"


def clock(moment: datetime, now: datetime) -> str:
    """A moment in UTC, without its date where that is today's."""
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


def in_full(moment: datetime) -> str:
    """A moment in UTC, with its date."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def name_of(execution_arn: str) -> str:
    """The name of an execution: the last part of its ARN."""
    return execution_arn.rpartition(":")[2]

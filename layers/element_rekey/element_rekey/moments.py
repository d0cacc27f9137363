"""Times somebody can mean.

A clock that was never set says 1970, a program that knows no time says year 1, and some say year 9999 for never. None
of them is the time of a key, a job or an execution, and adding days to the last two is an error in every calendar.
"""

from __future__ import annotations

from datetime import UTC, datetime

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Older than the first Element cluster by ten years, and younger than every clock that was never set."""
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""A constant, so that reading needs no clock; whether a time lies in the future is for the rules to say."""


def is_plausible(moment: datetime) -> bool:
    """Whether somebody can mean this moment; there is room around it for every duration we add to it."""
    return EARLIEST <= moment <= LATEST

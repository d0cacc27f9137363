"""What the operator decides: the template's parameters, as the rules and use cases need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """What concerns each rotation."""

    deadline: timedelta
    """After an execution's start: no longer waited for, and published as overdue."""
    settling: timedelta
    """Outlasts a function's time limit: after it, what was begun shows, and whoever began it is dead."""
    lease: timedelta
    """Of a lock, beyond the next wait; outlasts a function's time limit and its retries."""


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What concerns fleet runs."""

    max_key_age: timedelta  # a cluster's tag overrides it
    cool_down: timedelta  # an alarm does not replace a key younger than this
    spread: timedelta  # over which a schedule spreads the clusters
    max_concurrency: int
    urgent_max_concurrency: int  # in its place where a run cannot wait
    alarm_prefix: str  # of the alarms that start a rotation; the cluster's name, or "all", is behind it
    from_insufficient_data: bool = False  # whether an alarm that had no data before starts one, too
    all_by_event: bool = False  # whether an alarm or a report may mean every registered cluster
    tolerated_failures: int = 0  # after more than these a scheduled run begins no further rotation

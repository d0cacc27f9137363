"""Publish the record of an ended execution, once: claim it, publish it, mark it. For rotations and fleet runs alike.

SNS and DynamoDB know no common transaction, so a repeated delivery is possible in one place, under one id: where a
publisher dies after the topic took the notification and before the ledger knows (docs/adr/0004).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from .errors import AwsCallFailed, LedgerConflict
from .records import FleetRun, Rotation

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .records import Record

R = TypeVar("R", Rotation, FleetRun)

CLAIM = timedelta(seconds=120)
"""How long a publisher is waited for: it is dead by then, and those who wait are retried for 180 seconds at least."""


def is_being_published(record: Record, now: datetime) -> bool:
    """Whether somebody has claimed the publishing of a record, and may be at it."""
    return record.notified_at is None and record.publishing_until is not None and now < record.publishing_until


def claim(record: R, close: Callable[[R], R], save: Callable[[R], R], now: datetime) -> R:
    """Close the record if nobody has, and claim its publishing; one that is published already is left as it is.

    Raises LedgerConflict where another invocation is publishing it, or was faster, and AwsCallFailed.
    """
    if record.notified_at:
        return record
    if is_being_published(record, now):
        cluster = record.cluster if isinstance(record, Rotation) else ""
        raise LedgerConflict("Another invocation is publishing this outcome.", cluster=cluster)
    if record.ended_at is None:
        record = replace(close(record), ended_at=now)
    return save(replace(record, publishing_until=now + CLAIM))


def publish_claimed(record: R, publish: Callable[[], None], save: Callable[[R], R], clock: Callable[[], datetime]) -> R:
    """Publish a claimed record and mark it. Raises AwsCallFailed, after giving the claim back, and LedgerConflict."""
    try:
        publish()
    except AwsCallFailed:  # alive, and not publishing any more: whoever tries again need not wait for us
        save(replace(record, publishing_until=None))
        raise
    return save(replace(record, notified_at=clock()))

"""Close a rotation, free its lock and publish its outcome. Safe to repeat and to run twice at the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from element_rekey.publishing import claim, publish_claimed
from element_rekey.records import Rotation
from element_rekey.rules.closing import detail_at_close, locked_until, outcome_of

if TYPE_CHECKING:
    from element_rekey.ports import Ports
    from element_rekey.records import CloseRequest, Request


@dataclass(frozen=True, slots=True)
class Published:
    """A published rotation; ``published_now`` is False where an earlier call did it."""

    rotation: Rotation
    published_now: bool


def publish_outcome(ports: Ports, closing: CloseRequest[Request]) -> Published:
    """Close the rotation in the ledger, free its lock and publish it, once for each execution.

    Rests on ``sns:Publish`` (https://docs.aws.amazon.com/sns/latest/api/API_Publish.html). The first to write closes
    it; a second one waits until the first has published or must be dead. Raises LedgerConflict and AwsCallFailed.
    """
    execution = closing.execution
    known = ports.ledger.rotation(execution) or Rotation(
        execution, closing.cluster, closing.request, asked=closing.asked
    )

    def close(rotation: Rotation) -> Rotation:
        outcome, failure = outcome_of(rotation, closing.failure)
        return replace(rotation, outcome=outcome, failure=failure, detail=detail_at_close(rotation, outcome))

    rotation = claim(known, close, ports.ledger.save, ports.clock())
    if rotation.cluster:
        ports.ledger.release_lock(rotation.cluster, execution.id, locked_until(rotation, ports.settings))
    if rotation.notified_at:
        return Published(rotation, published_now=False)
    rotation = publish_claimed(rotation, lambda: _publish(ports, rotation), ports.ledger.save, ports.clock)
    return Published(rotation, published_now=True)


def _publish(ports: Ports, rotation: Rotation) -> None:
    """The outcome, after what could not be published of it on the way. Raises AwsCallFailed."""
    for change in rotation.outside or ():
        if change.published_at is None:
            ports.topic.publish_outside(rotation, change)
    if rotation.request is None or not rotation.request.trigger.looks_only:  # of which its run tells what is news
        ports.topic.publish(rotation)

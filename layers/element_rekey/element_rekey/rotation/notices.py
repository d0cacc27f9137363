"""Publish what is known of an urgent rotation before its end.

As well as it can be done: a notice that fails must not stop the rotation, whose outcome is published in any case.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from element_rekey.errors import (
    AnswerNotUnderstood,
    AwsCallFailed,
    ClusterUnavailable,
    LedgerConflict,
    PermissionDenied,
    RekeyOutcomeUnknown,
)
from element_rekey.outcomes import NoticeKind
from element_rekey.records import Rotation

from .steps import Status, Step

if TYPE_CHECKING:
    from element_rekey.errors import ElementRekeyError
    from element_rekey.ports import Ports
    from element_rekey.records import Execution, Request

_RETRIED = (AnswerNotUnderstood, AwsCallFailed, ClusterUnavailable, PermissionDenied, RekeyOutcomeUnknown)
"""What the state machine retries for minutes. LedgerConflict is over in seconds; all else ends the execution."""


def notice_of_step(ports: Ports, step: Step) -> Step:
    """Publish that an urgent rotation is under way, or waits for the end of a cool-down; once for each kind."""
    rotation = step.rotation
    if rotation.request is None or not rotation.request.trigger.urgent:
        return step
    if step.status is Status.CHECK_AGAIN:
        return replace(step, rotation=_publish(ports, rotation, NoticeKind.BEGAN, rotation.detail))
    if rotation.cooling_until and ports.clock() < rotation.cooling_until:
        return replace(step, rotation=_publish(ports, rotation, NoticeKind.COOLING_DOWN, rotation.detail))
    return step


def notice_of_error(ports: Ports, execution: Execution, request: Request, error: ElementRekeyError) -> None:
    """Publish that an urgent rotation has not begun yet, and why; once."""
    if not request.trigger.urgent or request.dry_run or not isinstance(error, _RETRIED):
        return
    try:
        rotation = ports.ledger.rotation(execution) or Rotation(execution, request.cluster, request)
    except AwsCallFailed:
        return
    if rotation.following is None and rotation.outcome is None:
        _publish(ports, rotation, NoticeKind.RETRYING, str(error))


def publish_outside(ports: Ports, rotation: Rotation) -> Rotation:
    """Publish the changes of keys that nothing explains, at once; what fails is published with the outcome."""
    for change in rotation.outside or ():
        if change.published_at is None:
            try:
                ports.topic.publish_outside(rotation, change)
                published = replace(change, published_at=ports.clock())
                changes = tuple(published if one is change else one for one in rotation.outside or ())
                rotation = ports.ledger.save(replace(rotation, outside=changes))
            except (AwsCallFailed, LedgerConflict):
                return rotation
    return rotation


def _publish(ports: Ports, rotation: Rotation, kind: NoticeKind, detail: str) -> Rotation:
    if kind in rotation.notices:
        return rotation
    try:
        ports.topic.publish_notice(rotation, kind, detail)
        return ports.ledger.save(replace(rotation, notices=(*rotation.notices, kind)))
    except (AwsCallFailed, LedgerConflict):
        return rotation

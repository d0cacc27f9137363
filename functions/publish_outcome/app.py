"""Lambda: close a rotation, publish it and free its lock; the last step, and the handler of interrupted executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.edge import answer_outcome, ports_from_environment
from element_rekey.rotation import publish_outcome
from element_rekey.telemetry import log_outcome, logger, measure_outcome
from element_rekey.triggers import ending_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``rotation.publish_outcome`` on the state machine's state, or on Step Functions' status-change event."""
    closed = publish_outcome(PORTS, ending_of(event))
    if closed.told_now:  # told twice, it would be counted twice
        log_outcome(closed.rotation)
        measure_outcome(closed.rotation, PORTS.clock())
    return answer_outcome(event, closed.rotation)

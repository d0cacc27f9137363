"""Lambda: close a rotation, publish it and free its lock; the last step, and the handler of interrupted executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import answer_outcome, ports_from_environment
from element_rekey.aws.telemetry import log_outcome, logger, measure_outcome
from element_rekey.inputs import parse_close_request
from element_rekey.rotation.publish import publish_outcome

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``rotation.publish`` on the state machine's state, or on Step Functions' status-change event."""
    published = publish_outcome(PORTS, parse_close_request(event))
    if published.published_now:  # published twice, it would be counted twice
        log_outcome(published.rotation)
        measure_outcome(published.rotation, PORTS.clock())
    return answer_outcome(event, published.rotation)

"""Lambda: look at the rekey that is followed, and verify it once it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import answer_step, ports_from_environment
from element_rekey.aws.telemetry import log_step, logger
from element_rekey.inputs import parse_execution
from element_rekey.rotation.check import check_status

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``rotation.check`` on the state machine's state."""
    step = check_status(PORTS, parse_execution(event))
    log_step(step)
    return answer_step(event, step)

"""Lambda: look at the cluster, and start a rekey if one is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import answer_step, ports_from_environment
from element_rekey.aws.telemetry import log_step, logger
from element_rekey.inputs import parse_execution, parse_request
from element_rekey.rotation.start import start_rekey

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``rotation.start`` on the state machine's state."""
    step = start_rekey(PORTS, parse_execution(event), parse_request(event["input"]))
    log_step(step)
    return answer_step(event, step)

"""Lambda: look at the cluster, and start a rekey if one is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.edge import answer, ports_from_environment
from element_rekey.rotation import start_rekey
from element_rekey.telemetry import log_step, logger
from element_rekey.triggers import execution_of, request_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``rotation.start_rekey`` on the state machine's state."""
    step = start_rekey(PORTS, execution_of(event), request_of(event["input"]))
    log_step(step)
    return answer(event, step)

"""Lambda: look at the rekey that is followed, and verify it once it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.edge import answer, ports_from_environment
from element_rekey.rotation import check_status
from element_rekey.telemetry import log_step, logger
from element_rekey.triggers import execution_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``rotation.check_status`` on the state machine's state."""
    step = check_status(PORTS, execution_of(event))
    log_step(step)
    return answer(event, step)

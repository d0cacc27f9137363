"""Lambda: close a fleet run and publish its summary; the last step, and the handler of interrupted fleet runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import answer_fleet, ports_from_environment
from element_rekey.aws.telemetry import logger, measure_fleet
from element_rekey.fleet.summarize import summarize_fleet
from element_rekey.inputs import parse_fleet_close_request

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()
ROTATE_MASTER_KEY_ARN = os.environ["ROTATE_MASTER_KEY_ARN"]
ALARM_PREFIX = os.environ["COMPROMISE_ALARM_PREFIX"]


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``fleet.summarize`` on the fleet machine's state, or on Step Functions' status-change event."""
    published = summarize_fleet(PORTS, ROTATE_MASTER_KEY_ARN, parse_fleet_close_request(event, ALARM_PREFIX))
    if published.published_now:  # published twice, it would be counted twice
        measure_fleet(published.run, published.results, PORTS.clock())
    return answer_fleet(event, published)

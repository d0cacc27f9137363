"""Lambda: close a fleet run and publish its summary; the last step, and the handler of interrupted fleet runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from element_rekey.edge import answer_fleet, fleet_settings_from_environment, ports_from_environment
from element_rekey.fleet import summarize_fleet
from element_rekey.telemetry import logger, measure_fleet
from element_rekey.triggers import fleet_ending_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()
SETTINGS = fleet_settings_from_environment()
ALARM_PREFIX = os.environ["COMPROMISE_ALARM_PREFIX"]


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``fleet.summarize_fleet`` on the fleet machine's state, or on Step Functions' status-change event."""
    closed = summarize_fleet(PORTS, SETTINGS, fleet_ending_of(event, ALARM_PREFIX))
    if closed.told_now:  # told twice, it would be counted twice
        measure_fleet(closed.run, closed.after, PORTS.clock())
    return answer_fleet(event, closed.run, closed.after)

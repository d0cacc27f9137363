"""Lambda: select the clusters of a fleet run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from element_rekey.edge import fleet_settings_from_environment, ports_from_environment
from element_rekey.fleet import begin_fleet, orders
from element_rekey.telemetry import log_selection, logger
from element_rekey.triggers import execution_of, fleet_request_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()
SETTINGS = fleet_settings_from_environment()
ALARM_PREFIX = os.environ["COMPROMISE_ALARM_PREFIX"]


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``fleet.begin_fleet`` on the fleet machine's state."""
    request = fleet_request_of(event["input"], ALARM_PREFIX)
    run = begin_fleet(PORTS, SETTINGS, execution_of(event), request)
    log_selection(run)
    return {"execution": event["execution"], **orders(SETTINGS, run, request)}

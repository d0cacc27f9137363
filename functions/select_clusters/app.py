"""Lambda: select the clusters of a fleet run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import fleet_settings_from_environment, ports_from_environment
from element_rekey.aws.telemetry import log_selection, logger
from element_rekey.fleet.select import select_clusters
from element_rekey.inputs import parse_execution, parse_fleet_request
from element_rekey.rules.selection import map_input

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()
SETTINGS = fleet_settings_from_environment()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Run ``fleet.select`` on the fleet machine's state."""
    request = parse_fleet_request(
        event["input"],
        SETTINGS.alarm_prefix,
        from_insufficient_data=SETTINGS.from_insufficient_data,
        all_by_event=SETTINGS.all_by_event,
    )
    run = select_clusters(PORTS, SETTINGS, parse_execution(event), request)
    log_selection(run)
    return {"execution": event["execution"], **map_input(SETTINGS, run, request)}

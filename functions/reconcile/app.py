"""Lambda: close and publish, every hour, the executions that ended without anybody telling of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import (
    answer_reconciled,
    machines_from_environment,
    ports_from_environment,
    readiness_is_enabled,
    schedule_is_enabled,
)
from element_rekey.aws.telemetry import logger, measure_reconciled, measure_schedules
from element_rekey.reconcile import reconcile_fleet_runs, reconcile_rotations

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

PORTS = ports_from_environment()
MACHINES = machines_from_environment()
SCHEDULED = schedule_is_enabled()
WATCHED = readiness_is_enabled()


@logger.inject_lambda_context
def handler(_event: dict[str, Any], _context: LambdaContext) -> dict[str, int]:
    """Run ``reconcile``: rotations first, so that the summary of a fleet run finds what became of each."""
    measure_schedules(rotates=SCHEDULED, looks=WATCHED)
    rotations = reconcile_rotations(PORTS, MACHINES)
    fleet_runs = reconcile_fleet_runs(PORTS, MACHINES)
    measure_reconciled(rotations, fleet_runs, PORTS.clock())
    return answer_reconciled(rotations, fleet_runs)

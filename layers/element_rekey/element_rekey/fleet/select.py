"""Select the clusters of a fleet run and write them down.

The rotations are executions of their own, whose names follow from the run's, so that a repeated step starts none twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from element_rekey.codec import encode
from element_rekey.errors import RequestInvalid
from element_rekey.rules.readiness import looked_at_before
from element_rekey.rules.selection import LARGEST_RECORD, map_input, select, size_in_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from element_rekey.ports import Ports
    from element_rekey.records import Execution, FleetRequest, FleetRun, Registered
    from element_rekey.settings import FleetSettings


def select_clusters(ports: Ports, settings: FleetSettings, execution: Execution, request: FleetRequest) -> FleetRun:
    """The record of a run. A repeated step finds what it wrote, whatever was registered since.

    Rests on ``secretsmanager:ListSecrets``, and for clusters that were named on ``DescribeSecret``
    (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html). Raises what ``select`` and
    ``map_input`` do, AwsCallFailed, LedgerConflict.
    """
    known = ports.ledger.fleet_run(execution)
    if known:
        return known
    registered = ports.clusters.registered(request.clusters)
    before = _looked_at_before(ports, execution, request, registered)
    run = select(settings, execution, request, registered, before)
    map_input(settings, run, request)  # more than a state can carry is refused before anything is written down
    size = size_in_bytes(encode(run))
    if size > LARGEST_RECORD:
        raise RequestInvalid(f"clusters: their names make a record of {size} bytes, more than DynamoDB carries.")
    return ports.ledger.save_fleet_run(run)


def _looked_at_before(
    ports: Ports, execution: Execution, request: FleetRequest, registered: Sequence[Registered]
) -> Collection[str]:
    """What a run that only looks need not look at again today. Whoever names clusters wants to see them now."""
    if not request.trigger.looks_only or request.clusters is not None:
        return ()
    known = ports.ledger.readiness([one.cluster for one in registered])
    return looked_at_before(known, execution.started_at)

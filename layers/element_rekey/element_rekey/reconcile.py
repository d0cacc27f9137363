"""Close and publish what ended and was not published. Safe to repeat, and to run beside whoever publishes it, too.

Step Functions sends its events on a change of status as best it can, and two of its own errors no Catch ever sees. So
it is asked itself, every hour, which executions did not end well, and the ledger, which of them were published
(docs/adr/0013).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import AwsCallFailed, LedgerConflict
from .fleet.summarize import FleetPublished, summarize_fleet
from .inputs import parse_close_request, parse_fleet_close_request
from .rotation.publish import Published, publish_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from .ports import Executions, Ports
    from .records import Execution, Record

LOOK_BACK = timedelta(days=7)
"""How long after its end an execution is still looked for: longer than we can be down without anybody noticing."""

P = TypeVar("P", Published, FleetPublished)


@dataclass(frozen=True, slots=True)
class Machines:
    """The two state machines, and who knows of their executions."""

    executions: Executions
    rotate_master_key_arn: str
    rotate_fleet_arn: str
    alarm_prefix: str


@dataclass(frozen=True, slots=True)
class Reconciled(Generic[P]):
    """What was published late, and what could not be."""

    published: tuple[P, ...]
    failures: tuple[AwsCallFailed, ...]


def reconcile_rotations(ports: Ports, machines: Machines) -> Reconciled[Published]:
    """Publish every rotation that ended without it, and free its lock. Raises AwsCallFailed where none can be found.

    Rests on ``states:ListExecutions`` (https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html).
    """
    ended = _ended_badly(machines.executions, machines.rotate_master_key_arn, ports)
    known = ports.ledger.rotations([one.id for one in ended])

    def publish(event: Mapping[str, Any]) -> Published:
        return publish_outcome(ports, parse_close_request(event))

    return _published(machines.executions, ended, lambda one: known.get(one.id), publish)


def reconcile_fleet_runs(ports: Ports, machines: Machines) -> Reconciled[FleetPublished]:
    """As ``reconcile_rotations``; to be called after it, so that a summary finds what became of each cluster."""
    ended = _ended_badly(machines.executions, machines.rotate_fleet_arn, ports)

    def publish(event: Mapping[str, Any]) -> FleetPublished:
        closing = parse_fleet_close_request(event, machines.alarm_prefix)
        return summarize_fleet(ports, machines.rotate_master_key_arn, closing)

    return _published(machines.executions, ended, ports.ledger.fleet_run, publish)


def _ended_badly(executions: Executions, state_machine_arn: str, ports: Ports) -> tuple[Execution, ...]:
    return executions.ended_badly(state_machine_arn, ports.clock() - LOOK_BACK)


def _published(
    executions: Executions,
    ended: tuple[Execution, ...],
    record_of: Callable[[Execution], Record | None],
    publish: Callable[[Mapping[str, Any]], P],
) -> Reconciled[P]:
    published: list[P] = []
    failures: list[AwsCallFailed] = []
    for execution in _untold(ended, record_of):
        try:
            published.append(publish(executions.status_event(execution)))
        except LedgerConflict:  # somebody is publishing it at this moment; else it is found again in an hour
            continue
        except AwsCallFailed as error:  # one that cannot be published must not keep the others from it
            failures.append(error)
    return Reconciled(tuple(one for one in published if one.published_now), tuple(failures))


def _untold(ended: tuple[Execution, ...], record_of: Callable[[Execution], Record | None]) -> Iterator[Execution]:
    for execution in ended:
        record = record_of(execution)
        if not (record and record.notified_at and record.execution.is_same_as(execution)):
            yield execution

"""What AWS knows of the clusters: registrations, memories, locks, records, and what Step Functions runs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from element_rekey.errors import ClusterNotRegistered, ElementRekeyError
from element_rekey.inputs import parse_fleet_request, parse_request
from element_rekey.outcomes import Trigger
from element_rekey.records import Execution, FleetRequest, FleetRun, asked_of
from element_rekey.rules.selection import select

from .position import phase_of, position_of
from .standing import REMEMBERED_REPORTS, Facts, Running, report_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from mypy_boto3_stepfunctions.type_defs import ExecutionListItemTypeDef

    from element_rekey.records import Request, Rotation

    from .deployment import Deployment
    from .standing import Report

A = TypeVar("A")
B = TypeVar("B")

LATEST = 12
"""Records of a cluster that are looked at, if one of them is of a rotation that ended."""
MOST = 400
"""Records that are looked at for that: a year of daily dry runs."""
AT_ONCE = 8
"""Calls side by side: a fleet of five hundred is read in seconds, and no service is struck."""
_HISTORY_PAGE = 1000  # events, newest first; what GetExecutionHistory gives at once


@dataclass(frozen=True)
class Seen:
    """What was read of a deployment at one moment."""

    at: datetime
    facts: Mapping[str, Facts]
    reports: tuple[Report, ...]


def read(deployment: Deployment, clusters: Collection[str] = ()) -> Seen:
    """What is known of these clusters, or of all and of every name that was reported. Raises AwsCallFailed."""
    now = deployment.clock()
    known = {one.cluster: one for one in policies(deployment, clusters, now)}
    running = running_rotations(deployment)
    reports = tuple(urgent_reports(deployment, tuple(known), now))
    if clusters:
        asked = tuple(replace(one, clusters=tuple(sorted({*one.clusters} & {*clusters}))) for one in reports)
        reports = tuple(one for one in asked if one.clusters)
    reported = {name for report in reports for name in report.clusters}
    names = sorted(set(clusters) or {*known, *running, *reported})
    ledger = deployment.ledger
    memories, locks, readiness = ledger.memories(names), ledger.locks(names), ledger.readiness(names)
    records = dict(zip(names, _side_by_side(lambda name: latest(deployment, name), names), strict=True))
    facts = {
        name: replace(
            known.get(name, Facts(name, registered=False)),
            memory=memories.get(name),
            lock=locks.get(name),
            running=tuple(running.get(name, ())),
            records=records[name],
            readiness=readiness.get(name),
        )
        for name in names
    }
    return Seen(now, facts, reports)


def policies(deployment: Deployment, clusters: Collection[str], now: datetime) -> Iterator[Facts]:
    """The registered clusters, each with its maximum key age, or with what is wrong with its registration."""
    asked = FleetRequest(trigger=Trigger.SCHEDULE)
    registered = deployment.registry.registered(clusters or None)
    try:
        run = select(deployment.fleet_settings, Execution("status", now), asked, registered)
    except ClusterNotRegistered:  # none at all
        return
    for one in run.selected:
        yield Facts(one.cluster, max_key_age=timedelta(seconds=one.max_key_age_seconds or 0))
    for refused in run.not_selected:
        yield Facts(refused.cluster, problem=f"{refused.error}: {refused.cause}")


def whole_stories(deployment: Deployment, since: datetime, until: datetime) -> list[Facts]:
    """Every registered cluster, and whatever else has a record of these months, each with all of its records.

    A key that was in use in a month can have been made years before it.
    """
    known = {one.cluster: one for one in policies(deployment, (), deployment.clock())}
    ledger = deployment.ledger
    recorded = {one.cluster for month in months(since, until) for one in ledger.rotations_in(month)}
    names = sorted({*known, *recorded} - {""})
    memories = ledger.memories(names)
    records = _side_by_side(lambda name: tuple(ledger.rotations_of(name)), names)
    return [
        replace(known.get(name, Facts(name, registered=False)), memory=memories.get(name), records=of_it)
        for name, of_it in zip(names, records, strict=True)
    ]


def months(since: datetime, until: datetime) -> Iterator[str]:
    """The months between two moments, the latest first."""
    year, month = until.year, until.month
    while (year, month) >= (since.year, since.month):
        yield f"{year:04}-{month:02}"
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)


def latest(deployment: Deployment, cluster: str) -> tuple[Rotation, ...]:
    """The latest records of a cluster, the newest first: so many that one is of a rotation that ended."""
    found: list[Rotation] = []
    ended = False
    for one in islice(deployment.ledger.rotations_of(cluster, LATEST), MOST):
        if ended and len(found) >= LATEST:
            break
        found.append(one)
        ended = ended or (one.outcome is not None and not asked_of(one).dry_run)
    return tuple(found)


def running_rotations(deployment: Deployment) -> Mapping[str, Sequence[Running]]:
    """The rotations under way by cluster, the one that has its cluster first; dry runs are none."""
    listed = list(_listed(deployment, deployment.rotate_master_key_arn, running=True))
    records = deployment.ledger.rotations([one["executionArn"] for one in listed])
    found: dict[str, list[Running]] = {}
    for name, running in _side_by_side(lambda one: _running(deployment, one, records), listed):
        if name:
            found.setdefault(name, []).append(running)
    for several in found.values():
        several.sort(key=lambda one: (one.async_handle is None, one.execution.started_at))
    return found


def _running(
    deployment: Deployment, listed: ExecutionListItemTypeDef, records: Mapping[str, Rotation]
) -> tuple[str, Running]:
    """The cluster a running execution works on, and where it is; no cluster where it rotates none."""
    execution = Execution(listed["executionArn"], listed["startDate"])
    record = records.get(execution.id)
    record = record if record and record.execution.is_same_as(execution) else None
    request = record.request if record else _request_of(deployment, execution)
    position = position_of(_events(deployment, execution), lambda: _definition(deployment, execution))
    phase, since = phase_of(position, record)
    running = Running(
        execution,
        phase=phase,
        since=since or execution.started_at,
        polls=record.polls if record else 0,
        async_handle=record.following.async_handle if record and record.following else None,
        attempt=position.attempt,
    )
    return request.cluster if request and not request.dry_run else "", running


def _request_of(deployment: Deployment, execution: Execution) -> Request | None:
    """What an execution was asked for that has written nothing down yet (``DescribeExecution``)."""
    try:
        return parse_request(_input_of(deployment, execution))
    except ElementRekeyError:
        return None  # it is about to end for that


def _input_of(deployment: Deployment, execution: Execution) -> Any:  # noqa: ANN401 - JSON has no narrower type
    given = deployment.stepfunctions.describe_execution(executionArn=execution.id).get("input", "null")
    return json.loads(given)


def _events(deployment: Deployment, execution: Execution) -> Sequence[Mapping[str, Any]]:
    """The latest events, the newest first (``GetExecutionHistory``)."""
    answer = deployment.stepfunctions.get_execution_history(
        executionArn=execution.id, reverseOrder=True, maxResults=_HISTORY_PAGE, includeExecutionData=False
    )
    return answer["events"]


def _definition(deployment: Deployment, execution: Execution) -> Mapping[str, Any]:
    """The definition it began with (``DescribeStateMachineForExecution``)."""
    answer = deployment.stepfunctions.describe_state_machine_for_execution(executionArn=execution.id)
    definition: Mapping[str, Any] = json.loads(answer["definition"])
    return definition


def urgent_reports(deployment: Deployment, registered: Collection[str], now: datetime) -> Iterator[Report]:
    """What was asked urgently in the last month."""
    listed = {one["executionArn"]: one for one in _since(deployment, now - REMEMBERED_REPORTS)}
    runs = deployment.ledger.fleet_runs(tuple(listed))
    for arn, one in listed.items():
        execution, running = Execution(arn, one["startDate"]), one["status"] == "RUNNING"
        run = runs.get(arn)
        if run is None and running:
            run = _not_written_yet(deployment, execution)
        report = report_of(run, registered, now, running=running) if run else None
        if report:
            yield report


def _not_written_yet(deployment: Deployment, execution: Execution) -> FleetRun | None:
    """A fleet run that has selected nothing yet."""
    try:
        given = _input_of(deployment, execution)
        return FleetRun(execution, parse_fleet_request(given, deployment.fleet_settings.alarm_prefix))
    except ElementRekeyError:
        return None  # it is about to end for that


def _since(deployment: Deployment, moment: datetime) -> Iterator[ExecutionListItemTypeDef]:
    """The fleet runs begun since, the latest first."""
    for one in _listed(deployment, deployment.rotate_fleet_arn, running=False):
        if one["startDate"] < moment:
            return
        yield one


def _listed(deployment: Deployment, machine: str, *, running: bool) -> Iterator[ExecutionListItemTypeDef]:
    """Executions, all or those that run, the latest begun first (``ListExecutions``)."""
    listing = deployment.stepfunctions.get_paginator("list_executions")
    if running:
        pages = listing.paginate(stateMachineArn=machine, statusFilter="RUNNING")
    else:
        pages = listing.paginate(stateMachineArn=machine)
    return (one for page in pages for one in page["executions"])


def _side_by_side(call: Callable[[A], B], of: Iterable[A]) -> list[B]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(call, of))

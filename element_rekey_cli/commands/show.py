"""``element-rekey show``: one rotation or fleet run whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import ClientError

from element_rekey.codec import encode
from element_rekey.fleet.summarize import cluster_results
from element_rekey.notifications import build_notification, plain_words
from element_rekey.records import asked_of
from element_rekey.summary import build_summary, summary_in_words
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.display import Display
from element_rekey_cli.documents import execution_document
from element_rekey_cli.execution_history import ExecutionHistory
from element_rekey_cli.exits import Exit
from element_rekey_cli.pages import indented, key_in_words, proof_of
from element_rekey_cli.starting import what_it_says
from element_rekey_cli.tool import command
from element_rekey_cli.words import in_full

if TYPE_CHECKING:
    from collections.abc import Iterator

    from element_rekey.records import FleetRun, Rotation
    from element_rekey_cli.deployment import Deployment
    from element_rekey_cli.execution_history import HistoryEvent
    from element_rekey_cli.tool import Given

_GONE = frozenset({"ExecutionDoesNotExist", "InvalidArn"})


@click.command()
@click.argument("execution")
@command
def show(given: Given, execution: str) -> Exit:
    """One EXECUTION whole, by its ARN or, of a rotation, its name.

    What was asked, what was seen, what was sent, what the job did, what the outcome rests on, what was published, and
    what happened when. Of a fleet run its summary.
    """
    deployment = given.deployment
    arn = deployment.execution_arn(execution)
    run = deployment.ledger.fleet_runs([arn]).get(arn)
    rotation = deployment.ledger.rotations([arn]).get(arn)
    status, events = what_step_functions_says(deployment, arn)
    if status is None and rotation is None and run is None:
        raise CommandFailed(f"There is no execution {execution}, and no record of one.", Exit.NOT_FOUND)
    if run:
        _show_fleet_run(given, run)
    elif given.as_json:
        given.say(execution_document(rotation, arn, status, events))
    else:
        _show_rotation(given, arn, rotation, status, events)
    return Exit.DONE


def what_step_functions_says(deployment: Deployment, arn: str) -> tuple[str | None, list[HistoryEvent]]:
    """The status of an execution and what happened in it; None where it is gone, 90 days after its end."""
    try:
        status: str = deployment.stepfunctions.describe_execution(executionArn=arn)["status"]
        return status, list(ExecutionHistory().read(events_of(deployment, arn)))
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            return None, []
        raise


def events_of(deployment: Deployment, arn: str) -> Iterator[Any]:
    """Everything that happened in an execution, oldest first."""
    pages = deployment.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
    return (event for page in pages for event in page["events"])


def _show_fleet_run(given: Given, run: FleetRun) -> None:
    results = cluster_results(given.deployment.ports, given.deployment.rotate_master_key_arn, run)
    summary = build_summary(run, results)
    if given.as_json:
        given.say(summary)
        return
    for line in summary_in_words(summary).splitlines():
        given.page.line(line)


def _show_rotation(
    given: Given, arn: str, rotation: Rotation | None, status: str | None, events: list[HistoryEvent]
) -> None:
    page, display = given.page, Display(given.console)
    page.fact("Execution", arn)
    page.fact("Status", status or "gone from Step Functions, which keeps executions for 90 days after their end")
    if rotation is None:
        page.fact("Record", "none: it wrote nothing down, so it changed nothing")
    else:
        for label, text in facts_of(rotation):
            page.fact(label, text)
        if rotation.change or rotation.outcome:
            display.heading("What the outcome rests on")
            indented(proof_of(rotation), page)
        if rotation.ended_at:
            display.heading(f"Published {in_full(rotation.notified_at) if rotation.notified_at else 'not yet'}")
            display.quote(plain_words(build_notification(rotation)))
    if events:
        display.heading("What happened when")
        for event in events:
            display.event(event)


def facts_of(rotation: Rotation) -> Iterator[tuple[str, str]]:
    """What the record says: the demand, the observation, the intent, the job."""
    asked, request = asked_of(rotation), rotation.request
    yield "Cluster", f"{rotation.cluster or '(not named)'} {rotation.cluster_uuid}".rstrip()
    yield "Outcome", f"{rotation.outcome}: {rotation.outcome.headline}" if rotation.outcome else "under way"
    by = " and ".join(part for part in (asked.requested_by, asked.reason) if part)
    yield "Asked by", f"{asked.trigger or 'not to be read'}{f' ({by})' if by else ''}"
    yield "Demand", json.dumps(what_it_says(encode(request))) if request else "not a valid request"
    yield "Began", in_full(rotation.execution.started_at)
    if rotation.ended_at:
        yield "Ended", in_full(rotation.ended_at)
    if rotation.current_key:
        yield "Key as seen", key_in_words(rotation.current_key)
    if rotation.intent:
        intent = rotation.intent
        times = f", attempt {intent.attempts}" if intent.attempts > 1 else ""
        yield "Rekey sent", f"{in_full(intent.sent_at)}, to replace {intent.baseline_key.key_id}{times}"
    if rotation.following:
        following = rotation.following
        whose = "ours" if following.ours else "somebody else's"
        phase = "" if rotation.outcome else f", {rotation.detail}"
        yield "Job", f"asyncHandle {following.async_handle}, {whose}, {rotation.polls} polls{phase}"
    if rotation.failure:
        yield "Error", f"{rotation.failure.error}: {rotation.failure.cause}"
        yield "Next step", rotation.failure.next_step

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from element_rekey.aws.executions import ENDED_BADLY, LONGEST, StepFunctionsExecutions
from element_rekey.errors import AwsCallFailed, ExecutionAborted
from element_rekey.inputs import parse_close_request
from element_rekey.records import Execution, Failure, Request
from tests.fakes import NOW
from tests.template import properties
from tests.unit.samples import ARN, DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mypy_boto3_stepfunctions import SFNClient

MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey"
SINCE = NOW - 7 * DAY


@pytest.fixture
def client() -> SFNClient:
    made: SFNClient = boto3.client("stepfunctions", region_name="eu-central-1")
    return made


@pytest.fixture
def stubber(client: SFNClient) -> Iterator[Stubber]:
    """Answers as AWS documents them, held to the model of the service."""
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def one(name: str, status: str, begun: datetime, ended: datetime | None = None) -> dict[str, Any]:
    made = {
        "executionArn": f"{ARN}-{name}",
        "stateMachineArn": MACHINE,
        "name": name,
        "status": status,
        "startDate": begun,
    }
    return made | ({"stopDate": ended} if ended else {})


def answers(stubber: Stubber, status: str, *pages: list[dict[str, Any]]) -> None:
    for number, page in enumerate(pages):
        asked = {"stateMachineArn": MACHINE, "statusFilter": status, "maxResults": 1000}
        follows = {"nextToken": f"page {number + 1}"} if number + 1 < len(pages) else {}
        stubber.add_response(
            "list_executions",
            {"executions": page, **follows},
            asked | ({"nextToken": f"page {number}"} if number else {}),
        )


def test_whatever_the_rules_of_the_template_are_told_of_is_asked_for() -> None:
    for rule in ("InterruptedExecutionRule", "InterruptedFleetRule"):
        assert set(properties(rule)["EventPattern"]["detail"]["status"]) == set(ENDED_BADLY)


def test_all_that_ended_badly_since_a_moment_are_found_on_every_page(client: SFNClient, stubber: Stubber) -> None:
    answers(stubber, "FAILED", [one("a", "FAILED", NOW, NOW + MINUTE)], [one("b", "FAILED", NOW - DAY, SINCE)])
    answers(stubber, "TIMED_OUT", [one("c", "TIMED_OUT", SINCE - 15 * DAY, NOW)])
    answers(stubber, "ABORTED", [one("old", "ABORTED", SINCE - 2 * DAY, SINCE - timedelta(seconds=1))])
    found = StepFunctionsExecutions(client).ended_badly(MACHINE, SINCE)
    assert found == (
        Execution(f"{ARN}-a", NOW),
        Execution(f"{ARN}-b", NOW - DAY),
        Execution(f"{ARN}-c", SINCE - 15 * DAY),
    )


def test_nobody_reads_ninety_days_of_failures_every_hour(client: SFNClient, stubber: Stubber) -> None:
    """The latest begun comes first, so what was begun too long ago ends the search."""
    too_old = one("too-old", "FAILED", SINCE - LONGEST - timedelta(seconds=1), NOW)
    still_in = one("still-in", "FAILED", SINCE - LONGEST, NOW)
    stubber.add_response("list_executions", {"executions": [still_in, too_old], "nextToken": "more"})
    answers(stubber, "TIMED_OUT", [])
    answers(stubber, "ABORTED", [])
    found = StepFunctionsExecutions(client).ended_badly(MACHINE, SINCE)
    assert [one.id for one in found] == [f"{ARN}-still-in"]


def test_what_is_described_closes_the_execution_as_its_event_does(client: SFNClient, stubber: Stubber) -> None:
    known = {
        "executionArn": ARN,
        "stateMachineArn": MACHINE,
        "status": "ABORTED",
        "startDate": NOW,
        "stopDate": NOW + HOUR,
        "input": json.dumps({"cluster": "prod-a"}),
        "cause": "Stopped by jane.",
    }
    stubber.add_response("describe_execution", known, {"executionArn": ARN})
    closing = parse_close_request(StepFunctionsExecutions(client).status_event(Execution(ARN, NOW)))
    assert closing.execution == Execution(ARN, NOW)
    assert (closing.request, closing.cluster) == (Request("prod-a"), "prod-a")
    assert closing.failure == Failure("ExecutionAborted", "Stopped by jane.", ExecutionAborted.next_step)


def test_an_execution_without_input_and_cause_is_described_all_the_same(client: SFNClient, stubber: Stubber) -> None:
    known = {"executionArn": ARN, "stateMachineArn": MACHINE, "status": "TIMED_OUT", "startDate": NOW}
    stubber.add_response("describe_execution", known)
    closing = parse_close_request(StepFunctionsExecutions(client).status_event(Execution(ARN, NOW)))
    assert closing.request is None
    assert closing.failure
    assert closing.failure.error == "ExecutionTimedOut"


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "Not you."}}, "ListExecutions"),
        EndpointConnectionError(endpoint_url="https://states"),
    ],
)
def test_what_cannot_be_asked_is_a_failed_call(client: SFNClient, error: Exception) -> None:
    def refused(**_: object) -> None:
        raise error

    client.meta.events.register("before-call.sfn", cast("Any", refused))
    executions = StepFunctionsExecutions(client)
    with pytest.raises(AwsCallFailed, match="Step Functions did not list"):
        executions.ended_badly(MACHINE, SINCE)
    with pytest.raises(AwsCallFailed, match=f"Step Functions did not describe {ARN}"):
        executions.status_event(Execution(ARN, NOW))

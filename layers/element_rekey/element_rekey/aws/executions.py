"""The executions of Step Functions that did not end well, asked for where no event reported them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from element_rekey.errors import AwsCallFailed
from element_rekey.records import Execution

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_stepfunctions import SFNClient
    from mypy_boto3_stepfunctions.literals import ExecutionStatusType
    from mypy_boto3_stepfunctions.type_defs import ExecutionListItemTypeDef

ENDED_BADLY: tuple[ExecutionStatusType, ...] = ("FAILED", "TIMED_OUT", "ABORTED")
LONGEST = timedelta(days=31)  # no execution of ours lives longer


class StepFunctionsExecutions:
    """``ports.Executions`` over Step Functions."""

    def __init__(self, client: SFNClient) -> None:
        """Ask through ``client``."""
        self._client = client

    def ended_badly(self, state_machine_arn: str, since: datetime) -> tuple[Execution, ...]:
        """Those that failed, timed out or were stopped after ``since`` (``ListExecutions``). Raises AwsCallFailed."""
        try:
            return tuple(
                Execution(one["executionArn"], one["startDate"])
                for status in ENDED_BADLY
                for one in self._listed(state_machine_arn, status, since)
                if one.get("stopDate", since) >= since
            )
        except (ClientError, BotoCoreError) as error:
            raise AwsCallFailed(f"Step Functions did not list the executions: {error}") from error

    def _listed(
        self, state_machine_arn: str, status: ExecutionStatusType, since: datetime
    ) -> Iterator[ExecutionListItemTypeDef]:
        """The latest begun first, as far back as one that ended after ``since`` can have begun."""
        pages = self._client.get_paginator("list_executions").paginate(
            stateMachineArn=state_machine_arn, statusFilter=status, PaginationConfig={"PageSize": 1000}
        )
        for page in pages:
            for one in page["executions"]:
                if one["startDate"] < since - LONGEST:
                    return
                yield one

    def status_event(self, execution: Execution) -> Mapping[str, Any]:
        """What the event on its change of status says of it (``DescribeExecution``). Raises AwsCallFailed."""
        try:
            known = self._client.describe_execution(executionArn=execution.id)
        except (ClientError, BotoCoreError) as error:
            raise AwsCallFailed(f"Step Functions did not describe {execution.id}: {error}") from error
        detail = {
            "executionArn": execution.id,
            "status": known["status"],
            "startDate": round(execution.started_at.timestamp() * 1000),
            "input": known.get("input"),
            "cause": known.get("cause"),
        }
        return {"source": "aws.states", "detail": detail}

"""The real triggers of a deployment: an alarm that changes its state, and the schedule."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.deployment import Deployment

ALARM_PREFIX = "element-key-compromise-"
SECONDS = 30
LOOK_SECONDS = 0.1


class NothingStarted(Exception):
    """A trigger fired and no rotation began; one sentence."""


def schedule_parameters() -> dict[str, str]:
    """Deployed with these, the schedule comes due as soon as the stack is there, and nobody waits for a slot."""
    soon = datetime.now(UTC) + timedelta(seconds=1)
    at = f"at({soon:%Y-%m-%dT%H:%M:%S})"
    return {"ScheduleState": "ENABLED", "ScheduleExpression": at, "SpreadMinutes": "0"}


def raise_alarm(deployment: Deployment, cluster: str) -> None:
    """Make an alarm that means "this cluster's key is compromised" and let it go from OK to ALARM."""
    name = f"{ALARM_PREFIX}{cluster}"
    deployment.aws.cloudwatch.put_metric_alarm(
        AlarmName=name,
        AlarmDescription=f"The master key of {cluster} is reported compromised.",
        Namespace="Security",
        MetricName="KeyCompromised",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    deployment.aws.cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="nothing reported")
    deployment.aws.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="reported compromised")


def started_execution(deployment: Deployment) -> str:
    """The execution of RotateMasterKey that a trigger led to. Raises NothingStarted."""
    machine = deployment.state_machine_arns["RotateMasterKey"]
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        executions = deployment.aws.stepfunctions.list_executions(stateMachineArn=machine)["executions"]
        if executions:
            return executions[0]["executionArn"]
        time.sleep(LOOK_SECONDS)
    raise NothingStarted(f"The trigger was pulled, but no rotation began within {SECONDS} seconds.")

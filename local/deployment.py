"""The real template on an engine: deployed, with a queue subscribed to its topic, and with clusters registered."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from local.packaging import package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from local.aws import Aws

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
STACK_NAME = "element-rekey"
BUCKET = "element-rekey-packages"
DEPLOY_SECONDS = 60
POLL_SECONDS = 0.05


class DeploymentFailed(Exception):
    """The stack could not be made; one sentence that names the resource and the reason."""


@dataclass(frozen=True)
class Deployment:
    """A deployed stack. Every notification also goes to a queue of our own, raw: a message's body is the document."""

    aws: Aws
    outputs: dict[str, str]
    state_machine_arns: dict[str, str]  # by logical name
    log_groups: tuple[str, ...]
    resources: int
    queue_url: str
    stack_name: str = STACK_NAME

    @property
    def topic_arn(self) -> str:
        """Where every outcome is published."""
        return self.outputs["TopicArn"]

    @property
    def table_name(self) -> str:
        """The ledger."""
        return self.outputs["TableName"]

    @property
    def secret_prefix(self) -> str:
        """A cluster is registered by the secret ``<prefix>/<name>``."""
        return self.outputs["SecretPrefix"]

    def register(self, name: str, registration: Mapping[str, Any]) -> None:
        """Register a cluster, as an operator would."""
        self.aws.secretsmanager.create_secret(
            Name=f"{self.secret_prefix}/{name}", SecretString=json.dumps(dict(registration))
        )

    def start(self, request: Mapping[str, Any], state_machine: str = "RotateMasterKey") -> str:
        """Start an execution; returns its ARN."""
        return self.aws.stepfunctions.start_execution(
            stateMachineArn=self.state_machine_arns[state_machine], input=json.dumps(dict(request))
        )["executionArn"]

    def status(self, execution: str) -> str:
        """How an execution stands: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""
        return self.aws.stepfunctions.describe_execution(executionArn=execution)["status"]

    def history(self, execution: str) -> Iterator[Mapping[str, Any]]:
        """Everything that happened in an execution, oldest first."""
        pages = self.aws.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=execution)
        return (event for page in pages for event in page["events"])

    def receive(self, seconds: int = 1, queue_url: str = "") -> Iterator[dict[str, Any]]:
        """Take the notifications off our queue, or another one; wait for the first so many seconds at most."""
        queue_url = queue_url or self.queue_url
        messages = self.aws.sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=seconds
        ).get("Messages", [])
        for message in messages:
            self.aws.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            yield json.loads(message["Body"])


def deploy(aws: Aws, parameters: Mapping[str, str] | None = None, template: Path = TEMPLATE) -> Deployment:
    """Deploy the template by a change set, as ``sam deploy`` does, and subscribe a queue to its topic."""
    aws.s3.create_bucket(Bucket=BUCKET)
    body = package(template, BUCKET, lambda key, content: aws.s3.put_object(Bucket=BUCKET, Key=key, Body=content))
    aws.s3.put_object(Bucket=BUCKET, Key="template.json", Body=body.encode())
    try:
        change_set = aws.cloudformation.create_change_set(
            StackName=STACK_NAME,
            ChangeSetName="deploy",
            ChangeSetType="CREATE",
            TemplateURL=f"{aws.endpoint_url}/{BUCKET}/template.json",
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in (parameters or {}).items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )["Id"]
        wait_until_complete("the change set", lambda: change_set_status(aws, change_set))
        aws.cloudformation.execute_change_set(ChangeSetName=change_set)
        wait_until_complete("the stack", lambda: stack_status(aws))
    except ClientError as error:
        reason = error.response["Error"].get("Message", str(error)).rstrip(".")
        raise DeploymentFailed(f"The template could not be deployed: {reason}.") from error
    stack = aws.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}
    resources = aws.cloudformation.list_stack_resources(StackName=STACK_NAME)["StackResourceSummaries"]
    of_type = {
        (item["ResourceType"], item["LogicalResourceId"]): item.get("PhysicalResourceId", "") for item in resources
    }
    return Deployment(
        aws=aws,
        outputs=outputs,
        state_machine_arns={
            name: arn for (kind, name), arn in of_type.items() if kind == "AWS::StepFunctions::StateMachine"
        },
        log_groups=tuple(group for (kind, _), group in of_type.items() if kind == "AWS::Logs::LogGroup"),
        resources=len(resources),
        queue_url=subscribe_queue(aws, outputs["TopicArn"], "notifications"),
    )


def subscribe_queue(aws: Aws, topic_arn: str, name: str) -> str:
    """A queue that gets every notification; returns its URL."""
    url = aws.sqs.create_queue(QueueName=f"{STACK_NAME}-{name}")["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    aws.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    aws.sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"RawMessageDelivery": "true"},
        ReturnSubscriptionArn=True,
    )
    return url


def wait_until_complete(what: str, status: Callable[[], tuple[str, str]]) -> None:
    """Poll until ``status`` is COMPLETE; anything that is neither that nor on its way is a failure."""
    deadline = time.monotonic() + DEPLOY_SECONDS
    while True:
        state, reason = status()
        if state in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            return
        if "FAILED" in state or "ROLLBACK" in state:
            raise DeploymentFailed(f"The template could not be deployed: {reason.rstrip('.') or state}.")
        if time.monotonic() > deadline:
            raise DeploymentFailed(f"The template could not be deployed: {what} is still {state}.")
        time.sleep(POLL_SECONDS)


def change_set_status(aws: Aws, change_set: str) -> tuple[str, str]:
    """The change set's status and why."""
    answer = aws.cloudformation.describe_change_set(ChangeSetName=change_set)
    return answer["Status"], answer.get("StatusReason", "")


def stack_status(aws: Aws) -> tuple[str, str]:
    """The stack's status and, where it failed, the first resource that did and why."""
    stack = aws.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    status = str(stack["StackStatus"])
    if "FAILED" not in status and "ROLLBACK" not in status:
        return status, ""
    events = aws.cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    reasons = [
        f"{event.get('LogicalResourceId', '')}: {event.get('ResourceStatusReason', '')}".rstrip(".")
        for event in reversed(events)  # newest first
        if event.get("ResourceStatus", "").endswith("FAILED") and event.get("ResourceStatusReason")
    ]
    return status, reasons[0] if reasons else stack.get("StackStatusReason", "")

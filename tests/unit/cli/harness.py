"""A deployment to try the command on: DynamoDB and Secrets Manager of moto, Step Functions in a few lines.

The ledger's items are written by the layer's own ledger. What moto does not do is the histories of executions, and
CloudFormation, which needs more packages.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError
from click.testing import CliRunner
from rich.console import Console

from element_rekey_cli.deployment import Deployment
from element_rekey_cli.main import cli
from element_rekey_cli.tool import Tool
from tests.fakes import NOW, FakeClock
from tests.template import ACCOUNT, REGION, TEMPLATE, default, properties, state_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

TABLE = "element-rekey"
PARTS = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
STATES = f"arn:aws:states:{REGION}:{ACCOUNT}"
ROTATE, FLEET = f"{STATES}:stateMachine:RotateMasterKey", f"{STATES}:stateMachine:element-rekey-rotate-fleet"
USER = f"arn:aws:sts::{ACCOUNT}:assumed-role/Operator/j.doe"
PARAMETERS = {name: str(default(name)) for name in TEMPLATE["Parameters"]}


def arn(name: str, machine: str = ROTATE) -> str:
    """The ARN of an execution."""
    return f"{machine.replace(':stateMachine:', ':execution:')}:{name}"


def gone(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "ExecutionDoesNotExist", "Message": "no"}}, operation)


@dataclass
class FakeSteps:
    """Step Functions: executions with a status, an input and a history. ``on_start`` and ``on_look`` move them on."""

    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    on_start: Callable[[str, dict[str, Any]], None] = lambda _arn, _input: None

    def add(
        self,
        name: str,
        started_at: datetime,
        status: str = "RUNNING",
        machine: str = ROTATE,
        **given: Any,  # noqa: ANN401 - JSON
    ) -> str:
        execution = arn(name, machine)
        text = json.dumps(given)
        self.executions[execution] = {
            "executionArn": execution,
            "status": status,
            "startDate": started_at,
            "input": text,
        }
        self.histories.setdefault(execution, [])
        return execution

    def happened(self, execution: str, kind: str, at: datetime, **details: Any) -> None:  # noqa: ANN401 - JSON
        """Add an event to a history; its details are named as AWS does."""
        events = self.histories[execution]
        events.append({"id": len(events) + 1, "type": kind, "timestamp": at, **details})

    def start_execution(self, **asked: str) -> dict[str, Any]:
        given = json.loads(asked["input"])
        started = self.add(asked["name"], NOW, machine=asked["stateMachineArn"], **given)
        self.on_start(started, given)
        return {"executionArn": started}

    def describe_execution(self, **asked: str) -> dict[str, Any]:
        if asked["executionArn"] not in self.executions:
            raise gone("DescribeExecution")
        return self.executions[asked["executionArn"]]

    def get_execution_history(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        events = self.histories[asked["executionArn"]]
        return {"events": list(reversed(events)) if asked.get("reverseOrder") else list(events)}

    def describe_state_machine_for_execution(self, **_: str) -> dict[str, str]:
        return {"definition": json.dumps(state_machine())}

    def list_executions(self, **asked: str) -> dict[str, Any]:
        found = [
            one
            for one in self.executions.values()
            if one["executionArn"].startswith(arn("", asked["stateMachineArn"]))
            and one["status"] == asked.get("statusFilter", one["status"])
        ]
        return {"executions": sorted(found, key=lambda one: one["startDate"], reverse=True)}

    def get_paginator(self, operation: str) -> FakeSteps._Paginator:
        return FakeSteps._Paginator(getattr(self, operation))

    @dataclass
    class _Paginator:
        call: Callable[..., dict[str, Any]]

        def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - as boto3
            yield self.call(**asked)


class FakeSts:
    """Who calls."""

    def get_caller_identity(self) -> dict[str, str]:
        return {"Arn": USER}


@cache
def moto_client(service: str) -> Any:  # noqa: ANN401 - a boto3 client
    """A client; making one takes longer than all that is done with it. Only while moto stands for AWS."""
    return boto3.client(service, region_name=REGION)


@dataclass
class Ran:
    """What a call of the command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.out)


@dataclass
class Harness:
    """The command, and what it speaks to."""

    steps: FakeSteps = field(default_factory=FakeSteps)
    clock: FakeClock = field(default_factory=FakeClock)
    width: int = 80
    terminal: bool = True
    pauses: list[float] = field(default_factory=list)
    on_pause: Callable[[], None] = lambda: None
    find: Callable[..., Any] | None = None
    others: dict[str, Any] = field(default_factory=dict)
    said: io.StringIO = field(default_factory=io.StringIO)
    said_aside: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.others = {"stepfunctions": self.steps, "sts": FakeSts()}
        outputs = dict.fromkeys(TEMPLATE["Outputs"], "-") | {
            "TableName": TABLE,
            "SecretPrefix": "element-rekey",
            "RotateMasterKeyArn": ROTATE,
            "RotateFleetArn": FLEET,
            "TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:element-rekey",
        }
        self.deployment = Deployment(
            "element-rekey",
            outputs,
            dict(PARAMETERS),
            lambda name: self.others.get(name) or moto_client(name),
            self.clock,
        )

    def client(self, service: str) -> Any:  # noqa: ANN401 - a boto3 client, or what stands for one
        """A client of a service."""
        return self.others.get(service) or moto_client(service)

    @property
    def ledger(self) -> Any:  # noqa: ANN401 - DynamoLedger; its methods are typed where they are used
        return self.deployment.ledger

    def register(self, cluster: str, **tags: str) -> None:
        moto_client("secretsmanager").create_secret(
            Name=f"element-rekey/{cluster}",
            SecretString="{}",
            Tags=[{"Key": f"element-rekey:{name.replace('_', '-')}", "Value": value} for name, value in tags.items()],
        )

    def console(self, *, stderr: bool = False) -> Console:
        """Where people read."""
        file, terminal = self.said_aside if stderr else self.said, self.terminal
        return Console(file=file, width=self.width, force_terminal=terminal, color_system=None, highlight=False)

    def run(self, *arguments: str, given: str = "") -> Ran:
        """Run the command as on a terminal, without colour; ``given`` is what a person types."""
        self.said, self.said_aside = io.StringIO(), io.StringIO()

        def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            self.on_pause()

        tool = Tool(
            find=self.find or (lambda _stack, **_: self.deployment), clock=self.clock, sleep=sleep, console=self.console
        )
        result = CliRunner().invoke(cli, list(arguments), obj=tool, input=given)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout + self.said.getvalue(), result.stderr + self.said_aside.getvalue())


def empty(clients: Sequence[str] = ("dynamodb", "secretsmanager")) -> None:
    """Forget everything."""
    for page in moto_client(clients[0]).get_paginator("scan").paginate(TableName=TABLE):
        for item in page["Items"]:
            moto_client(clients[0]).delete_item(TableName=TABLE, Key={"pk": item["pk"]})
    for page in moto_client(clients[1]).get_paginator("list_secrets").paginate(IncludePlannedDeletion=True):
        for secret in page["SecretList"]:
            moto_client(clients[1]).delete_secret(SecretId=secret["Name"], ForceDeleteWithoutRecovery=True)


def make_table() -> None:
    """The template's own table."""
    moto_client("dynamodb").create_table(TableName=TABLE, **{part: properties("Table")[part] for part in PARTS})

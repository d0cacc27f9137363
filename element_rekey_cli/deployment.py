"""The deployment the command speaks to: a stack on AWS, or the one that ``make up`` keeps running on this machine."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from element_rekey.aws.ledger import DynamoLedger
from element_rekey.aws.registry import SecretsRegistry
from element_rekey.aws.topic import SnsTopic
from element_rekey.ports import Ports
from element_rekey.settings import FleetSettings, Settings

from .exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_stepfunctions import SFNClient

DEFAULT_STACK = "element-rekey"
OUTPUTS = ("RotateMasterKeyArn", "RotateFleetArn", "TopicArn", "TableName", "DeadLettersUrl", "SecretPrefix")
"""What the command reads of the stack's outputs."""
PARAMETERS = ("MaxKeyAgeDays", "AlarmKeyAgeDays", "CompromiseAlarmPrefix", "ScheduleState", "SecretKmsKeyArn")
"""What it reads of the stack's parameters."""
LOCAL_MEMBERS = ("endpointUrl", "region", "accessKeyId", "secretAccessKey", "stackName")
"""What it reads of the file that ``make up`` leaves."""

_AWS = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})
_ABSENT = "ValidationError"  # what CloudFormation answers for a stack that is not there


class CommandFailed(Exception):
    """The command cannot go on; one sentence for a person, and the exit code."""

    def __init__(self, what: str, code: Exit = Exit.NO_ANSWER) -> None:
        """Keep what happened, with what to do about it, and the exit ``code``."""
        super().__init__(what)
        self.code = code


@dataclass(frozen=True)
class Deployment:
    """One stack: its outputs and parameters, and clients of the services it is made of."""

    stack: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    client: Callable[[str], Any]  # by the name of the service
    clock: Callable[[], datetime]

    @cached_property
    def stepfunctions(self) -> SFNClient:
        """Step Functions."""
        client: SFNClient = self.client("stepfunctions")
        return client

    @cached_property
    def ledger(self) -> DynamoLedger:
        """Locks, memories and records."""
        client: DynamoDBClient = self.client("dynamodb")
        return DynamoLedger(client, self.outputs["TableName"])

    @cached_property
    def registry(self) -> SecretsRegistry:
        """The registered clusters."""
        client: SecretsManagerClient = self.client("secretsmanager")
        return SecretsRegistry(client, self.outputs["SecretPrefix"], self.clock)

    @property
    def ports(self) -> Ports:
        """What the application's own use cases read by; the settings are those no reading depends on."""
        topic = SnsTopic(self.client("sns"), self.outputs["TopicArn"])
        settings = Settings(deadline=timedelta(), settling=timedelta(), lease=timedelta())
        return Ports(self.registry, self.ledger, topic, self.clock, settings)

    @property
    def rotate_master_key_arn(self) -> str:
        """The state machine that rotates one cluster."""
        return self.outputs["RotateMasterKeyArn"]

    @property
    def rotate_fleet_arn(self) -> str:
        """The state machine that rotates many."""
        return self.outputs["RotateFleetArn"]

    @property
    def fleet_settings(self) -> FleetSettings:
        """What the parameters say of how old a key may get, and of names."""
        return FleetSettings(
            max_key_age=timedelta(days=int(self.parameters["MaxKeyAgeDays"])),
            cool_down=timedelta(),
            spread=timedelta(),
            max_concurrency=1,
            urgent_max_concurrency=1,
            alarm_prefix=self.parameters["CompromiseAlarmPrefix"],
        )

    @property
    def grace(self) -> timedelta:
        """How long the schedule has for a key that is due, before an alarm says so."""
        days = int(self.parameters["AlarmKeyAgeDays"]) - int(self.parameters["MaxKeyAgeDays"])
        return timedelta(days=max(0, days))

    def execution_arn(self, name: str) -> str:
        """The ARN of a rotation by its name; an ARN stays as it is."""
        if name.startswith("arn:"):
            return name
        return f"{self.rotate_master_key_arn.replace(':stateMachine:', ':execution:')}:{name}"


def find(stack: str, *, local: bool, clock: Callable[[], datetime]) -> Deployment:
    """The deployment ``stack`` of the usual AWS environment, or the local one. Raises CommandFailed."""
    # AWS's other SDKs, and its CLI from version 2 on, know the first name; boto3 only the second one.
    session, endpoint = boto3.Session(region_name=os.environ.get("AWS_REGION")), None
    if local:
        found = read_local()
        session, endpoint, stack = found.session, found.endpoint_url, found.stack
    if session.region_name is None:
        raise CommandFailed("No AWS region is set: set AWS_REGION, or a region in the profile that AWS_PROFILE names.")

    def client(service: str) -> Any:  # noqa: ANN401 - a boto3 client
        return session.client(service, endpoint_url=endpoint, config=_AWS)

    try:
        return described(client("cloudformation"), stack, client, clock)
    except BotoCoreError as error:
        gone = " Is `make up` still running?" if local else ""
        raise CommandFailed(f"AWS did not answer: {error}{gone}") from error


def described(
    cloudformation: Any,  # noqa: ANN401 - a boto3 client
    stack: str,
    client: Callable[[str], Any],
    clock: Callable[[], datetime],
) -> Deployment:
    """The deployment as CloudFormation describes it (``DescribeStacks``). Raises CommandFailed, BotoCoreError."""
    try:
        description = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        said = error.response["Error"]
        if said["Code"] == _ABSENT:
            where = f"in region {cloudformation.meta.region_name}"
            raise CommandFailed(f"There is no stack {stack} {where}: name it with --stack.") from error
        raise CommandFailed(f"CloudFormation did not describe {stack}: {error}") from error
    outputs = {one["OutputKey"]: one["OutputValue"] for one in description.get("Outputs", ())}
    parameters = {one["ParameterKey"]: one.get("ParameterValue", "") for one in description.get("Parameters", ())}
    missing = [name for name in OUTPUTS if name not in outputs] + [
        name for name in PARAMETERS if name not in parameters
    ]
    if missing:
        what = f"Stack {stack} is not a deployment of Element Rekey, or one of another release: it has no"
        raise CommandFailed(f"{what} {', '.join(missing)}.")
    return Deployment(stack, outputs, parameters, client, clock)


@dataclass(frozen=True)
class Local:
    """Where ``make up`` serves, and as whom it is spoken to."""

    endpoint_url: str
    session: boto3.Session
    stack: str


def local_file() -> Path:
    """Where ``make up`` writes down where everything is, while it runs."""
    return Path(tempfile.gettempdir(), f"element-rekey-up-{os.getuid()}.json")


def read_local(path: Path | None = None) -> Local:
    """What ``make up`` wrote. Raises CommandFailed where nothing runs, or what is missing in it."""
    path = path or local_file()
    try:
        status = path.stat()
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"Nothing runs here: {path} is not there. Start it with `make up`.") from error
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CommandFailed(f"{path} can be written by somebody else: it is not read.")
    try:
        given = json.loads(text)
    except ValueError as error:
        raise CommandFailed(f"{path} is not JSON. Start `make up` again.") from error
    members = given if isinstance(given, dict) else {}
    missing = [name for name in LOCAL_MEMBERS if not isinstance(members.get(name), str)]
    if missing:
        raise CommandFailed(f"{path} does not say {', '.join(missing)}. Start `make up` again.")
    session = boto3.Session(
        aws_access_key_id=members["accessKeyId"],
        aws_secret_access_key=members["secretAccessKey"],
        region_name=members["region"],
    )
    return Local(members["endpointUrl"], session, members["stackName"])

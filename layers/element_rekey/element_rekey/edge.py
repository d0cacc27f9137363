"""Where the functions meet the application: the environment read once, and the state machine's state in and out."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from .codec import encode
from .directory import SecretsDirectory
from .ledger import DynamoLedger
from .notifications import SnsTopic, notification_of
from .ports import Ports, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Rotation
    from .rotation import Step

LEASE = timedelta(minutes=15)  # a function lives 90 s and is retried for some five minutes

_AWS = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
"""So that a network path that is missing shows as an error, and not as a function that timed out."""


def now() -> datetime:
    """The clock of this machine, in UTC."""
    return datetime.now(UTC)


def ports_from_environment() -> Ports:
    """The adapters over AWS, as the template's environment variables name them; once for each container."""
    settling = timedelta(seconds=int(os.environ["SETTLING_SECONDS"]))
    deadline = timedelta(minutes=int(os.environ["DEADLINE_MINUTES"]))
    return Ports(
        clusters=SecretsDirectory(boto3.client("secretsmanager", config=_AWS), os.environ["SECRET_PREFIX"], now),
        ledger=DynamoLedger(boto3.client("dynamodb", config=_AWS), os.environ["TABLE_NAME"]),
        topic=SnsTopic(boto3.client("sns", config=_AWS), os.environ["TOPIC_ARN"]),
        clock=now,
        settings=Settings(deadline=deadline, settling=settling, lease=LEASE),
    )


def answer(state: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """The state machine's next state after a step: what it decides by, and what a person sees in the console."""
    rotation = step.rotation
    stands: dict[str, Any] = {
        "status": step.status.value,
        "waitSeconds": step.wait_seconds,
        "polls": rotation.polls,
        "detail": rotation.detail,
    }
    if rotation.following:
        stands["asyncHandle"] = rotation.following.async_handle
    return {"input": state["input"], "execution": state["execution"], "rotation": stands}


def answer_outcome(state: Mapping[str, Any], rotation: Rotation) -> dict[str, Any]:
    """The state machine's last state: the notification, its cause with the next step for whoever reads the console."""
    told = encode(notification_of(rotation))
    if rotation.failure:
        told["cause"] = f"{rotation.failure.cause} Next: {rotation.failure.next_step}"
    return {**state, "outcome": told}

"""Where the functions meet the application: the environment read once, and the state machine's state in and out."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from .codec import encode
from .directory import SecretsDirectory
from .fleet import FleetSettings
from .ledger import DynamoLedger
from .notifications import notification_of
from .ports import Ports, Settings
from .summary import summary_of
from .topic import SnsTopic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .fleet import Standing
    from .model import FleetRun, Rotation
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
    history_days = int(os.environ["HISTORY_DAYS"])
    keep = timedelta(days=history_days) if history_days else None
    return Ports(
        clusters=SecretsDirectory(boto3.client("secretsmanager", config=_AWS), os.environ["SECRET_PREFIX"], now),
        ledger=DynamoLedger(boto3.client("dynamodb", config=_AWS), os.environ["TABLE_NAME"], keep),
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


def fleet_settings_from_environment() -> FleetSettings:
    """What the template's parameters say about fleets."""
    return FleetSettings(
        max_key_age=timedelta(days=int(os.environ["MAX_KEY_AGE_DAYS"])),
        cool_down=timedelta(minutes=int(os.environ["COOL_DOWN_MINUTES"])),
        spread=timedelta(minutes=int(os.environ["SPREAD_MINUTES"])),
        max_concurrency=int(os.environ["MAX_CONCURRENCY"]),
        rotate_master_key_arn=os.environ["ROTATE_MASTER_KEY_ARN"],
        tolerated_failures=int(os.environ["TOLERATED_FAILURES"]),
    )


def answer_fleet(state: Mapping[str, Any], run: FleetRun, after: Sequence[Standing]) -> dict[str, Any]:
    """The fleet machine's last state: its summary, without what only the steps before it needed."""
    told = encode(summary_of(run, after))
    if run.failure:
        told["cause"] = f"{run.failure.cause} Next: {run.failure.next_step}"
    return {"input": state.get("input"), "execution": state.get("execution"), "outcome": told}

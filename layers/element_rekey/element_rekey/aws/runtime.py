"""Where the functions meet the application: the environment read once, and the state machine's state in and out.

The environment variables are those of ``template.yaml``; each function reads only the ones it is given.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from element_rekey.codec import encode, shortened
from element_rekey.notifications import Notification, build_notification
from element_rekey.outcomes import Outcome
from element_rekey.pasting import start_command
from element_rekey.ports import Ports
from element_rekey.reconcile import Machines
from element_rekey.rotation.steps import Status
from element_rekey.settings import FleetSettings, Settings
from element_rekey.summary import Summary, build_summary
from element_rekey.text import LONGEST_CAUSE, cut

from .executions import StepFunctionsExecutions
from .ledger import DynamoLedger
from .registry import SecretsRegistry
from .topic import SnsTopic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from element_rekey.fleet.summarize import FleetPublished
    from element_rekey.reconcile import Reconciled
    from element_rekey.records import Failure, Request, Rotation
    from element_rekey.rotation.publish import Published
    from element_rekey.rotation.steps import Step

LEASE = timedelta(minutes=15)  # a function lives 90 s, and one that has to wake up is waited for ten minutes and more

_AWS = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
"""So that a network path that is missing shows as an error, and not as a function that timed out."""


_LARGEST_STATE = 250_000  # bytes; Step Functions takes 262,144, and an input can be as large as that
_SHORT = (300, 10)  # characters of each text, and items of each list
_LIBRARIES = ("boto3", "botocore", "requests", "urllib3")


def now() -> datetime:
    """The clock of this machine, in UTC."""
    return datetime.now(UTC)


def ports_from_environment() -> Ports:
    """The adapters over AWS, as the template's environment variables name them; once for each container."""
    _quieten_libraries()
    settling = timedelta(seconds=int(os.environ["SETTLING_SECONDS"]))
    deadline = timedelta(minutes=int(os.environ["DEADLINE_MINUTES"]))
    history_days = int(os.environ["HISTORY_DAYS"])
    keep = timedelta(days=history_days) if history_days else None
    return Ports(
        clusters=SecretsRegistry(boto3.client("secretsmanager", config=_AWS), os.environ["SECRET_PREFIX"], now),
        ledger=DynamoLedger(boto3.client("dynamodb", config=_AWS), os.environ["TABLE_NAME"], keep),
        topic=SnsTopic(boto3.client("sns", config=_AWS), os.environ["TOPIC_ARN"]),
        clock=now,
        settings=Settings(deadline=deadline, settling=settling, lease=LEASE),
    )


def _quieten_libraries() -> None:
    """Keep what the libraries write for debugging out of the log, whatever level a function is set to.

    At DEBUG botocore writes down whole answers, the ones of Secrets Manager with every password among them.
    """
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)


def fleet_settings_from_environment() -> FleetSettings:
    """What the template's parameters say about fleets."""
    return FleetSettings(
        max_key_age=timedelta(days=int(os.environ["MAX_KEY_AGE_DAYS"])),
        cool_down=timedelta(minutes=int(os.environ["COOL_DOWN_MINUTES"])),
        spread=timedelta(minutes=int(os.environ["SPREAD_MINUTES"])),
        max_concurrency=int(os.environ["MAX_CONCURRENCY"]),
        urgent_max_concurrency=int(os.environ["URGENT_MAX_CONCURRENCY"]),
        alarm_prefix=os.environ["COMPROMISE_ALARM_PREFIX"],
        from_insufficient_data=os.environ["COMPROMISE_FROM_INSUFFICIENT_DATA"] == "true",
        all_by_event=os.environ["ALL_CLUSTERS_BY_EVENT"] == "true",
        tolerated_failures=int(os.environ["TOLERATED_FAILURES"]),
    )


def machines_from_environment() -> Machines:
    """The state machines whose executions are reconciled."""
    return Machines(
        executions=StepFunctionsExecutions(boto3.client("stepfunctions", config=_AWS)),
        rotate_master_key_arn=os.environ["ROTATE_MASTER_KEY_ARN"],
        rotate_fleet_arn=os.environ["ROTATE_FLEET_ARN"],
        alarm_prefix=os.environ["COMPROMISE_ALARM_PREFIX"],
    )


def schedule_is_enabled() -> bool:
    """Whether the operator has turned the fleet's schedule on."""
    return os.environ["SCHEDULE_STATE"] == "ENABLED"


def readiness_is_enabled() -> bool:
    """Whether the operator has left the daily look at the readiness of every cluster on."""
    return os.environ["READINESS_STATE"] == "ENABLED"


def answer_step(state: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """The state machine's next state after a step: what it decides by, and what a person sees in the console.

    ``{"input", "execution", "rotation": {"status", "waitSeconds", "polls", "detail", "asyncHandle"?}}``
    """
    rotation = step.rotation
    shown: dict[str, Any] = {
        "status": _status_on_the_wire(step),
        "waitSeconds": step.wait_seconds,
        "polls": rotation.polls,
        "detail": rotation.detail,
    }
    if rotation.following:
        shown["asyncHandle"] = rotation.following.async_handle
    return {"input": state["input"], "execution": state["execution"], "rotation": shown}


def _status_on_the_wire(step: Step) -> str:
    """The state machine has two words for starting again, one for each of its Choices; an old one may still run."""
    at_once = step.status is Status.START_AGAIN and not step.wait_seconds  # only ever after CheckStatus
    return "replan" if at_once else step.status.value


def answer_outcome(state: Mapping[str, Any], rotation: Rotation) -> dict[str, Any]:
    """The state machine's last state: ``{"input", "execution", ..., "outcome": notification}``."""
    notification = build_notification(rotation)
    shown = _for_the_console(rotation, rotation.failure, notification.start_again_with) if rotation.failure else {}
    return _last_state(state, notification, shown)


def answer_fleet(state: Mapping[str, Any], published: FleetPublished) -> dict[str, Any]:
    """The fleet machine's last state, without what only the steps before it needed.

    ``{"input", "execution", "outcome": summary}``
    """
    kept = {"input": state.get("input"), "execution": state.get("execution")}
    failure = published.run.failure
    shown = {"cause": _with_next_step(cut(failure.cause, LONGEST_CAUSE), failure)} if failure else {}
    return _last_state(kept, build_summary(published.run, published.results), shown)


def answer_reconciled(rotations: Reconciled[Published], fleet_runs: Reconciled[FleetPublished]) -> dict[str, int]:
    """How much had not been published. Raises what kept something from being published, so that it is tried again."""
    for failure in (*rotations.failures, *fleet_runs.failures):
        raise failure
    return {"rotations": len(rotations.published), "fleetRuns": len(fleet_runs.published)}


def _last_state(
    state: Mapping[str, Any], published: Notification | Summary, shown: Mapping[str, str]
) -> dict[str, Any]:
    """The state and what was published; only the latter, shortened, where a state machine could not carry both.

    ``shown`` is what the console shows in place of the error and the cause.
    """
    whole = {**state, "outcome": {**encode(published), **shown}}
    if _can_be_carried(whole):
        return whole
    return {"execution": state.get("execution"), "outcome": {**encode(shortened(published, *_SHORT)), **shown}}


def _can_be_carried(state: Mapping[str, Any]) -> bool:
    """Whether a state is neither too large, nor holds half a surrogate pair of an input that was refused for it."""
    try:
        return len(json.dumps(state, ensure_ascii=False).encode()) <= _LARGEST_STATE
    except UnicodeEncodeError:
        return False


def _for_the_console(rotation: Rotation, failure: Failure, start_again_with: Request | None) -> dict[str, str]:
    """Error and cause as a person reads them in the console.

    Of an outcome that is not known, that comes first: the last error may be one of the network, and whoever starts
    again after it without the right input makes a second key.
    """
    cause, error = cut(failure.cause, LONGEST_CAUSE), failure.error
    if rotation.outcome is Outcome.OUTCOME_UNKNOWN:
        cause, error = f"{error}: {cause}", rotation.outcome.value
    if start_again_with:
        cause += f" Start again only so: {start_command(rotation.execution.id, start_again_with)}"
    return {"error": error, "cause": _with_next_step(cause, failure)}


def _with_next_step(cause: str, failure: Failure) -> str:
    """The cause with the next step behind it."""
    return f"{cause} Next: {failure.next_step}"

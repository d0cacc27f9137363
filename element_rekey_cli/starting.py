"""Executions that are started by a person: their names, and on whose behalf."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from element_rekey.text import cut, one_line

from .deployment import CommandFailed
from .exits import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .deployment import Deployment

_LONGEST_NAME = 80  # characters, of an execution
_LONGEST_TEXT = 512  # of requestedBy


def execution_name(what: str, now: datetime) -> str:
    """A name that a person recognises, and no other start has: ``prod-a-2026-11-24-160501-123``.

    Without dots: an execution whose name has one is not logged.
    """
    moment = f"{now:%Y-%m-%d-%H%M%S}-{now.microsecond // 1000:03}"
    return f"{what.replace('.', '-')[: _LONGEST_NAME - len(moment) - 1]}-{moment}"


def start(deployment: Deployment, machine: str, name: str, request: Mapping[str, Any]) -> str:
    """Start an execution; returns its ARN (``StartExecution``).

    A call that is repeated after a lost answer starts nothing twice: it has the same name and the same input. Raises
    CommandFailed where Ctrl-C came before an answer.
    """
    try:
        answer = deployment.stepfunctions.start_execution(
            stateMachineArn=machine, name=name, input=json.dumps(request, ensure_ascii=False)
        )
    except KeyboardInterrupt:
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
        raise CommandFailed(f"Stopped; it may have been started: element-rekey show {arn}", Exit.STOPPED) from None
    return answer["executionArn"]


def caller(deployment: Deployment) -> str:
    """The ARN of whoever calls, for the record (``GetCallerIdentity``); empty where AWS does not say."""
    try:
        return cut(one_line(deployment.client("sts").get_caller_identity()["Arn"]), _LONGEST_TEXT)
    except (ClientError, BotoCoreError):
        return ""


def what_it_says(members: Mapping[str, Any]) -> dict[str, Any]:
    """An input without the members that say nothing."""
    return {name: value for name, value in members.items() if value is not False and value not in ("", [], 0)}

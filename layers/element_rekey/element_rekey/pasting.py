"""What a person pastes into a terminal to start again: the input, and the whole command line."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from .codec import encode

if TYPE_CHECKING:
    from .records import FleetRequest, Request


def input_text(request: Request | FleetRequest) -> str:
    """An input without the members that say nothing, on one line and in ASCII."""
    members = encode(request).items()
    return json.dumps({name: value for name, value in members if value is not False and value not in ("", [])})


def start_command(execution_id: str, request: Request | FleetRequest) -> str:
    """The command line that starts the state machine of an execution, by its ARN, with this input.

    Rests on ``states:StartExecution``
    (https://docs.aws.amazon.com/cli/latest/reference/stepfunctions/start-execution.html).
    """
    machine = execution_id.replace(":execution:", ":stateMachine:", 1).rpartition(":")[0]
    region = "".join(execution_id.split(":")[3:4])
    given = shlex.quote(input_text(request))
    return f"aws stepfunctions start-execution --region {region} --state-machine-arn {machine} --input {given}"

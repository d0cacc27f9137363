"""State machines that really run, on moto's interpreter under virtual time: a week of waiting takes a minute."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.places import Unmeasurable, make_importable

make_importable()
from element_rekey.transport import Timeouts  # noqa: E402 - after the path is set
from local.simulator import ClusterSpec  # noqa: E402 - likewise
from tests.workflow.interpreter import FunctionFailed  # noqa: E402 - likewise
from tests.workflow.world import World, world  # noqa: E402 - likewise

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENT = Timeouts()  # the tests' own are too short for a busy machine
LONGEST_DEADLINE = timedelta(days=7)  # that template.yaml allows
FUNCTION = "CheckStatusFunction"
ENDED = "complete"


@dataclass(frozen=True)
class Ran:
    """One execution: when it ended, and what is in its history."""

    seconds: float
    events: int
    transitions: int
    looks: int


def rotation(seconds: float) -> Ran:
    """The real state machine and functions, on a rekey of that length. Raises Unmeasurable if it does not rotate."""
    with _quiet(), world(ClusterSpec(rekey_seconds=seconds), timeouts=PATIENT) as made:
        made.settle(deadline=LONGEST_DEADLINE)
        began = made.time()
        arn = made.start({"cluster": "prod-a"})
        made.time.run()
        return _ran(made, arn, began=began.timestamp())


def alternative(states: dict[str, Any], seconds: float) -> Ran:
    """A machine of these states, whose one function says ``running``, or throws it, for as long as that."""
    with _quiet(), world(timeouts=PATIENT) as made:
        began = made.time()

        def look(_function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
            ended = (made.time() - began).total_seconds() >= seconds
            if not ended and event.get("throws"):
                raise FunctionFailed("StillRunning", "")
            return {"status": ENDED if ended else "running"}

        made.run_function = look
        role = f"arn:aws:iam::{made.machine_arn.split(':')[4]}:role/Alternative"
        definition = json.dumps({"StartAt": next(iter(states)), "States": states})
        client = made.clients["stepfunctions"]
        made_arn = client.create_state_machine(name="Alternative", definition=definition, roleArn=role)["stateMachineArn"]
        arn = client.start_execution(stateMachineArn=made_arn, input="{}")["executionArn"]
        made.time.run()
        return _ran(made, arn, began=began.timestamp())


def _ran(made: World, arn: str, *, began: float) -> Ran:
    done = made.execution(arn)
    if done.status != "SUCCEEDED":
        raise Unmeasurable(f"an execution ended as {done.status}: {done.error} {done.cause}")
    looks = made.calls[FUNCTION]
    retries = done.history.count("TaskScheduled") - done.history.count("TaskStateEntered")
    # A retry is billed as a transition, too.
    return Ran(made.time().timestamp() - began, len(done.history), len(done.states) + retries, looks)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the functions log is not what was asked for."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield

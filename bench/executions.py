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
from local.simulator import ClusterSpec  # noqa: E402 - after the path is set
from tests.workflow.clock import VirtualTime  # noqa: E402 - likewise
from tests.workflow.functions import CHECK  # noqa: E402 - likewise
from tests.workflow.interpreter import FunctionFailed  # noqa: E402 - likewise
from tests.workflow.stage import Stage, staged  # noqa: E402 - likewise
from tests.workflow.template import ACCOUNT, REGION  # noqa: E402 - likewise
from tests.workflow.world import world  # noqa: E402 - likewise

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_DEADLINE = timedelta(days=7)  # that template.yaml allows
LOOK = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{CHECK}"


@dataclass(frozen=True)
class Ran:
    """One execution: how long it took, what its history holds and what is billed, and how often it looked."""

    seconds: float
    events: int
    transitions: int
    looks: int


class JobForALoop(Stage):
    """A function that knows a job of some length, and says or throws that it is still running."""

    def __init__(self, time: VirtualTime, seconds: float) -> None:
        super().__init__(time)
        self._ends = time() + timedelta(seconds=seconds)

    def run_function(self, _function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """Look at the job."""
        ended = self.time() >= self._ends
        if event.get("throws") and not ended:
            raise FunctionFailed("StillRunning", "")
        return {"status": "ended" if ended else "running"}


def rotation(seconds: float) -> Ran:
    """The real state machine and functions, on a rekey of that length. Raises Unmeasurable if it does not rotate."""
    with _quiet(), world(ClusterSpec(rekey_seconds=seconds)) as made:
        made.settle(deadline=LONGEST_DEADLINE)
        return _ran(made, made.machine_arn, {"cluster": "prod-a"})


def alternative(states: dict[str, Any], seconds: float) -> Ran:
    """A machine of these states, the first one first, on a job of that length."""
    time = VirtualTime()
    with _quiet(), staged(time, lambda: JobForALoop(time, seconds)) as made:
        definition = json.dumps({"StartAt": next(iter(states)), "States": states})
        role = f"arn:aws:iam::{ACCOUNT}:role/Alternative"
        machine = made.states.create_state_machine(name="Alternative", definition=definition, roleArn=role)
        return _ran(made, machine["stateMachineArn"], {})


def _ran(made: Stage, machine_arn: str, given: dict[str, str]) -> Ran:
    began = made.time()
    arn = made.states.start_execution(stateMachineArn=machine_arn, input=json.dumps(given))["executionArn"]
    made.time.run()
    done = made.execution(arn)
    if done.status != "SUCCEEDED":
        raise Unmeasurable(f"an execution ended as {done.status}: {done.error} {done.cause}")
    # A retry is billed as a transition, too.
    retries = done.history.count("TaskScheduled") - done.history.count("TaskStateEntered")
    took = (made.time() - began).total_seconds()
    return Ran(took, len(done.history), len(done.states) + retries, made.calls[CHECK])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the functions log is not what was asked for."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield

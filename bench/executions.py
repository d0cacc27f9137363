"""State machines that really run, on moto's interpreter under virtual time: a week of waiting takes a minute."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.places import Unmeasurable
from local.simulator import ClusterSpec
from tests.template import ACCOUNT, CHECK, REGION
from tests.workflow.clock import VirtualClock
from tests.workflow.full_harness import full_harness
from tests.workflow.harness import WorkflowHarness, harness_on_moto
from tests.workflow.interpreter import FunctionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_DEADLINE = timedelta(days=365)  # so that a job as long as the longest deadline shows the plain rule
LOOK = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{CHECK}"


@dataclass(frozen=True)
class Ran:
    """One execution: how long it took, what its history holds and what is billed, and how often it looked."""

    seconds: float
    events: int
    transitions: int
    looks: int


class JobForALoop(WorkflowHarness):
    """A function that knows a job of some length, and says or throws that it is still running."""

    def __init__(self, clock: VirtualClock, seconds: float) -> None:
        super().__init__(clock)
        self._ends = clock() + timedelta(seconds=seconds)

    def run_function(self, _function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """Look at the job."""
        ended = self.clock() >= self._ends
        if event.get("throws") and not ended:
            raise FunctionFailed("StillRunning", "")
        return {"status": "ended" if ended else "running"}


def rotation(seconds: float) -> Ran:
    """The real state machine and functions, on a rekey of that length. Raises Unmeasurable if it does not rotate."""
    with _quiet(), full_harness(ClusterSpec(rekey_seconds=seconds)) as made:
        made.change_settings(deadline=NO_DEADLINE)
        return _ran(made, made.machine_arn, {"cluster": "prod-a"})


def alternative(states: dict[str, Any], seconds: float) -> Ran:
    """A machine of these states, the first one first, on a job of that length."""
    clock = VirtualClock()
    with _quiet(), harness_on_moto(clock, lambda: JobForALoop(clock, seconds)) as made:
        definition = json.dumps({"StartAt": next(iter(states)), "States": states})
        role = f"arn:aws:iam::{ACCOUNT}:role/Alternative"
        machine = made.states.create_state_machine(name="Alternative", definition=definition, roleArn=role)
        return _ran(made, machine["stateMachineArn"], {})


def _ran(made: WorkflowHarness, machine_arn: str, given: dict[str, str]) -> Ran:
    began = made.clock()
    arn = made.states.start_execution(stateMachineArn=machine_arn, input=json.dumps(given))["executionArn"]
    made.clock.run()
    done = made.execution(arn)
    if done.status != "SUCCEEDED":
        raise Unmeasurable(f"an execution ended as {done.status}: {done.error} {done.cause}")
    # A retry is billed as a transition, too.
    retries = done.history.count("TaskScheduled") - done.history.count("TaskStateEntered")
    took = (made.clock() - began).total_seconds()
    return Ran(took, len(done.history), len(done.states) + retries, made.calls[CHECK])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the functions log is not what was asked for."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield

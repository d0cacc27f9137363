"""The state machine, the functions it invokes, and the rule on its status, over whatever ports a test gives them."""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3

from element_rekey.aws.runtime import LEASE
from element_rekey.settings import Settings
from tests.template import ACCOUNT, PUBLISH, REGION, default, definition, properties
from tests.workflow.functions import ENVIRONMENT, call
from tests.workflow.interpreter import FunctionFailed, abort, aws_in_memory, parsing_once, time_out, virtual_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from element_rekey.ports import Ports
    from tests.workflow.clock import VirtualClock

PASSWORD = "Gr33n.Tea"
SETTINGS = Settings(
    deadline=timedelta(minutes=int(default("DeadlineMinutes"))),
    settling=timedelta(seconds=int(default("SettlingSeconds"))),
    lease=LEASE,
)
_REPORTED_STATUSES = frozenset(properties("InterruptedExecutionRule")["EventPattern"]["detail"]["status"])
_ASYNC_RETRIES = int(properties("PublishOutcomeFunction")["EventInvokeConfig"]["MaximumRetryAttempts"])
_ASYNC_WAITS = (60.0, 120.0)  # Lambda's own, between the attempts of an asynchronous invocation


@lru_cache
def aws_client(service: str) -> Any:  # noqa: ANN401 - one of many
    """A client of a service; made once, since that takes longer than most tests."""
    return boto3.client(service, region_name=REGION)


@dataclass(frozen=True)
class Execution:
    """How an execution stands."""

    arn: str
    status: str
    error: str
    cause: str
    output: Any
    history: list[str] = field(repr=False)  # the types of its events
    states: list[str] = field(repr=False)  # the names of the states entered


class WorkflowHarness:
    """See the module. Has to be made within ``harness_on_moto``."""

    ports: Ports

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.states = aws_client("stepfunctions")
        self.calls: Counter[str] = Counter()
        self.failures: list[tuple[str, str, str]] = []
        """Each invocation that ended with an error: function, name of the error, message."""
        self.dead_letters: list[Any] = []
        """Events of the rule that no invocation could handle: what the dead-letter queue would hold."""
        self.before_invocation: Callable[[str, int], None] = lambda _function, _number: None
        """Called before each invocation, with how many there were of that function; may raise in its place."""
        self._names = itertools.count(1)
        made = self.states.create_state_machine(
            name="RotateMasterKey", definition=definition(), roleArn=f"arn:aws:iam::{ACCOUNT}:role/RotateMasterKeyRole"
        )
        self.machine_arn: str = made["stateMachineArn"]

    def change_settings(self, **changes: timedelta) -> None:
        """Change the operator's settings."""
        self.ports = replace(self.ports, settings=replace(self.ports.settings, **changes))

    # -- executions -----------------------------------------------------------------------------------------------

    def start(self, given: Any) -> str:  # noqa: ANN401 - JSON
        """Start an execution with this input; it makes no step before ``run``."""
        started = self.states.start_execution(
            stateMachineArn=self.machine_arn, name=f"execution-{next(self._names)}", input=json.dumps(given)
        )
        arn: str = started["executionArn"]
        return arn

    def rotate(self, given: Any = None) -> Execution:  # noqa: ANN401 - JSON
        """Run one execution to its end, and whatever follows from it."""
        arn = self.start({"cluster": "prod-a"} if given is None else given)
        self.clock.run()
        return self.execution(arn)

    def stop(self, arn: str) -> None:
        """Stop an execution by hand; its status-change event is published at once, as EventBridge does."""
        if self.status(arn) == "RUNNING":
            abort(arn, self.states)
            self._publish_status_event(arn, "ABORTED")

    def time_out(self, arn: str) -> None:
        """Let an execution's own time limit pass."""
        if self.status(arn) == "RUNNING":
            time_out(arn, ACCOUNT, REGION)
            self._publish_status_event(arn, "TIMED_OUT")

    def status(self, arn: str) -> str:
        """The status of an execution now."""
        return str(self.states.describe_execution(executionArn=arn)["status"])

    def execution(self, arn: str) -> Execution:
        """How an execution stands now, with all that happened."""
        known = self.states.describe_execution(executionArn=arn)
        events = self.states.get_execution_history(executionArn=arn)["events"]
        entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
        return Execution(
            arn=arn,
            status=known["status"],
            error=known.get("error", ""),
            cause=known.get("cause", ""),
            output=json.loads(known["output"]) if known.get("output") else None,
            history=[event["type"] for event in events],
            states=entered,
        )

    # -- Lambda and EventBridge -----------------------------------------------------------------------------------

    def invoke(self, arn: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """What Lambda does when the state machine invokes a function."""
        function = arn.rpartition(":")[2]
        self.calls[function] += 1
        try:
            self.before_invocation(function, self.calls[function])
            return self.run_function(function, event)
        except FunctionFailed as failure:
            self.failures.append((function, failure.answer["errorType"], failure.answer["errorMessage"]))
            raise

    def run_function(self, function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """Call a function on our ports."""
        return call(function, event, self.ports)

    def ended(self, arn: str) -> None:
        """An execution ended; the rule of the template passes on those that ended badly."""
        status = self.status(arn)
        if status == "FAILED":  # the events of the others were published when the test made them end
            self._publish_status_event(arn, status)

    def _publish_status_event(self, arn: str, status: str) -> None:
        if status in _REPORTED_STATUSES:
            self.clock.after(0, lambda: self.deliver(self.status_event(arn, status)))

    def status_event(self, arn: str, status: str) -> dict[str, Any]:
        """Step Functions' event on a change of status."""
        known = self.states.describe_execution(executionArn=arn)
        detail = {
            "executionArn": arn,
            "stateMachineArn": self.machine_arn,
            "name": known["name"],
            "status": status,
            "startDate": round(known["startDate"].timestamp() * 1000),
            "stopDate": round(self.clock().timestamp() * 1000),
            "input": known["input"],
            "output": None,
            "inputDetails": {"included": True},
            "outputDetails": None,
            "error": known.get("error"),
            "cause": known.get("cause"),
        }
        return {
            "version": "0",
            "id": "315c1398-40ff-a850-213b-158f73e60175",
            "detail-type": "Step Functions Execution Status Change",
            "source": "aws.states",
            "account": ACCOUNT,
            "time": f"{self.clock():%Y-%m-%dT%H:%M:%SZ}",
            "region": REGION,
            "resources": [arn],
            "detail": detail,
        }

    def deliver(self, event: dict[str, Any], attempt: int = 0) -> None:
        """Invoke publish_outcome with an event, as Lambda does: again after errors, and then it is a dead letter."""

        def attempt_it() -> None:
            try:
                self.invoke(PUBLISH, json.loads(json.dumps(event)))
            except (FunctionFailed, Exception):  # noqa: BLE001 - whatever it was, Lambda goes on like this
                if attempt < _ASYNC_RETRIES:
                    self.clock.after(_ASYNC_WAITS[attempt], lambda: self.deliver(event, attempt + 1))
                else:
                    self.dead_letters.append(event)

        self.clock.begin(attempt_it)


@contextmanager
def harness_on_moto(clock: VirtualClock, make: Callable[[], WorkflowHarness]) -> Iterator[WorkflowHarness]:
    """AWS in this process, and what ``make`` makes in it."""
    with ExitStack() as held:
        held.enter_context(patch.dict("os.environ", ENVIRONMENT | {"MOTO_ACCOUNT_ID": ACCOUNT}))
        held.enter_context(aws_in_memory())
        held.enter_context(parsing_once())
        made = make()
        held.enter_context(virtual_interpreter(clock, made))
        held.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="No application metrics")  # a step that fails has none
        yield made

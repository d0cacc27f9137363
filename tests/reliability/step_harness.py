"""Executions run by hand, step by step: what the state machine would do next, when a test says so.

The use cases, the client and the simulator are real; the state machine is reduced to its transitions, with the retries
of its definition. A step can be killed at any of its side effects, or be left hanging there and resume later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from element_rekey.errors import ElementRekeyError
from element_rekey.ports import Ports
from element_rekey.records import CloseRequest, Execution, Failure, Request
from element_rekey.rotation.check import check_status
from element_rekey.rotation.publish import publish_outcome
from element_rekey.rotation.start import start_rekey
from element_rekey.rotation.steps import Status
from local.simulator import ClusterSpec, SimulatedCluster
from tests.fakes import FakeLedger
from tests.reliability.fault_injection import Effect, InjectionPoint, InterceptedPort, Side
from tests.reliability.in_memory_harness import NAME, RecordingTopic, SimulatedClusters
from tests.reliability.wire import without_sockets
from tests.retries import RetryCounter
from tests.template import CHECK, PUBLISH, START, function_timeout
from tests.workflow.clock import VirtualClock
from tests.workflow.functions import Killed
from tests.workflow.harness import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from datetime import datetime

LIMIT = timedelta(seconds=min(map(function_timeout, (START, CHECK, PUBLISH))))


@dataclass(repr=False)
class SteppedExecution:
    """One execution, and where it stands."""

    execution: Execution
    request: Request
    function: str = START
    due: datetime | None = None
    failure: Failure | None = None
    retries: RetryCounter = field(default_factory=RetryCounter)
    ended: str = ""  # the status it ended with
    interrupted: bool = False

    def __repr__(self) -> str:
        """Short, for the scenarios that are shown when they fail."""
        return f"{self.arn.rpartition(':')[2]} in {self.function} {self.ended}"

    @property
    def arn(self) -> str:
        """What identifies it."""
        return self.execution.id

    def close_request(self) -> CloseRequest[Request]:
        """What its last step closes."""
        return CloseRequest(self.execution, self.request, self.failure, self.request.cluster)


@dataclass
class Invocation:
    """One function at work; crashes at a point, hangs there, or comes to its end. Nothing outlives its time limit."""

    clock: VirtualClock
    started_at: datetime
    execution: SteppedExecution
    point: InjectionPoint | None = None
    hang: bool = False
    effects: int = 0
    hanging: threading.Event = field(default_factory=threading.Event)
    awake: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def effect(self, _effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
        """Have a side effect, if the function still lives."""
        self.effects += 1
        self._interrupt_at(InjectionPoint(self.effects, Side.BEFORE))
        try:
            return do()
        finally:
            self._interrupt_at(InjectionPoint(self.effects, Side.AFTER))

    def _interrupt_at(self, place: InjectionPoint) -> None:
        if place == self.point:
            if not self.hang:
                raise Killed(TimeoutError())
            self.hanging.set()
            self.awake.wait()
        if self.clock() > self.started_at + LIMIT:
            raise Killed(TimeoutError())


class StepHarness:
    """One cluster whose rekeys take a while, and what its executions need, as long as ``held`` is open."""

    def __init__(self, held: ExitStack, seed: str) -> None:
        self.clock = VirtualClock()
        self.cluster = SimulatedCluster(ClusterSpec(name=NAME, rekey_seconds=200.0, clock=self.clock, seed=seed))
        held.enter_context(without_sockets({NAME: self.cluster}, self.clock.advance))
        self.ledger, self.topic = FakeLedger(), RecordingTopic()
        ports = Ports(
            SimulatedClusters({NAME: self.cluster}, self.clock), self.ledger, self.topic, self.clock, SETTINGS
        )
        self.runner = StepRunner(ports, self.clock)


class StepRunner:
    """Runs executions on ports, step by step."""

    def __init__(self, ports: Ports, clock: VirtualClock) -> None:
        self.ports = ports
        self.clock = clock
        self.executions: list[SteppedExecution] = []
        self.hanging_invocations: list[Invocation] = []
        self.current: SteppedExecution | None = None
        """Whose function has the side effects now."""
        self.crashes = 0
        self.sent: list[SteppedExecution] = []
        """Whose rekeys were sent, in order, whatever became of them."""

    def start(self, request: Request) -> SteppedExecution:
        """Start an execution."""
        arn = f"arn:aws:states:eu-central-1:123456789012:execution:RotateMasterKey:{len(self.executions) + 1}"
        started = SteppedExecution(Execution(arn, self.clock()), request)
        self.executions.append(started)
        return started

    def live(self) -> list[SteppedExecution]:
        """The executions that have not ended."""
        return [one for one in self.executions if not one.ended]

    def step(self, one: SteppedExecution, point: InjectionPoint | None = None, *, hang: bool = False) -> None:
        """Let an execution make its next step, when it is time for it."""
        if one.due and one.due > self.clock():
            self.clock.advance((one.due - self.clock()).total_seconds())
        one.due = None
        try:
            self._follow_up(one, self._invoke(one, one.function, one.close_request(), point, hang=hang))
        except ElementRekeyError as error:
            self._retry_or_catch(one, type(error).__name__, str(error), error.next_step)
        except Killed:
            self.crashes += 1
            self._retry_or_catch(one, "Runtime.ExitError", "The function is dead.", "Start again.")

    def close(self, one: SteppedExecution, point: InjectionPoint | None = None) -> None:
        """The status event of an execution that ended: once more, or for the first time."""
        failure = Failure("ExecutionAborted", f"The execution ended as {one.ended}.", "Start again.")
        try:
            self._invoke(one, PUBLISH, replace(one.close_request(), failure=failure), point, hang=False)
        except (ElementRekeyError, Killed):
            self.crashes += 1

    def resume(self, invocation: Invocation) -> None:
        """Let a hanging function go on to its end."""
        self.hanging_invocations.remove(invocation)
        self.current = invocation.execution
        invocation.awake.set()
        invocation.done.wait()
        self.current = None

    def _invoke(
        self,
        one: SteppedExecution,
        function: str,
        closing: CloseRequest[Request],
        point: InjectionPoint | None,
        *,
        hang: bool,
    ) -> Any:  # noqa: ANN401
        invocation = Invocation(self.clock, self.clock(), one, point, hang)
        result: list[Any] = []

        def work() -> None:
            try:
                result.append(self._use_case(one, function, closing, self._intercepted(invocation, function)))
            except (Exception, Killed) as error:  # noqa: BLE001 - handed on below
                result.append(error)
            finally:
                invocation.done.set()
                invocation.hanging.set()

        self.current = one
        threading.Thread(target=work, daemon=True).start()
        invocation.hanging.wait()
        self.current = None
        if not invocation.done.is_set():
            self.hanging_invocations.append(invocation)
            raise Killed(TimeoutError())
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def _use_case(self, one: SteppedExecution, function: str, closing: CloseRequest[Request], ports: Ports) -> Any:  # noqa: ANN401
        if function == START:
            return start_rekey(ports, one.execution, one.request)
        if function == CHECK:
            return check_status(ports, one.execution)
        return publish_outcome(ports, closing)

    def _intercepted(self, invocation: Invocation, function: str) -> Ports:
        def intercept(effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
            return invocation.effect(effect, lambda: self._counted(invocation.execution, effect, do))

        def intercepted(port: object, name: str) -> Any:  # noqa: ANN401 - a port
            return InterceptedPort(port, name, function, intercept)

        ports = self.ports
        return replace(
            ports,
            clusters=intercepted(ports.clusters, "clusters"),
            ledger=intercepted(ports.ledger, "ledger"),
            topic=intercepted(ports.topic, "topic"),
        )

    def _counted(self, one: SteppedExecution, effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - see above
        if effect.what == "cluster.rekey":
            self.sent.append(one)
        return do()

    def _follow_up(self, one: SteppedExecution, result: Any) -> None:  # noqa: ANN401 - a step, or a closed rotation
        if one.ended:
            return  # it was stopped meanwhile
        if one.function == PUBLISH:
            one.ended = "SUCCEEDED" if result.rotation.outcome.succeeded else "FAILED"
            return
        after = {
            Status.CHECK_AGAIN: CHECK,
            Status.START_AGAIN: START,
            Status.PUBLISH: PUBLISH,
        }
        one.function = after[result.status]
        one.due = self.clock() + timedelta(seconds=result.wait_seconds)
        one.retries.reset()

    def _retry_or_catch(self, one: SteppedExecution, name: str, cause: str, next_step: str) -> None:
        if one.ended:
            return
        wait = one.retries.next_wait(one.function, name)
        if wait is not None:
            one.due = self.clock() + timedelta(seconds=wait)
            return
        one.retries.reset()
        if one.function == PUBLISH:
            one.ended = "FAILED"
        else:
            one.function, one.failure = PUBLISH, Failure(name, cause, next_step)

"""Executions run by hand, step by step: what the state machine would do next, when a test says so.

The use cases, the client and the simulator are real; the state machine is reduced to its transitions, with the retries
of its definition. A step can be killed at any of its side effects, or be left hanging there and resume later.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from element_rekey.errors import ElementRekeyError
from element_rekey.ports import Ports
from element_rekey.records import CloseRequest, Execution, Failure, Request
from element_rekey.rotation.check import check_status
from element_rekey.rotation.publish import publish_outcome
from element_rekey.rotation.start import start_rekey
from element_rekey.rotation.steps import Status
from local.simulator import ClusterSpec
from tests.fakes import FakeLedger
from tests.reliability.fault_injection import Effect, InjectionPoint, InterceptedPort, Side
from tests.reliability.in_memory_harness import NAME, RecordingTopic, SimulatedClusters
from tests.reliability.kept_stamps import ClusterThatKeepsStamps
from tests.reliability.oracle import Look, Oracle
from tests.reliability.wire import without_sockets
from tests.retries import RetryCounter
from tests.template import ACCOUNT, CHECK, PUBLISH, REGION, START, function_timeout
from tests.workflow.clock import VirtualClock
from tests.workflow.functions import Killed
from tests.workflow.harness import PASSWORD, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from datetime import datetime

    from element_rekey.settings import Settings

SELECT, SUMMARIZE = "SelectClustersFunction", "SummarizeFleetFunction"
"""The functions of RotateFleet."""
LIMIT = timedelta(seconds=min(map(function_timeout, (START, CHECK, PUBLISH, SELECT, SUMMARIZE))))
LEDGER_WRITES = frozenset(
    f"ledger.{method}"
    for method in ("take_lock", "release_lock", "remember", "save", "save_seen", "save_intent", "save_fleet_run")
)
ROTATIONS = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:RotateMasterKey"


@dataclass(frozen=True)
class Trouble:
    """What befalls one invocation: it crashes or hangs at a point, or is slow before each write to the ledger."""

    point: InjectionPoint | None = None
    hang: bool = False
    lag: float = 0.0


NONE = Trouble()


@dataclass(repr=False, eq=False)
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
    redriven: bool = False

    def __repr__(self) -> str:
        """Short, for the scenarios that are shown when they fail."""
        return f"{self.arn.rpartition(':')[2]} in {self.function} {self.ended}"

    @property
    def arn(self) -> str:
        """What identifies it, among those that do not have a name used again."""
        return self.execution.id

    @property
    def cluster(self) -> str:
        """Whose key it rotates."""
        return self.request.cluster

    @property
    def demanded(self) -> datetime:
        """After which moment the key is to be made."""
        return self.request.key_created_after or self.execution.started_at

    def close_request(self) -> CloseRequest[Request]:
        """What its last step closes."""
        return CloseRequest(self.execution, self.request, self.failure, self.request.cluster)


@dataclass(eq=False)
class Invocation:
    """One function at work; crashes at a point, hangs there, or comes to its end. Nothing outlives its time limit."""

    clock: VirtualClock
    started_at: datetime
    execution: SteppedExecution | None  # None: it is a function of a fleet run
    trouble: Trouble = NONE
    effects: int = 0
    look: Look | None = None
    defect: BaseException | None = None  # neither an error of the application nor its death
    hanging: threading.Event = field(default_factory=threading.Event)
    awake: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def effect(self, effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
        """Have a side effect, if the function still lives."""
        self.effects += 1
        if self.look and self.look.at is None:
            self.look.at = self.clock()
        if effect.what in LEDGER_WRITES:
            self.clock.advance(self.trouble.lag)
        self._interrupt_at(InjectionPoint(self.effects, Side.BEFORE))
        try:
            return do()
        finally:
            self._interrupt_at(InjectionPoint(self.effects, Side.AFTER))

    def _interrupt_at(self, place: InjectionPoint) -> None:
        if place == self.trouble.point:
            if not self.trouble.hang:
                raise Killed(TimeoutError())
            self.hanging.set()
            self.awake.wait()
        if self.clock() > self.started_at + LIMIT:
            raise Killed(TimeoutError())


SLOW = ClusterSpec(rekey_seconds=200.0)


class StepHarness:
    """Clusters whose rekeys take a while, and what executions need, as long as ``held`` is open."""

    def __init__(
        self,
        held: ExitStack,
        seed: str,
        names: tuple[str, ...] = (NAME,),
        settings: Settings = SETTINGS,
        spec: ClusterSpec = SLOW,
    ) -> None:
        """``spec``: what all clusters are like, but for their clock, seed and password."""
        self.clock = VirtualClock()
        spec = replace(spec, clock=self.clock, seed=seed, password=PASSWORD)
        self.clusters = {name: ClusterThatKeepsStamps(replace(spec, name=name)) for name in names}
        self.cluster = self.clusters[names[0]]
        held.enter_context(without_sockets(dict(self.clusters), self.clock.advance))
        self.ledger, self.topic = FakeLedger(), RecordingTopic()
        self.registry = SimulatedClusters(dict(self.clusters), self.clock)
        self.oracle = Oracle(self.clock, self.clusters, self.ledger)
        self.runner = StepRunner(Ports(self.registry, self.ledger, self.topic, self.clock, settings), self.oracle)


class StepRunner:
    """Runs executions on ports, step by step."""

    def __init__(self, ports: Ports, oracle: Oracle) -> None:
        self.ports = ports
        self.clock: VirtualClock = cast("VirtualClock", ports.clock)
        self.oracle = oracle
        self.executions: list[SteppedExecution] = []
        self.hanging_invocations: list[Invocation] = []
        self.crashes = 0
        self.invocation_seconds = 0.0
        """How long after its state was entered a function begins."""

    def start(self, request: Request, arn: str = "") -> SteppedExecution:
        """Start an execution."""
        arn = arn or f"{ROTATIONS}:{len(self.executions) + 1}"
        started = SteppedExecution(Execution(arn, self.clock()), request)
        self.executions.append(started)
        return started

    def live(self) -> list[SteppedExecution]:
        """The executions that have not ended."""
        return [one for one in self.executions if not one.ended]

    def step(self, one: SteppedExecution, trouble: Trouble = NONE) -> None:
        """Let an execution make its next step, when it is time for it."""
        self.wait_until(one.due)
        one.due = None
        try:
            self._follow_up(one, self._run(one, one.function, one.close_request(), trouble))
        except ElementRekeyError as error:
            self._retry_or_catch(one, type(error).__name__, str(error), error.next_step)
        except Killed:
            self._retry_or_catch(one, "Runtime.ExitError", "The function is dead.", "Start again.")

    def wait_until(self, moment: datetime | None) -> None:
        """Let time pass until a moment, if it is still to come."""
        if moment and moment > self.clock():
            self.clock.advance((moment - self.clock()).total_seconds())

    def close(self, one: SteppedExecution, trouble: Trouble = NONE) -> None:
        """The status event of an execution that ended: once more, or for the first time."""
        failure = Failure("ExecutionAborted", f"The execution ended as {one.ended}.", "Start again.")
        with suppress(ElementRekeyError, Killed):
            self._run(one, PUBLISH, replace(one.close_request(), failure=failure), trouble)

    def resume(self, invocation: Invocation) -> None:
        """Let a hanging function go on to its end."""
        self.hanging_invocations.remove(invocation)
        invocation.awake.set()
        invocation.done.wait()
        if invocation.defect:
            raise invocation.defect

    def _run(self, one: SteppedExecution, function: str, closing: CloseRequest[Request], trouble: Trouble) -> Any:  # noqa: ANN401 - a step, or a closed rotation
        def use_case(ports: Ports) -> Any:  # noqa: ANN401 - as above
            if function == START:
                return start_rekey(ports, one.execution, one.request)
            if function == CHECK:
                return check_status(ports, one.execution)
            return publish_outcome(ports, closing)

        return self.invoke(one, function, use_case, trouble)

    def invoke(
        self, one: SteppedExecution | None, function: str, use_case: Callable[[Ports], Any], trouble: Trouble
    ) -> Any:  # noqa: ANN401 - whatever the use case gives
        """A function's answer. Raises what it raises, and Killed for one that is dead or seems to be."""
        self.clock.advance(self.invocation_seconds)
        invocation = Invocation(self.clock, self.clock(), one, trouble)
        ports = self._intercepted(invocation, function)
        try:
            return self._in_a_thread(invocation, lambda: use_case(ports)) if trouble.hang else use_case(ports)
        except Killed:
            self.crashes += 1
            raise

    def _in_a_thread(self, invocation: Invocation, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - see above
        result: list[Any] = []

        def body() -> None:
            try:
                result.append(work())
            except (Exception, Killed) as error:  # noqa: BLE001 - handed on below
                result.append(error)
                if not isinstance(error, ElementRekeyError | Killed):
                    invocation.defect = error
            finally:
                invocation.done.set()
                invocation.hanging.set()

        threading.Thread(target=body, daemon=True).start()
        invocation.hanging.wait()
        if not invocation.done.is_set():
            self.hanging_invocations.append(invocation)
            raise Killed(TimeoutError())
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def _intercepted(self, invocation: Invocation, function: str) -> Ports:
        def intercept(effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
            return invocation.effect(effect, lambda: self._watched(invocation, effect, do))

        def intercepted(port: object, name: str) -> Any:  # noqa: ANN401 - a port
            return InterceptedPort(port, name, function, intercept)

        ports = self.ports
        return replace(
            ports,
            clusters=intercepted(ports.clusters, "clusters"),
            ledger=intercepted(ports.ledger, "ledger"),
            topic=intercepted(ports.topic, "topic"),
        )

    def _watched(self, invocation: Invocation, effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - see above
        one = invocation.execution
        if one is None:
            return do()
        if effect.what == "cluster.rekey":
            self.oracle.sends(one)
        result = do()
        if effect.what == "cluster.encryption":
            invocation.look = Look(result.master_key)
        if effect.what in ("ledger.remember", "ledger.save_seen"):
            self.oracle.remembered(one, invocation.look)
        if effect.what in ("ledger.save", "ledger.save_seen"):
            self.oracle.saved(one)
        return result

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

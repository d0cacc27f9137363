"""Executions played by hand, step by step: what the state machine would do next, when a test says so.

The use cases, the client and the simulator are real; the state machine is reduced to its transitions, with the retries
of its definition. A step can be killed at any of its side effects, or be left hanging there as a zombie.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from element_rekey.errors import ElementRekeyError
from element_rekey.model import Execution, Failure, Request
from element_rekey.ports import Ports
from element_rekey.rotation import Ending, Status, check_status, publish_outcome, start_rekey
from local.simulator import ClusterSpec, SimulatedCluster
from tests.fakes import FakeLedger
from tests.reliability.light import NAME, Board, Directory
from tests.reliability.sabotage import Effect, Moment, Point, Watched
from tests.reliability.wire import without_sockets
from tests.template import function_timeout, machine
from tests.workflow.clock import VirtualTime
from tests.workflow.functions import CHECK, PUBLISH, START, Killed
from tests.workflow.stage import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from datetime import datetime

RETRIES = {
    f"{name}Function": {error: one["MaxAttempts"] for one in state["Retry"] for error in one["ErrorEquals"]}
    for name, state in machine()["States"].items()
    if state["Type"] == "Task"
}
RETRY_SECONDS = 30.0
LIMIT = timedelta(seconds=min(map(function_timeout, (START, CHECK, PUBLISH))))


@dataclass(repr=False)
class Played:
    """One execution, and where it stands."""

    execution: Execution
    request: Request
    function: str = START
    due: datetime | None = None
    failure: Failure | None = None
    attempts: dict[str, int] = field(default_factory=dict)
    ended: str = ""  # the status it ended with
    interrupted: bool = False

    def __repr__(self) -> str:
        """Short, for the games that are shown when they are lost."""
        return f"{self.arn.rpartition(':')[2]} in {self.function} {self.ended}"

    @property
    def arn(self) -> str:
        """What identifies it."""
        return self.execution.id

    def ending(self) -> Ending:
        """What its last step closes."""
        return Ending(self.execution, self.request.cluster, self.request, self.failure)


@dataclass
class Invocation:
    """One function at work; dies at a point, hangs there, or lives to its end. Nothing outlives its time limit."""

    time: VirtualTime
    born: datetime
    played: Played
    point: Point | None = None
    hang: bool = False
    effects: int = 0
    hanging: threading.Event = field(default_factory=threading.Event)
    awake: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def effect(self, _effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
        """Have a side effect, if the function still lives."""
        self.effects += 1
        self._live(Point(self.effects, Moment.BEFORE))
        try:
            return do()
        finally:
            self._live(Point(self.effects, Moment.AFTER))

    def _live(self, here: Point) -> None:
        if here == self.point:
            if not self.hang:
                raise Killed(TimeoutError())
            self.hanging.set()
            self.awake.wait()
        if self.time() > self.born + LIMIT:
            raise Killed(TimeoutError())


class Game:
    """One cluster whose rekeys take a while, and all that is played with on it, as long as ``held`` is open."""

    def __init__(self, held: ExitStack, seed: str) -> None:
        self.time = VirtualTime()
        self.cluster = SimulatedCluster(ClusterSpec(name=NAME, rekey_seconds=200.0, clock=self.time, seed=seed))
        held.enter_context(without_sockets({NAME: self.cluster}, self.time.pass_by))
        self.ledger, self.board = FakeLedger(), Board()
        ports = Ports(Directory({NAME: self.cluster}, self.time), self.ledger, self.board, self.time, SETTINGS)
        self.player = Player(ports, self.time)


class Player:
    """Plays executions on ports."""

    def __init__(self, ports: Ports, time: VirtualTime) -> None:
        self.ports = ports
        self.time = time
        self.played: list[Played] = []
        self.zombies: list[Invocation] = []
        self.at_work: Played | None = None
        """Whose function has the side effects now."""
        self.crashes = 0
        self.sent: list[Played] = []
        """Whose rekeys were sent, in order, whatever became of them."""

    def start(self, request: Request) -> Played:
        """Start an execution."""
        arn = f"arn:aws:states:eu-central-1:123456789012:execution:RotateMasterKey:{len(self.played) + 1}"
        started = Played(Execution(arn, self.time()), request)
        self.played.append(started)
        return started

    def live(self) -> list[Played]:
        """The executions that have not ended."""
        return [one for one in self.played if not one.ended]

    def step(self, one: Played, point: Point | None = None, *, hang: bool = False) -> None:
        """Let an execution make its next step, when it is time for it."""
        if one.due and one.due > self.time():
            self.time.pass_by((one.due - self.time()).total_seconds())
        one.due = None
        try:
            self._follow_up(one, self._invoke(one, one.function, one.ending(), point, hang=hang))
        except ElementRekeyError as error:
            self._retry_or_catch(one, type(error).__name__, str(error), error.next_step)
        except Killed:
            self.crashes += 1
            self._retry_or_catch(one, "Runtime.ExitError", "The function is dead.", "Start again.")

    def close(self, one: Played, point: Point | None = None) -> None:
        """The status event of an execution that ended: once more, or for the first time."""
        failure = Failure("ExecutionAborted", f"The execution ended as {one.ended}.", "Start again.")
        try:
            self._invoke(one, PUBLISH, replace(one.ending(), failure=failure), point, hang=False)
        except (ElementRekeyError, Killed):
            self.crashes += 1

    def wake(self, zombie: Invocation) -> None:
        """Let a hanging function go on to its end."""
        self.zombies.remove(zombie)
        self.at_work = zombie.played
        zombie.awake.set()
        zombie.done.wait()
        self.at_work = None

    def _invoke(self, one: Played, function: str, ending: Ending, point: Point | None, *, hang: bool) -> Any:  # noqa: ANN401
        invocation = Invocation(self.time, self.time(), one, point, hang)
        came: list[Any] = []

        def work() -> None:
            try:
                came.append(self._use_case(one, function, ending, self._watched(invocation, function)))
            except (Exception, Killed) as error:  # noqa: BLE001 - handed on below
                came.append(error)
            finally:
                invocation.done.set()
                invocation.hanging.set()

        self.at_work = one
        threading.Thread(target=work, daemon=True).start()
        invocation.hanging.wait()
        self.at_work = None
        if not invocation.done.is_set():
            self.zombies.append(invocation)
            raise Killed(TimeoutError())
        if isinstance(came[0], BaseException):
            raise came[0]
        return came[0]

    def _use_case(self, one: Played, function: str, ending: Ending, ports: Ports) -> Any:  # noqa: ANN401
        if function == START:
            return start_rekey(ports, one.execution, one.request)
        if function == CHECK:
            return check_status(ports, one.execution)
        return publish_outcome(ports, ending)

    def _watched(self, invocation: Invocation, function: str) -> Ports:
        def watch(effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
            return invocation.effect(effect, lambda: self._counted(invocation.played, effect, do))

        def watched(port: object, name: str) -> Any:  # noqa: ANN401 - a port
            return Watched(port, name, function, watch)

        ports = self.ports
        return replace(
            ports,
            clusters=watched(ports.clusters, "clusters"),
            ledger=watched(ports.ledger, "ledger"),
            topic=watched(ports.topic, "topic"),
        )

    def _counted(self, one: Played, effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - see above
        if effect.what == "cluster.rekey":
            self.sent.append(one)
        return do()

    def _follow_up(self, one: Played, came: Any) -> None:  # noqa: ANN401 - a step, or a closed rotation
        if one.ended:
            return  # it was stopped meanwhile
        if one.function == PUBLISH:
            one.ended = "SUCCEEDED" if came.rotation.outcome.succeeded else "FAILED"
            return
        after = {Status.RUNNING: CHECK, Status.BUSY: START, Status.REPLAN: START, Status.ENDED: PUBLISH}
        one.function = after[came.status]
        one.due = self.time() + timedelta(seconds=came.wait_seconds)
        one.attempts.clear()

    def _retry_or_catch(self, one: Played, name: str, cause: str, next_step: str) -> None:
        if one.ended:
            return
        one.attempts[name] = one.attempts.get(name, 0) + 1
        if one.attempts[name] <= RETRIES[one.function].get(name, 0):
            one.due = self.time() + timedelta(seconds=RETRY_SECONDS)
            return
        one.attempts.clear()
        if one.function == PUBLISH:
            one.ended = "FAILED"
        else:
            one.function, one.failure = PUBLISH, Failure(name, cause, next_step)

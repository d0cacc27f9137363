"""Counts every side effect of the functions, and interferes at one of them: kills, or lets the function lag behind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from tests.template import function_timeout
from tests.workflow.functions import Killed, call
from tests.workflow.interpreter import FunctionFailed, lambda_error, task_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from element_rekey.ports import Ports
    from tests.workflow.clock import Fork, VirtualTime


class Moment(StrEnum):
    """On which side of an effect."""

    BEFORE = "before"
    AFTER = "after"


class Death(StrEnum):
    """What the state machine hears of a function that died, or of one it lost sight of."""

    EXIT = "Runtime.ExitError"
    TIMED_OUT = "Sandbox.Timedout"
    UNKNOWN = "Lambda.Unknown"
    TASK = "States.Timeout"
    LOST = "Lambda.SdkClientException"

    def heard(self) -> Exception:
        """As the function's invocation raises it."""
        if self is Death.TASK:
            return task_timeout()
        if self is Death.LOST:
            return lambda_error("SdkClientException")
        return FunctionFailed(self.value, "The function is dead.")


@dataclass(frozen=True)
class Effect:
    """One side effect of a run: which function had it, and through which port."""

    function: str
    what: str


@dataclass(frozen=True)
class Point:
    """A place in a run: before or after its n-th effect, counted from 1."""

    number: int
    moment: Moment


class Interference(Protocol):
    """What happens at the point. May raise Killed."""

    def __call__(self, function: str, /) -> None: ...


@dataclass
class Saboteur:
    """Stands in for ``functions.call`` on a stage; interferes once, at ``point``."""

    time: VirtualTime
    point: Point | None = None
    interfere: Interference | None = None
    lost: Exception = field(default_factory=task_timeout)
    """What is heard of a function that lags behind."""
    effects: list[Effect] = field(default_factory=list)
    struck: bool = False
    _forks: list[Fork] = field(default_factory=list)

    def run_function(self, function: str, event: Any, ports: Ports) -> Any:  # noqa: ANN401 - JSON
        """The function's answer, unless it lags behind."""
        came: list[Any] = []

        def work() -> None:
            try:
                came.append(call(function, event, self._watched(ports, function)))
            except Exception as error:  # noqa: BLE001 - handed on below
                came.append(error)

        fork = self.time.fork(work, self._forks.append)
        if fork.lagging and not came:
            raise self.lost
        if isinstance(came[0], Exception):
            raise came[0]
        return came[0]

    def lag(self, seconds: float) -> None:
        """Let the function that is running now lag behind whoever invoked it."""
        self._forks[-1].lag(seconds)

    def effect(self, effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
        """Have a side effect, with the interference if this is its place."""
        self.effects.append(effect)
        number = len(self.effects)
        self._strike(Point(number, Moment.BEFORE), effect)
        try:
            return do()
        finally:
            self._strike(Point(number, Moment.AFTER), effect)

    def _strike(self, here: Point, effect: Effect) -> None:
        if here == self.point and self.interfere and not self.struck:
            self.struck = True
            self.interfere(effect.function)

    def _watched(self, ports: Ports, function: str) -> Ports:
        def watched(port: object, name: str) -> Any:  # noqa: ANN401 - a port
            return Watched(port, name, function, self.effect)

        return replace(
            ports,
            clusters=watched(ports.clusters, "clusters"),
            ledger=watched(ports.ledger, "ledger"),
            topic=watched(ports.topic, "topic"),
        )


@dataclass
class Watched:
    """A port, each call of which is an effect. What ``connect`` gives is a port, too."""

    port: object
    name: str
    function: str
    watch: Callable[[Effect, Callable[[], Any]], Any]

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 - whatever the port gives
        do = getattr(self.port, method)
        effect = Effect(self.function, f"{self.name}.{method}")

        def call_it(*given: object, **named: object) -> Any:  # noqa: ANN401 - whatever the port gives
            result = self.watch(effect, lambda: do(*given, **named))
            return Watched(result, "cluster", self.function, self.watch) if method == "connect" else result

        return call_it


def killing(time: VirtualTime, death: Death) -> Interference:
    """Kill the function; one that times out takes its time to."""

    def kill(function: str) -> None:
        if death is Death.TIMED_OUT:
            time.sleep(function_timeout(function))
        raise Killed(death.heard())

    return kill

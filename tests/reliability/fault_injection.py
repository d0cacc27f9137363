"""Counts every side effect of the functions, and injects a fault at one of them: a crash, or a lag behind its retry."""

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
    from tests.workflow.clock import Fork, VirtualClock


NO_CALLS = frozenset({"certificate"})
"""What a client knows of its connection, and asks nobody for."""


class Side(StrEnum):
    """On which side of an effect."""

    BEFORE = "before"
    AFTER = "after"


class Crash(StrEnum):
    """The error that the state machine gets of a function that crashed, or of one that it does not see end."""

    EXIT = "Runtime.ExitError"
    TIMED_OUT = "Sandbox.Timedout"
    UNKNOWN = "Lambda.Unknown"
    TASK = "States.Timeout"
    LOST = "Lambda.SdkClientException"

    def error(self) -> Exception:
        """As the function's invocation raises it."""
        if self is Crash.TASK:
            return task_timeout()
        if self is Crash.LOST:
            return lambda_error("SdkClientException")
        return FunctionFailed(self.value, "The function is dead.")


@dataclass(frozen=True)
class Effect:
    """One side effect of a run: which function had it, and through which port."""

    function: str
    what: str


@dataclass(frozen=True)
class InjectionPoint:
    """A place in a run: before or after its n-th effect, counted from 1."""

    number: int
    side: Side


class Action(Protocol):
    """What happens at the point. May raise Killed."""

    def __call__(self, function: str, /) -> None: ...


@dataclass
class FaultInjector:
    """Stands in for ``functions.call`` in a harness; runs its action once, at ``point``."""

    clock: VirtualClock
    point: InjectionPoint | None = None
    action: Action | None = None
    lag_error: Exception = field(default_factory=task_timeout)
    """The error that the state machine gets of a function that lags behind."""
    effects: list[Effect] = field(default_factory=list)
    injected: bool = False
    _forks: list[Fork] = field(default_factory=list)

    def run_function(self, function: str, event: Any, ports: Ports) -> Any:  # noqa: ANN401 - JSON
        """The function's answer, unless it lags behind."""
        result: list[Any] = []

        def work() -> None:
            try:
                result.append(call(function, event, self._intercepted(ports, function)))
            except Exception as error:  # noqa: BLE001 - handed on below
                result.append(error)

        fork = self.clock.fork(work, self._forks.append)
        if fork.lagging and not result:
            raise self.lag_error
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    def lag(self, seconds: float) -> None:
        """Let the function that is running now lag behind whoever invoked it."""
        self._forks[-1].lag(seconds)

    def effect(self, effect: Effect, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the port gives
        """Have a side effect, with the fault if this is its point."""
        self.effects.append(effect)
        number = len(self.effects)
        self._inject_at(InjectionPoint(number, Side.BEFORE), effect)
        try:
            return do()
        finally:
            self._inject_at(InjectionPoint(number, Side.AFTER), effect)

    def _inject_at(self, place: InjectionPoint, effect: Effect) -> None:
        if place == self.point and self.action and not self.injected:
            self.injected = True
            self.action(effect.function)

    def _intercepted(self, ports: Ports, function: str) -> Ports:
        def intercepted(port: object, name: str) -> Any:  # noqa: ANN401 - a port
            return InterceptedPort(port, name, function, self.effect)

        return replace(
            ports,
            clusters=intercepted(ports.clusters, "clusters"),
            ledger=intercepted(ports.ledger, "ledger"),
            topic=intercepted(ports.topic, "topic"),
        )


@dataclass
class InterceptedPort:
    """A port, each call of which is an effect. What ``connect`` gives is a port, too."""

    port: object
    name: str
    function: str
    intercept: Callable[[Effect, Callable[[], Any]], Any]

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 - whatever the port gives
        do = getattr(self.port, method)
        if method in NO_CALLS:
            return do
        effect = Effect(self.function, f"{self.name}.{method}")

        def call_it(*given: object, **named: object) -> Any:  # noqa: ANN401 - whatever the port gives
            result = self.intercept(effect, lambda: do(*given, **named))
            return InterceptedPort(result, "cluster", self.function, self.intercept) if method == "connect" else result

        return call_it


def crash_with(clock: VirtualClock, crash: Crash) -> Action:
    """Kill the function; one that times out takes its time to."""

    def kill(function: str) -> None:
        if crash is Crash.TIMED_OUT:
            clock.sleep(function_timeout(function))
        raise Killed(crash.error())

    return kill

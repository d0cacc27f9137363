"""Executions that end before their last step, at every place: stopped, timed out, broken, or with a zombie."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from element_rekey.edge import LEASE
from element_rekey.planning import LONGEST_WAIT
from tests.reliability.crashes import (
    SCENARIOS,
    USUAL,
    Cell,
    cell_of,
    effects_of,
    may_be_delivered_twice,
)
from tests.reliability.light import LightStage, light
from tests.reliability.sabotage import Effect, Moment, Point, Saboteur
from tests.workflow.functions import PUBLISH, Killed
from tests.workflow.interpreter import FunctionFailed
from tests.workflow.stage import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ZOMBIE_SECONDS = 45.0
AT_ONCE, SETTLED, SURELY_TOLD = LOOKS = (1.5, SETTINGS.settling.total_seconds() + 5, 190.0)
NEXT_SECONDS = 20.0
"""The next execution comes while a function of the first may still be alive."""
EVENTS = {"stopped": (), "timed out": (1.0, 70.0), "zombie": (1.0, 44.0, 46.0), "broken": (1.0, 500.0)}
"""The stories, and after how many seconds the event of the first execution's end comes again."""


@dataclass
class Abandonment:
    """Ends the execution at the point, in the way of its story."""

    stage: LightStage
    saboteur: Saboteur
    story: str
    arn: str = ""
    held_at: list[float] = field(default_factory=list)
    """At which of the looks, so many seconds after the end, the lock was still its."""
    _ways: dict[str, Callable[[], None]] = field(init=False)

    def __post_init__(self) -> None:
        self._ways = {
            "stopped": lambda: self._end_and_kill(self.stage.stop),
            "timed out": lambda: self._end_and_kill(self.stage.time_out),
            "zombie": self._end_and_live_on,
            "broken": self._break,
        }

    def __call__(self, _function: str) -> None:
        status = {"stopped": "ABORTED", "zombie": "ABORTED", "timed out": "TIMED_OUT", "broken": "FAILED"}[self.story]
        for seconds in EVENTS[self.story]:
            self.stage.time.after(seconds, lambda: self.stage.deliver(self.stage.status_event(self.arn, status)))
        for seconds in LOOKS:
            self.stage.time.after(seconds, partial(self._look_at_the_lock, seconds))
        self._ways[self.story]()

    def _end_and_kill(self, end: Callable[[str], None]) -> None:
        end(self.arn)
        raise Killed(FunctionFailed("Runtime.ExitError", "The function is dead."))

    def _end_and_live_on(self) -> None:
        self.stage.stop(self.arn)
        self.saboteur.lag(ZOMBIE_SECONDS)

    def _break(self) -> None:
        raise Killed(FunctionFailed("Runtime.InvalidEntrypoint", "An error that nobody retries."))

    def _look_at_the_lock(self, seconds: float) -> None:
        held = self.stage.lock()
        if held and held.owner == self.arn:
            self.held_at.append(seconds)


@dataclass(frozen=True)
class Abandoned:
    """What came of an execution that ended at a point, and of the one after it."""

    first: Cell
    second: str
    second_told: int
    held_at: tuple[float, ...]


def abandoned(name: str, point: Point, story: str) -> Abandoned:
    """One run in which the execution ends at the point, and another states the same demand soon after."""
    scenario = SCENARIOS[name]
    with light(USUAL) as stage:
        scenario.prepare(stage)
        stage.saboteur = saboteur = Saboteur(stage.time, point)
        saboteur.interfere = abandonment = Abandonment(stage, saboteur, story)
        arns = [stage.start(scenario.given)]
        abandonment.arn = arns[0]
        stage.time.after(NEXT_SECONDS, lambda: arns.append(stage.start(scenario.given)))
        stage.time.run()
        assert saboteur.struck
        second = stage.board.of(arns[1])
        return Abandoned(
            first=cell_of(stage, arns[0], point, story),
            second=",".join(told["outcome"] for told in second),
            second_told=len(second),
            held_at=tuple(abandonment.held_at),
        )


def gaps_of(name: str) -> Iterator[Point]:
    """Every gap between two effects, once, with those before the first and after the last."""
    yield Point(1, Moment.BEFORE)
    for number in range(1, len(effects_of(name)) + 1):
        yield Point(number, Moment.AFTER)


@lru_cache
def abandoned_of(name: str, story: str) -> tuple[Abandoned, ...]:
    """All runs of a scenario and a story."""
    return tuple(abandoned(name, point, story) for point in gaps_of(name))


def broken(name: str, run: Abandoned) -> list[str]:
    """Everything about a run that breaks the promise."""
    first = run.first
    longest = (LEASE + LONGEST_WAIT).total_seconds()
    promised = {
        f"{first.all_rekeys} rekeys": first.all_rekeys == 1,
        f"{first.own_rekeys} rekeys of ours": first.own_rekeys == SCENARIOS[name].own_rekeys,
        f"{first.told} notifications of the first": first.told == 1,
        f"{first.deliveries} deliveries of the first": first.deliveries == 1 or may_be_delivered_twice(first),
        f"{run.second_told} notifications of the second": run.second_told == 1,
        f"the second ended as {run.second}": run.second in {"Rotated", "Followed", "NotDue"},
        f"first {first.outcome}, second {run.second}": _agree(first, run.second),
        "the lock is held at the end": first.lock_seconds == 0,
        "the lock is held for long": first.lock_seconds <= longest,
        f"the lock was held at {run.held_at} s": set(run.held_at) <= _may_hold(first),
        "there are dead letters": first.dead_letters == 0,
    }
    return [f"{first.effect}, {first.point}, {first.story}: {what}" for what, kept in promised.items() if not kept]


def _agree(first: Cell, second: str) -> bool:
    """One that says it failed left everything to the next; one that rotated left nothing to it."""
    if first.outcome == "Failed":
        return second in {"Rotated", "Followed"} or first.own_rekeys == 0
    return second in {"Followed", "NotDue"} or first.outcome == "OutcomeUnknown"


def _may_hold(first: Cell) -> set[float]:
    """When the lock may still be held: an ambiguous rekey settles, or a publisher that died is waited for."""
    if first.outcome == "OutcomeUnknown":
        return {AT_ONCE}
    claimed = first.effect == Effect(PUBLISH, "ledger.save") and first.point.moment is Moment.AFTER
    return {AT_ONCE, SETTLED} if claimed else set()

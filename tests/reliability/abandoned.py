"""Executions that end before their last step, everywhere: stopped, timed out, broken, or outlived by a function."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from element_rekey.aws.runtime import LEASE
from element_rekey.rules.waiting import LONGEST_WAIT
from tests.reliability.crashes import (
    SCENARIOS,
    USUAL,
    Result,
    effects_of,
    may_be_delivered_twice,
    result_of,
)
from tests.reliability.fault_injection import Effect, FaultInjector, InjectionPoint, Side
from tests.reliability.in_memory_harness import InMemoryHarness, in_memory_harness
from tests.template import PUBLISH
from tests.workflow.functions import Killed
from tests.workflow.harness import SETTINGS
from tests.workflow.interpreter import FunctionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIVES_ON_SECONDS = 45.0
AT_ONCE, RESOLVED, SURELY_PUBLISHED = LOOKS = (1.5, SETTINGS.settling.total_seconds() + 5, 190.0)
HOUR_SECONDS = 3600.0
NEXT_SECONDS = 20.0
"""The next execution comes while a function of the first may still be alive."""
EVENTS = {"stopped": (), "timed out": (1.0, 70.0), "zombie": (1.0, 44.0, 46.0), "broken": (1.0, 500.0)}
"""The interruptions, and after how many seconds the event of the first execution's end comes again."""


@dataclass
class Abandonment:
    """Ends the execution at the point, by its interruption."""

    harness: InMemoryHarness
    injector: FaultInjector
    interruption: str
    arn: str = ""
    held_at: list[float] = field(default_factory=list)
    """At which of the looks, so many seconds after the end, the lock was still its."""
    _ways: dict[str, Callable[[], None]] = field(init=False)

    def __post_init__(self) -> None:
        self._ways = {
            "stopped": lambda: self._end_and_kill(self.harness.stop),
            "timed out": lambda: self._end_and_kill(self.harness.time_out),
            "zombie": self._end_and_live_on,
            "broken": self._break,
        }

    def __call__(self, _function: str) -> None:
        status = {"stopped": "ABORTED", "zombie": "ABORTED", "timed out": "TIMED_OUT", "broken": "FAILED"}[
            self.interruption
        ]
        for seconds in EVENTS[self.interruption]:
            self.harness.clock.after(seconds, lambda: self.harness.deliver(self.harness.status_event(self.arn, status)))
        for seconds in LOOKS:
            self.harness.clock.after(seconds, partial(self._look_at_the_lock, seconds))
        self._ways[self.interruption]()

    def _end_and_kill(self, end: Callable[[str], None]) -> None:
        end(self.arn)
        raise Killed(FunctionFailed("Runtime.ExitError", "The function is dead."))

    def _end_and_live_on(self) -> None:
        self.harness.stop(self.arn)
        self.injector.lag(LIVES_ON_SECONDS)

    def _break(self) -> None:
        raise Killed(FunctionFailed("Runtime.InvalidEntrypoint", "An error that nobody retries."))

    def _look_at_the_lock(self, seconds: float) -> None:
        held = self.harness.lock()
        if held and held.owner == self.arn:
            self.held_at.append(seconds)


@dataclass(frozen=True)
class Abandoned:
    """What came of an execution that ended at a point, and of the one after it."""

    first: Result
    second: str
    second_notifications: int
    held_at: tuple[float, ...]
    recorded: int
    """In how many records it is that the current key replaced the one before it."""
    outside: int
    """How often a change of keys was told as nobody's."""


def abandoned(name: str, point: InjectionPoint, interruption: str) -> Abandoned:
    """One run in which the execution ends at the point, and another states the same demand soon after."""
    scenario = SCENARIOS[name]
    with in_memory_harness(USUAL) as harness:
        scenario.prepare(harness)
        harness.injector = injector = FaultInjector(harness.clock, point)
        injector.action = abandonment = Abandonment(harness, injector, interruption)
        arns = [harness.start(scenario.given)]
        abandonment.arn = arns[0]
        harness.clock.after(NEXT_SECONDS, lambda: arns.append(harness.start(scenario.given)))
        harness.clock.run()
        assert injector.injected
        second = harness.topic.notifications_of(arns[1])
        return Abandoned(
            first=result_of(harness, arns[0], point, interruption),
            second=",".join(notification["outcome"] for notification in second),
            second_notifications=len(second),
            held_at=tuple(abandonment.held_at),
            recorded=len(records_of_the_change(harness)),
            outside=len(harness.topic.outside),
        )


def records_of_the_change(harness: InMemoryHarness) -> list[str]:
    """The executions whose records say that the last rekey replaced the one key by the other."""
    rekey = harness.cluster.rekeys[-1]
    changes = {
        item["execution"]["id"]: (item["change"]["oldKey"]["keyID"], item["change"]["newKey"]["keyID"])
        for pk, item in harness.ledger.items.items()
        if pk.startswith("ROTATION#") and "change" in item
    }
    return [arn for arn, change in changes.items() if change == (rekey.old.key_id, rekey.new.key_id)]


@dataclass(frozen=True)
class Unheard:
    """What came of an execution whose end no event told, of the one after it, and of the reconciliation."""

    where: str
    told_before: int
    reconciled: int
    again: int
    notifications: tuple[int, int]
    rekeys: int
    lock_seconds: float


def unheard(name: str, point: InjectionPoint, interruption: str) -> Unheard:
    """One run as ``abandoned``, in which every event is lost; an hour later the reconciliation looks, and once more."""
    scenario = SCENARIOS[name]
    with in_memory_harness(USUAL) as harness:
        harness.events_are_lost = True
        scenario.prepare(harness)
        harness.injector = injector = FaultInjector(harness.clock, point)
        injector.action = abandonment = Abandonment(harness, injector, interruption)
        arns = [harness.start(scenario.given)]
        abandonment.arn = arns[0]
        harness.clock.after(NEXT_SECONDS, lambda: arns.append(harness.start(scenario.given)))
        harness.clock.run()
        told_before = len(harness.topic.notifications_of(arns[0]))
        harness.clock.advance(HOUR_SECONDS)
        reconciled, again = harness.reconcile(), harness.reconcile()
        first, second = (len(harness.topic.notifications_of(arn)) for arn in arns)
        return Unheard(
            where=f"{name}, {injector.effects[point.number - 1]}, {point}, {interruption}",
            told_before=told_before,
            reconciled=len(reconciled),
            again=len(again),
            notifications=(first, second),
            rekeys=len(harness.cluster.rekeys),
            lock_seconds=harness.lock_seconds(),
        )


def unheard_violations(run: Unheard) -> list[str]:
    """Everything about a run without events that breaks the promise."""
    expectations = {
        f"{run.notifications} notifications": run.notifications == (1, 1),
        f"{run.rekeys} rekeys": run.rekeys == 1,
        f"{run.again} published at the second look": run.again == 0,
        f"the lock is held for {run.lock_seconds} s": run.lock_seconds == 0,
    }
    return [f"{run.where}: {what}" for what, kept in expectations.items() if not kept]


def gaps_of(name: str) -> Iterator[InjectionPoint]:
    """Every gap between two effects, once, with those before the first and after the last."""
    yield InjectionPoint(1, Side.BEFORE)
    for number in range(1, len(effects_of(name)) + 1):
        yield InjectionPoint(number, Side.AFTER)


@lru_cache
def abandoned_of(name: str, interruption: str) -> tuple[Abandoned, ...]:
    """All runs of a scenario and an interruption."""
    return tuple(abandoned(name, point, interruption) for point in gaps_of(name))


def violations(name: str, run: Abandoned) -> list[str]:
    """Everything about a run that breaks the promise."""
    first = run.first
    longest = (LEASE + LONGEST_WAIT).total_seconds()
    expectations = {
        f"{first.all_rekeys} rekeys": first.all_rekeys == 1,
        f"{first.own_rekeys} rekeys of ours": first.own_rekeys == SCENARIOS[name].own_rekeys,
        f"{first.notifications} notifications of the first": first.notifications == 1,
        f"{first.deliveries} deliveries of the first": first.deliveries == 1 or may_be_delivered_twice(first),
        f"{run.second_notifications} notifications of the second": run.second_notifications == 1,
        f"the second ended as {run.second}": run.second in {"Rotated", "Followed", "NotDue"},
        f"first {first.outcome}, second {run.second}": _agree(first, run.second),
        f"{run.recorded} records of our change": run.recorded >= 1 or not first.own_rekeys,
        f"{run.outside} changes of ours told as somebody else's": run.outside == 0 or not first.own_rekeys,
        "the lock is held at the end": first.lock_seconds == 0,
        "the lock is held for long": first.lock_seconds <= longest,
        f"the lock was held at {run.held_at} s": set(run.held_at) <= _may_hold(first),
        "there are dead letters": first.dead_letters == 0,
    }
    return [
        f"{first.effect}, {first.point}, {first.interruption}: {what}"
        for what, kept in expectations.items()
        if not kept
    ]


def _agree(first: Result, second: str) -> bool:
    """One that says it failed left everything to the next; one that rotated left nothing to it."""
    if first.outcome == "Failed":
        return second in {"Rotated", "Followed"} or first.own_rekeys == 0
    return second in {"Followed", "NotDue"} or first.outcome == "OutcomeUnknown"


def _may_hold(first: Result) -> set[float]:
    """When the lock may still be held: a lost answer is resolved, or a publisher that died is waited for."""
    if first.outcome == "OutcomeUnknown":
        return {AT_ONCE}
    claimed = first.effect == Effect(PUBLISH, "ledger.save") and first.point.side is Side.AFTER
    return {AT_ONCE, RESOLVED} if claimed else set()

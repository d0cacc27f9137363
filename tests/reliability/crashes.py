"""Every place at which a function can crash, or be overtaken by its own retry, and what comes of it there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import LEASE
from element_rekey.rules.waiting import LONGEST_WAIT
from local.simulator import ClusterSpec, Fault, ProviderSpec
from tests.reliability.fault_injection import Crash, Effect, FaultInjector, InjectionPoint, Side, crash_with
from tests.reliability.in_memory_harness import DEMAND, EXTERNAL, InMemoryHarness, in_memory_harness
from tests.template import PUBLISH, START

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

USUAL = ClusterSpec(rekey_seconds=6.0, providers=(ProviderSpec(),), seed="crash")
LAG_SECONDS = 30.0


@dataclass(frozen=True)
class Scenario:
    """What is asked, of what cluster, and what must come of it."""

    name: str
    given: dict[str, Any]
    outcome: str
    own_rekeys: int
    faults: tuple[Fault, ...] = ()

    def prepare(self, harness: InMemoryHarness) -> None:
        """Bring the harness to where the scenario begins."""
        for fault in self.faults:
            harness.cluster.inject(fault)


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("internal", DEMAND, "Rotated", 1),
        Scenario("external", EXTERNAL, "Rotated", 1),
        Scenario("followed", DEMAND, "Followed", 0, (Fault("competingRekey"),)),
    )
}


@dataclass(frozen=True)
class Result:
    """What came of one interruption."""

    effect: Effect
    point: InjectionPoint
    interruption: str
    outcome: str
    own_rekeys: int
    all_rekeys: int
    notifications: int
    deliveries: int
    lock_seconds: float
    dead_letters: int


@lru_cache
def effects_of(name: str) -> tuple[Effect, ...]:
    """The side effects of an undisturbed run, in order."""
    scenario = SCENARIOS[name]
    with in_memory_harness(USUAL) as harness:
        scenario.prepare(harness)
        harness.start(scenario.given)
        harness.clock.run()
        return tuple(harness.injector.effects)


def points_of(name: str) -> Iterator[InjectionPoint]:
    """Every place between and around them."""
    for number in range(1, len(effects_of(name)) + 1):
        yield InjectionPoint(number, Side.BEFORE)
        yield InjectionPoint(number, Side.AFTER)


def crash_at(point: InjectionPoint) -> Crash:
    """Another crash from point to point; one that takes its time before an effect, a sudden one after it."""
    slow, sudden = (Crash.TIMED_OUT, Crash.TASK), (Crash.EXIT, Crash.UNKNOWN)
    return (slow if point.side is Side.BEFORE else sudden)[point.number % 2]


def interrupted(name: str, point: InjectionPoint, *, overtaken: bool) -> Result:
    """One run in which a function crashes at the point, or lags behind there and is overtaken by its retry."""
    scenario = SCENARIOS[name]
    with in_memory_harness(USUAL) as harness:
        scenario.prepare(harness)
        if overtaken:
            injector = FaultInjector(harness.clock, point, lag_error=Crash.LOST.error())
            injector.action = lambda _: injector.lag(LAG_SECONDS)
        else:
            injector = FaultInjector(harness.clock, point, crash_with(harness.clock, crash_at(point)))
        harness.injector = injector
        arn = harness.start(scenario.given)
        harness.clock.run()
        assert injector.injected
        return result_of(harness, arn, point, "overtaken" if overtaken else "killed")


def result_of(harness: InMemoryHarness, arn: str, point: InjectionPoint, interruption: str) -> Result:
    """What came of an execution, once nothing happens any more."""
    deliveries = [notification for notification in harness.topic.deliveries if notification["executionArn"] == arn]
    return Result(
        effect=harness.injector.effects[point.number - 1],
        point=point,
        interruption=interruption,
        outcome=",".join(sorted({notification["outcome"] for notification in deliveries})),
        own_rekeys=harness.own_rekeys(),
        all_rekeys=len(harness.cluster.rekeys),
        notifications=len(harness.topic.notifications_of(arn)),
        deliveries=len(deliveries),
        lock_seconds=harness.lock_seconds(),
        dead_letters=len(harness.dead_letters),
    )


def may_be_delivered_twice(result: Result) -> bool:
    """The one gap nobody can close: the topic has accepted the notification, and the ledger does not know yet."""
    known = {("topic.publish", Side.AFTER), ("ledger.save", Side.BEFORE)}
    return result.effect.function == PUBLISH and (result.effect.what, result.point.side) in known


def may_come_too_late(result: Result) -> bool:
    """A function that took its time to crash finds the rekey of somebody else over, and its key recent enough."""
    return result.effect.function == START and result.point.side is Side.BEFORE


def violations(name: str, result: Result) -> list[str]:
    """Everything about a result that breaks the promise."""
    scenario = SCENARIOS[name]
    late = scenario.outcome == "Followed" and result.outcome == "NotDue" and may_come_too_late(result)
    expectations = {
        f"outcome is {result.outcome}": result.outcome == scenario.outcome or late,
        f"{result.own_rekeys} rekeys of ours": result.own_rekeys == scenario.own_rekeys,
        f"{result.all_rekeys} rekeys": result.all_rekeys == 1,
        f"{result.notifications} notifications": result.notifications == 1,
        f"{result.deliveries} deliveries": result.deliveries == 1 or may_be_delivered_twice(result),
        "the lock is held": result.lock_seconds == 0,
        "the lock is held for long": result.lock_seconds <= (LEASE + LONGEST_WAIT).total_seconds(),
        "there are dead letters": result.dead_letters == 0,
    }
    return [f"{result.effect}, {result.point}: {what}" for what, kept in expectations.items() if not kept]


@lru_cache
def results_of(name: str, interruption: str) -> tuple[Result, ...]:
    """All results of a scenario."""
    run = partial(interrupted, name, overtaken=interruption == "overtaken")
    return tuple(run(point) for point in points_of(name))


def table_rows(name: str) -> list[tuple[str, ...]]:
    """The results of a scenario, put together by function and port."""
    results = [result for interruption in ("killed", "overtaken") for result in results_of(name, interruption)]
    rows: list[tuple[str, ...]] = []
    for effect in dict.fromkeys(result.effect for result in results):
        mine = [result for result in results if result.effect == effect]
        counts = Counter(result.interruption for result in mine)
        rows.append(
            (
                effect.function.removesuffix("Function"),
                effect.what,
                str(counts["killed"]),
                str(counts["overtaken"]),
                ", ".join(sorted({result.outcome for result in mine})),
                span(result.own_rekeys for result in mine),
                span(result.notifications for result in mine),
                str(sum(result.deliveries > 1 for result in mine)),
                str(sum(result.lock_seconds > 0 for result in mine)),
            )
        )
    return rows


def span(numbers: Iterable[int]) -> str:
    """The numbers found: one, or from where to where."""
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"

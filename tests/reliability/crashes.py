"""Every place at which a function can die, or be overtaken by its own retry, and what comes of it there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from element_rekey.edge import LEASE
from element_rekey.planning import LONGEST_WAIT
from local.simulator import ClusterSpec, Fault, ProviderSpec
from tests.reliability.light import DEMAND, EXTERNAL, LightStage, light
from tests.reliability.sabotage import Death, Effect, Moment, Point, Saboteur, killing
from tests.workflow.functions import PUBLISH, START

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

    def prepare(self, stage: LightStage) -> None:
        """Bring the stage to where the story begins."""
        for fault in self.faults:
            stage.cluster.inject(fault)


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("internal", DEMAND, "Rotated", 1),
        Scenario("external", EXTERNAL, "Rotated", 1),
        Scenario("followed", DEMAND, "Followed", 0, (Fault("competingRekey"),)),
    )
}


@dataclass(frozen=True)
class Cell:
    """What came of one interference."""

    effect: Effect
    point: Point
    story: str
    outcome: str
    own_rekeys: int
    all_rekeys: int
    told: int
    deliveries: int
    lock_seconds: float
    dead_letters: int


@lru_cache
def effects_of(name: str) -> tuple[Effect, ...]:
    """The side effects of an undisturbed run, in order."""
    scenario = SCENARIOS[name]
    with light(USUAL) as stage:
        scenario.prepare(stage)
        stage.start(scenario.given)
        stage.time.run()
        return tuple(stage.saboteur.effects)


def points_of(name: str) -> Iterator[Point]:
    """Every place between and around them."""
    for number in range(1, len(effects_of(name)) + 1):
        yield Point(number, Moment.BEFORE)
        yield Point(number, Moment.AFTER)


def death_at(point: Point) -> Death:
    """Another death from place to place; one that takes its time before an effect, a sudden one after it."""
    slow, sudden = (Death.TIMED_OUT, Death.TASK), (Death.EXIT, Death.UNKNOWN)
    return (slow if point.moment is Moment.BEFORE else sudden)[point.number % 2]


def interrupted(name: str, point: Point, *, overtaken: bool) -> Cell:
    """One run in which a function dies at the point, or lags behind there and is overtaken by its retry."""
    scenario = SCENARIOS[name]
    with light(USUAL) as stage:
        scenario.prepare(stage)
        if overtaken:
            saboteur = Saboteur(stage.time, point, lost=Death.LOST.heard())
            saboteur.interfere = lambda _: saboteur.lag(LAG_SECONDS)
        else:
            saboteur = Saboteur(stage.time, point, killing(stage.time, death_at(point)))
        stage.saboteur = saboteur
        arn = stage.start(scenario.given)
        stage.time.run()
        assert saboteur.struck
        return cell_of(stage, arn, point, "overtaken" if overtaken else "killed")


def cell_of(stage: LightStage, arn: str, point: Point, story: str) -> Cell:
    """What came of an execution on a stage where nothing happens any more."""
    deliveries = [told for told in stage.board.accepted if told["executionArn"] == arn]
    return Cell(
        effect=stage.saboteur.effects[point.number - 1],
        point=point,
        story=story,
        outcome=",".join(sorted({told["outcome"] for told in deliveries})),
        own_rekeys=stage.own_rekeys(),
        all_rekeys=len(stage.cluster.rekeys),
        told=len(stage.board.of(arn)),
        deliveries=len(deliveries),
        lock_seconds=stage.lock_seconds(),
        dead_letters=len(stage.unheard),
    )


def may_be_delivered_twice(cell: Cell) -> bool:
    """The one gap nobody can close: the topic has accepted the notification, and the ledger does not know yet."""
    known = {("topic.publish", Moment.AFTER), ("ledger.save", Moment.BEFORE)}
    return cell.effect.function == PUBLISH and (cell.effect.what, cell.point.moment) in known


def may_come_too_late(cell: Cell) -> bool:
    """A function that took its time to die finds the rekey of somebody else over, and its key recent enough."""
    return cell.effect.function == START and cell.point.moment is Moment.BEFORE


def broken(name: str, cell: Cell) -> list[str]:
    """Everything about a cell that breaks the promise."""
    scenario = SCENARIOS[name]
    late = scenario.outcome == "Followed" and cell.outcome == "NotDue" and may_come_too_late(cell)
    promised = {
        f"outcome is {cell.outcome}": cell.outcome == scenario.outcome or late,
        f"{cell.own_rekeys} rekeys of ours": cell.own_rekeys == scenario.own_rekeys,
        f"{cell.all_rekeys} rekeys": cell.all_rekeys == 1,
        f"{cell.told} notifications": cell.told == 1,
        f"{cell.deliveries} deliveries": cell.deliveries == 1 or may_be_delivered_twice(cell),
        "the lock is held": cell.lock_seconds == 0,
        "the lock is held for long": cell.lock_seconds <= (LEASE + LONGEST_WAIT).total_seconds(),
        "there are dead letters": cell.dead_letters == 0,
    }
    return [f"{cell.effect}, {cell.point}: {what}" for what, kept in promised.items() if not kept]


@lru_cache
def cells_of(name: str, story: str) -> tuple[Cell, ...]:
    """All cells of a scenario."""
    run = partial(interrupted, name, overtaken=story == "overtaken")
    return tuple(run(point) for point in points_of(name))


def table_rows(name: str) -> list[tuple[str, ...]]:
    """The cells of a scenario, put together by function and port."""
    cells = [cell for story in ("killed", "overtaken") for cell in cells_of(name, story)]
    rows: list[tuple[str, ...]] = []
    for effect in dict.fromkeys(cell.effect for cell in cells):
        mine = [cell for cell in cells if cell.effect == effect]
        stories = Counter(cell.story for cell in mine)
        rows.append(
            (
                effect.function.removesuffix("Function"),
                effect.what,
                str(stories["killed"]),
                str(stories["overtaken"]),
                ", ".join(sorted({cell.outcome for cell in mine})),
                span(cell.own_rekeys for cell in mine),
                span(cell.told for cell in mine),
                str(sum(cell.deliveries > 1 for cell in mine)),
                str(sum(cell.lock_seconds > 0 for cell in mine)),
            )
        )
    return rows


def span(numbers: Iterable[int]) -> str:
    """The numbers found: one, or from where to where."""
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"

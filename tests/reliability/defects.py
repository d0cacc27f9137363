"""Defects put into the application on purpose, to see after how many steps the random scenarios notice each of them.

``python -m tests.reliability.defects`` writes the table of ``docs/reliability.md``. Each is one that a change could
bring (back).
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from element_rekey.codec import encode
from element_rekey.fleet import summarize
from element_rekey.records import ClusterMemory, Execution
from element_rekey.rotation import publish, start
from element_rekey.rules import closing, plan, selection
from element_rekey.rules.memory import age_of
from tests.fakes import FakeLedger
from tests.reliability import fleet_harness
from tests.reliability.fleet_torture import FleetTorture
from tests.reliability.misfortunes import FIGURES, FIGURES_AT_BEGIN, Misfortunes, run_scenarios
from tests.reliability.report import SUMMARY
from tests.reliability.rotation_torture import RotationTorture
from tests.tables import table, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from element_rekey.cluster import MasterKey
    from element_rekey.records import FleetRun, Rotation, Selected
    from element_rekey.rules.decisions import Observation
    from element_rekey.rules.memory import KeyAge

MOST = 500
"""Scenarios of each kind, before a defect counts as not noticed."""
STEPS = ("steps", "steps of runs")


@dataclass(frozen=True)
class Defect:
    """What is wrong, and what takes the place of what."""

    what: str
    where: object
    name: str
    instead: Callable[..., Any]


# --- what takes the place of the application's own ---


def _age_without_upper_bound(key: MasterKey, seen: Observation) -> KeyAge:
    known = age_of(key, seen)
    witnesses = [one for one in (known.made, key.key_created_time) if one]
    return replace(known, made=max(witnesses, default=None))


def _age_without_first_sight(key: MasterKey, seen: Observation) -> KeyAge:
    memory = seen.memory
    return age_of(key, replace(seen, memory=replace(memory, key_known_since=None)) if memory else seen)


def _remember_over_anything(ledger: FakeLedger, cluster: str, memory: ClusterMemory) -> ClusterMemory:
    written = replace(memory, version=memory.version + 1)
    ledger.items[f"CLUSTER#{cluster}"] = encode(written)
    return written


_select_one: Any = selection._select_one  # noqa: SLF001 - to be broken


def _named_without_the_start(settings: Any, execution: Execution, request: Any, registered: Any) -> Selected:  # noqa: ANN401 - handed on
    selected: Selected = _select_one(settings, execution, request, registered)
    name = sha256(f"{execution.id} {selected.cluster}".encode()).hexdigest()[:24]
    return replace(selected, execution_name=f"{selected.cluster}-{name}")


def _whose_name_it_is(one: Execution, other: Execution) -> bool:
    return one.id == other.id


def _close_again(rotation: Rotation, failure: Any) -> Any:  # noqa: ANN401 - handed on
    return closing.outcome_of(replace(rotation, outcome=None), failure)


def _nothing(*_: object) -> None:
    return None


def _failure_of_what_began(run: FleetRun, results: Any) -> Any:  # noqa: ANN401 - handed on
    return closing.fleet_failure(run, [one for one in results if one.rotation])


def _defined(change: Callable[[dict[str, Any]], None]) -> Callable[[], dict[str, Any]]:
    """The fleet's definition with a change."""
    changed: dict[str, Any] = json.loads(json.dumps(fleet_harness.definition()))
    change(changed["States"])
    return lambda: changed


def _count_what_exists(states: dict[str, Any]) -> None:
    one = _items_of(states)["RotateOne"]
    one["Catch"].insert(
        0,
        {
            "ErrorEquals": ["StepFunctions.ExecutionAlreadyExistsException"],
            "ResultPath": None,
            "Next": "CountFailure",
        },
    )


def _believe_what_exists(states: dict[str, Any]) -> None:
    _count_what_exists(states)
    _items_of(states)["RotateOne"]["Catch"][0]["Next"] = "RotationSucceeded"


def _begin_whatever_failed(states: dict[str, Any]) -> None:
    del _items_of(states)["MayBegin"]["Parameters"]["ConditionExpression"]


def _count_nothing_that_ended(states: dict[str, Any]) -> None:
    _items_of(states)["DecideAfterRotation"]["Default"] = "RotationDidNotSucceed"


def _items_of(states: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = states["RotateClusters"]["ItemProcessor"]["States"]
    return found


DEFECTS = (
    Defect("age: a stamp has no upper bound", plan, "age_of", _age_without_upper_bound),
    Defect("age: the bound of a stamp is now, not the first sight", plan, "age_of", _age_without_first_sight),
    Defect("memory: written over anything", FakeLedger, "remember", _remember_over_anything),
    Defect("cool-down: not waited for", plan, "_cooling_down", _nothing),
    Defect("moment ahead of our clock: not waited for", start, "until_moment", _nothing),
    Defect("lost answer: sent again without waiting", plan, "resolve_lost_answer", _nothing),
    Defect("name used again: taken for the earlier execution", Execution, "is_same_as", _whose_name_it_is),
    Defect("names of a run's rotations: without its start", selection, "_select_one", _named_without_the_start),
    Defect("outcome: decided again by who closes again", publish, "outcome_of", _close_again),
    Defect("summary: passes over what was not begun", summarize, "fleet_failure", _failure_of_what_began),
    Defect("fleet machine: what exists already counts", fleet_harness, "definition", _defined(_count_what_exists)),
    Defect("fleet machine: begins whatever failed", fleet_harness, "definition", _defined(_begin_whatever_failed)),
    Defect(
        "fleet machine: counts nothing that ended", fleet_harness, "definition", _defined(_count_nothing_that_ended)
    ),
)


def steps_until_noticed(defect: Defect, scenario: type[Misfortunes]) -> tuple[int, str]:
    """How many steps it took, and by what it was noticed; 0 if it was not."""
    FIGURES.clear()
    with ExitStack() as held:
        held.enter_context(patch.object(defect.where, defect.name, defect.instead))
        try:
            run_scenarios(scenario, MOST, 50, shrink=False)
        except (AssertionError, KeyError, ValueError) as noticed:
            return sum(FIGURES_AT_BEGIN[what] for what in STEPS), _last_line(noticed)
    return 0, ""


def _last_line(error: Exception) -> str:
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    return f"{place.tb_frame.f_code.co_name}: {error}" if place else str(error)


def main() -> None:
    """Write the table."""
    rows = []
    for defect in DEFECTS:
        found = [steps_until_noticed(defect, scenario) for scenario in (RotationTorture, FleetTorture)]
        print(defect.what, found, flush=True)  # noqa: T201 - it takes minutes
        rows.append((defect.what, *(f"{steps:,}" if steps else "-" for steps, _ in found)))
    write(SUMMARY, "defects", table(("defect", "steps, one cluster", "steps, fleet"), rows))


if __name__ == "__main__":
    main()

"""A bounded part of what ``python -m tests.reliability.torture`` runs for long."""

from __future__ import annotations

from tests.reliability import fleet_torture, rotation_torture
from tests.reliability.misfortunes import FIGURES, run_scenarios


def test_no_order_of_faults_breaks_a_promise() -> None:
    FIGURES.clear()
    run_scenarios(rotation_torture.RotationTorture, rotation_torture.EXAMPLES, rotation_torture.STEPS)

    assert FIGURES["scenarios"] >= rotation_torture.EXAMPLES
    happened = ("crashes", "hanging functions resumed", "stopped", "redriven", "rekeys", "competing", "clocks set")
    assert min(FIGURES[what] for what in (*happened, "results released")) > 0


def test_no_order_of_faults_breaks_a_promise_of_a_fleet() -> None:
    FIGURES.clear()
    run_scenarios(fleet_torture.FleetTorture, fleet_torture.EXAMPLES, fleet_torture.STEPS)

    assert FIGURES["scenarios"] >= fleet_torture.EXAMPLES
    happened = ("runs stopped", "runs redriven", "names used again", "errors of AWS", "answers of a start lost")
    assert min(FIGURES[what] for what in happened) > 0

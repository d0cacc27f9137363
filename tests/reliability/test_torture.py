"""A bounded part of what ``python -m tests.reliability.torture`` runs for long."""

from __future__ import annotations

from tests.reliability.torture import EXAMPLES, FIGURES, run_scenarios


def test_no_order_of_faults_breaks_a_promise() -> None:
    run_scenarios(EXAMPLES)

    assert FIGURES["scenarios"] >= EXAMPLES
    assert (
        min(
            FIGURES[what]
            for what in ("crashes", "hanging functions resumed", "stopped", "redriven", "rekeys", "competing")
        )
        > 0
    )

"""A bounded part of what ``python -m tests.reliability.torture`` plays for long."""

from __future__ import annotations

from tests.reliability.torture import EXAMPLES, FIGURES, play


def test_no_order_of_misfortunes_breaks_a_promise() -> None:
    play(EXAMPLES)

    assert FIGURES["games"] >= EXAMPLES
    assert min(FIGURES[what] for what in ("crashes", "zombies", "stopped", "redriven", "rekeys", "competing")) > 0

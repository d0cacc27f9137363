"""Between every two side effects a function crashes, or is overtaken by its own retry: once is once all the same."""

from __future__ import annotations

import pytest

from tests.reliability.crashes import SCENARIOS, effects_of, may_be_delivered_twice, results_of, violations
from tests.reliability.report import crash_table, recorded


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_function_interrupted_anywhere_keeps_every_promise_and_the_document_says_so(name: str) -> None:
    """One test for each scenario, so that no run is made twice."""
    results = [result for interruption in ("killed", "overtaken") for result in results_of(name, interruption)]
    assert [fault for result in results for fault in violations(name, result)] == []

    every_side_of_every_effect = [n + 1 for n in range(len(effects_of(name))) for _ in range(2)] * 2
    assert [result.point.number for result in results] == every_side_of_every_effect
    assert {result.effect for result in results} == set(effects_of(name))

    twice = [result for result in results if result.deliveries > 1]
    assert twice
    assert all(may_be_delivered_twice(result) and result.notifications == 1 for result in twice)

    assert recorded(f"crashes-{name}") == crash_table(name)

"""Between every two side effects a function dies, or is overtaken by its own retry: once is once all the same."""

from __future__ import annotations

import pytest

from tests.reliability.crashes import SCENARIOS, broken, cells_of, effects_of, may_be_delivered_twice
from tests.reliability.report import crash_table, recorded


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_function_interrupted_anywhere_keeps_every_promise_and_the_document_says_so(name: str) -> None:
    """One test for each scenario, so that no run is made twice."""
    cells = [cell for story in ("killed", "overtaken") for cell in cells_of(name, story)]
    assert [fault for cell in cells for fault in broken(name, cell)] == []

    every_side_of_every_effect = [n + 1 for n in range(len(effects_of(name))) for _ in range(2)] * 2
    assert [cell.point.number for cell in cells] == every_side_of_every_effect
    assert {cell.effect for cell in cells} == set(effects_of(name))

    twice = [cell for cell in cells if cell.deliveries > 1]
    assert twice
    assert all(may_be_delivered_twice(cell) and cell.told == 1 for cell in twice)

    assert recorded(f"crashes-{name}") == crash_table(name)

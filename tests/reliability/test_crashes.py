"""Between every two side effects a function dies, or is overtaken by its own retry: once is once all the same."""

from __future__ import annotations

import pytest

from tests.reliability.crashes import SCENARIOS, broken, cells_of, effects_of, may_be_delivered_twice
from tests.reliability.report import DOCUMENT, crash_table, section

STORIES = ("killed", "overtaken")


def grouped(names: object = tuple(SCENARIOS)) -> list[object]:
    """One group for each scenario, so that its runs are made in one process and its table is taken from them."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(f"crashes-{name}")) for name in names]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", grouped())
@pytest.mark.parametrize("story", STORIES)
def test_a_function_interrupted_anywhere_keeps_every_promise(name: str, story: str) -> None:
    assert [fault for cell in cells_of(name, story) for fault in broken(name, cell)] == []


@pytest.mark.parametrize("name", grouped())
def test_every_side_effect_was_interrupted_on_both_sides(name: str) -> None:
    for story in STORIES:
        cells = cells_of(name, story)

        assert [cell.point.number for cell in cells] == [n + 1 for n in range(len(effects_of(name))) for _ in range(2)]
        assert {cell.effect for cell in cells} == set(effects_of(name))


@pytest.mark.parametrize("name", grouped())
def test_a_notification_is_delivered_twice_only_where_nobody_can_know_better(name: str) -> None:
    twice = [cell for story in STORIES for cell in cells_of(name, story) if cell.deliveries > 1]

    assert twice
    assert all(may_be_delivered_twice(cell) and cell.told == 1 for cell in twice)


@pytest.mark.parametrize("name", grouped())
def test_the_document_says_what_came_of_it(name: str) -> None:
    assert section(f"crashes-{name}", DOCUMENT.read_text(encoding="utf-8")) == crash_table(name)

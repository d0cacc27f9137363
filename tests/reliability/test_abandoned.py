"""Executions that end before their last step: told once, their lock given back, what they began adopted."""

from __future__ import annotations

import pytest

from tests.reliability.abandoned import EVENTS, abandoned_of, broken, gaps_of
from tests.reliability.crashes import SCENARIOS
from tests.reliability.report import DOCUMENT, abandoned_table, section


def grouped() -> list[object]:
    """One group for each scenario, as in the tests of crashes."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(f"abandoned-{name}")) for name in SCENARIOS]


@pytest.mark.parametrize("name", grouped())
@pytest.mark.parametrize("story", EVENTS)
def test_an_execution_that_ends_anywhere_is_told_once_and_the_next_one_adopts_its_rekey(name: str, story: str) -> None:
    runs = abandoned_of(name, story)

    assert len(runs) == len(list(gaps_of(name)))
    assert [fault for run in runs for fault in broken(name, run)] == []


@pytest.mark.parametrize("name", grouped())
def test_the_document_says_what_came_of_it(name: str) -> None:
    assert section(f"abandoned-{name}", DOCUMENT.read_text(encoding="utf-8")) == abandoned_table(name)

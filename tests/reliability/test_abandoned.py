"""Executions that end before their last step: published once, their lock released, what they began adopted."""

from __future__ import annotations

import pytest

from tests.reliability.abandoned import EVENTS, abandoned_of, gaps_of, violations
from tests.reliability.crashes import SCENARIOS
from tests.reliability.report import abandoned_table, recorded


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_execution_that_ends_anywhere_is_published_once_and_adopted_and_the_document_says_so(name: str) -> None:
    """One test for each scenario, so that no run is made twice."""
    for interruption in EVENTS:
        runs = abandoned_of(name, interruption)

        assert len(runs) == len(list(gaps_of(name)))
        assert [fault for run in runs for fault in violations(name, run)] == []

    assert recorded(f"abandoned-{name}") == abandoned_table(name)

"""Executions that end before their last step: published once, their lock released, what they began adopted."""

from __future__ import annotations

import pytest

from tests.reliability.abandoned import EVENTS, abandoned_of, gaps_of, unheard, unheard_violations, violations
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


@pytest.mark.parametrize("interruption", EVENTS)
def test_an_execution_whose_end_no_event_tells_is_published_by_the_reconciliation_once(interruption: str) -> None:
    """Events on a change of status are best effort; nothing that is promised may rest on them alone."""
    runs = [unheard(name, point, interruption) for name in SCENARIOS for point in gaps_of(name)]

    assert [fault for run in runs for fault in unheard_violations(run)] == []
    assert any(run.told_before == 0 and run.reconciled == 1 for run in runs), "or the events told of everything"

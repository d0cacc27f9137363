"""Every fault the simulator knows, on every call it can hit: the right name, in time, and never two rekeys."""

from __future__ import annotations

import pytest

from local.simulator import FAULTS, FaultGroup, FaultName
from tests.reliability.matrix import CALLS, cases, violations
from tests.reliability.report import matrix_table, recorded


@pytest.mark.parametrize("group", FaultGroup)
def test_every_fault_ends_as_its_rule_says_and_the_document_says_so(group: FaultGroup) -> None:
    """One test for each group, so that no run is made twice."""
    names = [name for name in FaultName if FAULTS[name].group is group]

    assert [fault for name in names for case in cases(name) for fault in violations(case)] == []
    assert recorded(f"matrix-{group}") == matrix_table(names)


@pytest.mark.parametrize("name", FaultName)
def test_a_fault_hits_every_call_it_can(name: FaultName) -> None:
    hit = {case.call for case in cases(name)}
    can = {call for calls in CALLS.values() for call in calls if FAULTS[name].can_hit(call)}

    assert hit == (can if name is not FaultName.HANDLE_VANISHED else {"GetAsyncResult"})

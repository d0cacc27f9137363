"""Every fault the simulator knows, on every call it can hit: the right name, in time, and never two rekeys."""

from __future__ import annotations

import pytest

from local.simulator import FAULTS, FaultName
from tests.reliability.matrix import CALLS, broken, cases
from tests.reliability.report import DOCUMENT, matrix_table, section

pytestmark = pytest.mark.xdist_group("matrix")


@pytest.mark.parametrize("name", FaultName)
def test_a_fault_ends_as_its_rule_says(name: FaultName) -> None:
    assert [fault for case in cases(name) for fault in broken(case)] == []


def test_every_fault_hits_something() -> None:
    assert [name for name in FAULTS if not cases(name)] == []


@pytest.mark.parametrize("name", FaultName)
def test_a_fault_hits_every_call_it_can(name: FaultName) -> None:
    hit = {case.call for case in cases(name)}
    can = {call for calls in CALLS.values() for call in calls if FAULTS[name].can_hit(call)}

    assert hit == (can if name is not FaultName.HANDLE_VANISHED else {"GetAsyncResult"})


def test_the_document_says_what_came_of_it() -> None:
    assert section("matrix", DOCUMENT.read_text(encoding="utf-8")) == matrix_table()

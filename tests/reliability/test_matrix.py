"""Every fault the simulator knows, on every call it can hit: the right name, in time, and never two rekeys."""

from __future__ import annotations

import pytest

from local.simulator import FAULTS, Fault, FaultGroup, FaultName
from tests.reliability.in_memory_harness import EXTERNAL, REKEY, in_memory_harness
from tests.reliability.matrix import CALLS, CLUSTER, cases, violations
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


@pytest.mark.parametrize(
    ("fault", "outcome", "error"),
    [
        (Fault("stall", method="TestKeyProviderKmip", times=None), "Failed", "KeyProviderUnusable"),
        (Fault("html404", method=REKEY, times=4), "Rotated", ""),
        (Fault("refuseConnections", method=REKEY, connections=3), "Rotated", ""),
    ],
    ids=["it never answers", "the rekey is refused", "the rekey does not arrive"],
)
def test_a_key_provider_is_tested_once_however_often_the_step_is_repeated(
    fault: Fault, outcome: str, error: str
) -> None:
    with in_memory_harness(CLUSTER) as harness:
        harness.cluster.inject(fault)
        arn = harness.start(EXTERNAL)
        harness.clock.run()
        (notification,) = harness.topic.notifications_of(arn)
        assert (notification["outcome"], notification.get("error", "")) == (outcome, error)
        assert harness.cluster.calls["TestKeyProviderKmip"] == 1

"""Each drill of `make up` comes to the end that it promises, and following the runbook from there leads out of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from local.drills import DRILLS
from local.simulator import ClusterSpec, Management
from tests.workflow.full_harness import full_harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.workflow.full_harness import FullHarness


def nothing(_: FullHarness) -> None:
    """It is over by itself, or the next execution sees to it."""


def wait(harness: FullHarness) -> None:
    harness.clock.advance(60)


def register_the_new_certificate(harness: FullHarness) -> None:
    registration = harness.cluster.registration()
    del registration["caBundle"]
    fingerprint = harness.cluster.certificate_fingerprint
    harness.register("prod-a", registration | {"certificateFingerprint": fingerprint})


def end_the_upgrade(harness: FullHarness) -> None:
    harness.cluster.clear_faults()


CURES: dict[str, tuple[Callable[[FullHarness], None], int]] = {
    "outcome-unknown": (wait, 1),
    "overdue": (nothing, 1),
    "undone": (nothing, 3),  # ours, the one that undid it, and ours
    "certificate-changed": (register_the_new_certificate, 1),
    "unfamiliar-answer": (end_the_upgrade, 1),
}
"""What the runbook has a person do before the rotation is started again, and how many rekeys there are in the end."""


def test_every_drill_is_played() -> None:
    assert set(CURES) == set(DRILLS)


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_ends_as_promised_and_the_runbook_leads_out_of_it(name: str) -> None:
    drill = DRILLS[name]
    cure, rekeys = CURES[name]
    with full_harness(drill.prepared(ClusterSpec())) as harness:
        if "DeadlineMinutes" in drill.parameters:
            harness.change_settings(deadline=timedelta(minutes=int(drill.parameters["DeadlineMinutes"])))
        if "SettlingSeconds" in drill.parameters:
            harness.change_settings(settling=timedelta(seconds=int(drill.parameters["SettlingSeconds"])))
        before, began = harness.cluster.cluster.current_key, harness.clock()
        request = drill.request("prod-a")

        first = harness.rotate(request)
        (told,) = (one for one in harness.notifications() if "outcome" in one)
        assert (first.status, told["outcome"], told["error"]) == ("FAILED", drill.outcome, drill.entry)

        cure(harness)
        again = harness.rotate(request | {"keyCreatedAfter": began.isoformat()})
        assert again.status == "SUCCEEDED", harness.notifications()[-1]
        assert len(harness.cluster.cluster.rekeys) == rekeys
        after = harness.cluster.cluster.current_key
        assert after != before
        wanted = Management.EXTERNAL if "keyManagementType" in request else Management.INTERNAL
        assert after.management is wanted

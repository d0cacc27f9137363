"""How far an execution came before somebody stopped it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from element_rekey.errors import RekeyOutcomeUnknown

if TYPE_CHECKING:
    from element_rekey.records import Intent
    from tests.unit.harness import RotationHarness


def sent(harness: RotationHarness) -> None:
    harness.start()


def sent_and_looked_at(harness: RotationHarness) -> None:
    harness.start()
    harness.clock.advance(5)
    harness.check()


def sent_and_its_answer_lost(harness: RotationHarness) -> None:
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()


STOPPED = pytest.mark.parametrize("stopped_after", [sent, sent_and_looked_at, sent_and_its_answer_lost])


def lost_intent(harness: RotationHarness) -> Intent:
    """A rekey was sent, its answer was lost and it never arrived."""
    harness.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset.")]}
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    intent = harness.record().intent
    assert intent
    return intent

"""Lost answers that somebody else's rekey came into: nothing is published that nobody can know. Rare, so directed."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.aws.runtime import LEASE, lease_for
from element_rekey.records import Request
from local.simulator import ClusterSpec, Fault
from tests.reliability.fault_injection import InjectionPoint, Side
from tests.reliability.in_memory_harness import NAME, REKEY
from tests.reliability.step_harness import StepHarness, SteppedExecution, Trouble
from tests.workflow.harness import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELD_BACK = Fault("applyDelay", method=REKEY, seconds=50.0)
THEIRS = Fault("competingRekey", seconds=20.0)


class LostAnswerHarness(StepHarness):
    """A step harness with one execution."""

    def __init__(self, held: ExitStack, rekey_seconds: float = 200.0) -> None:
        super().__init__(held, "lost", spec=ClusterSpec(rekey_seconds=rekey_seconds))
        self.one = self.runner.start(Request(NAME))

    def run(self, one: SteppedExecution) -> dict[str, Any]:
        """Run an execution to its end; its notification."""
        while not one.ended:
            self.runner.step(one)
        (notification,) = self.topic.notifications_of(one.arn)
        return notification


@pytest.fixture
def harness() -> Iterator[LostAnswerHarness]:
    with ExitStack() as held:
        yield LostAnswerHarness(held)


def held_back(harness: LostAnswerHarness) -> None:
    """The cluster carries ours out only after somebody else's, which is over by then."""
    harness.cluster.inject(HELD_BACK)
    harness.runner.step(harness.one)
    harness.clock.advance(1)
    harness.cluster.inject(THEIRS)


def held_back_and_read_away(harness: LostAnswerHarness) -> None:
    """As above, and somebody reads the other one's result away before we look."""
    held_back(harness)
    harness.clock.advance(22)
    harness.cluster.call("GetAsyncResult", {"asyncHandle": harness.cluster.rekeys[-1].handle})


def sent_by_a_function_that_hung(harness: LostAnswerHarness) -> None:
    """The function hangs as it sends; its retry takes somebody else's for ours; then it wakes up and sends."""
    sending = InjectionPoint(written_down() + 1, Side.BEFORE)
    harness.runner.step(harness.one, Trouble(sending, hang=True))
    harness.clock.advance(1)
    harness.cluster.inject(THEIRS)
    harness.clock.advance(29)  # theirs is over when the retry comes
    harness.runner.step(harness.one)
    harness.clock.advance(10)
    harness.runner.resume(harness.runner.hanging_invocations[0])


def written_down() -> int:
    """After how many side effects of StartRekey its intent is written down."""
    return next(number for number in itertools.count(1) if intends_after(number))


def intends_after(number: int) -> bool:
    """Whether a StartRekey that crashes after so many side effects has written its intent down."""
    with ExitStack() as held:
        harness = LostAnswerHarness(held)
        harness.runner.step(harness.one, Trouble(InjectionPoint(number, Side.AFTER)))
        record = harness.ledger.rotation(harness.one.execution)
        return record is not None and record.intent is not None


@pytest.mark.parametrize("happens", [held_back, held_back_and_read_away, sent_by_a_function_that_hung])
def test_what_came_after_a_rekey_taken_for_ours_is_not_published_as_ended(
    harness: LostAnswerHarness, happens: Callable[[LostAnswerHarness], None]
) -> None:
    happens(harness)
    notification = harness.run(harness.one)
    ours = [rekey for rekey in harness.cluster.rekeys if rekey.own]
    assert len(ours) == 1
    assert (notification["outcome"], notification["error"]) == ("OutcomeUnknown", "RekeyOutcomeUnknown")
    again = harness.run(harness.runner.start(Request(NAME, key_created_after=harness.one.execution.started_at)))
    assert again["outcome"] in {"Followed", "NotDue"}
    assert [rekey for rekey in harness.cluster.rekeys if rekey.own] == ours
    assert harness.ledger.lock(NAME) is None


def test_a_function_that_hung_does_not_use_up_the_time_for_which_its_rekey_may_be_held_back() -> None:
    """It hangs for 80 seconds, and the cluster would hold its rekey back for 100: longer than the settling time."""
    with ExitStack() as held:
        harness = LostAnswerHarness(held, rekey_seconds=20.0)
        harness.cluster.inject(Fault("applyDelay", method=REKEY, seconds=100.0))
        harness.runner.step(harness.one, Trouble(InjectionPoint(written_down(), Side.AFTER), hang=True))
        harness.clock.advance(80)
        harness.runner.resume(harness.runner.hanging_invocations[0])
        harness.clock.advance(41)
        notification = harness.run(harness.one)
        harness.clock.advance(300)
        harness.cluster.call("GetSoftwareEncryptionAtRestInfo", {})
        assert notification["outcome"] == "Rotated"
        assert len([rekey for rekey in harness.cluster.rekeys if rekey.own]) == 1


def test_whoever_takes_a_lock_over_finds_what_its_last_owner_sent() -> None:
    """The machine comes back to an execution very late; what it sent is held back for less than the settling time."""
    settling = timedelta(hours=1)
    lasting = replace(SETTINGS, settling=settling, lease=lease_for(settling))
    with ExitStack() as held:
        harness = StepHarness(held, "late", settings=lasting)
        first = harness.runner.start(Request(NAME))
        harness.cluster.inject(Fault("applyDelay", method=REKEY, seconds=1800.0))
        harness.runner.step(first)
        harness.clock.advance(LEASE.total_seconds() + 1)
        second = harness.runner.start(Request(NAME, key_created_after=first.execution.started_at))
        for one in (second, first):
            while not one.ended:
                harness.runner.step(one)
        assert len([rekey for rekey in harness.cluster.rekeys if rekey.own]) == 1

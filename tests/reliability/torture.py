"""Random scenarios of every fault in every order: ``python -m tests.reliability.torture`` runs many of them."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from element_rekey.aws.runtime import LEASE
from element_rekey.cluster import KeyManagementType
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import Request
from element_rekey.rules.waiting import LONGEST_WAIT
from local.simulator import Fault, RpcError
from tests.reliability.fault_injection import InjectionPoint, Side
from tests.reliability.in_memory_harness import NAME, REKEY
from tests.reliability.step_harness import StepHarness, SteppedExecution
from tests.template import START
from tests.workflow.clock import BEGIN
from tests.workflow.harness import SETTINGS

if TYPE_CHECKING:
    from local.simulator import Rekey

STEPS, EXAMPLES, LONGER = 40, 100, 100
FIGURES: Counter[str] = Counter()
"""What happened, over all scenarios of this process."""

POINTS = st.builds(InjectionPoint, st.integers(1, 14), st.sampled_from(Side))
LOST = (
    Fault("resetBeforeProcessing", method=REKEY),
    Fault("resetAfterProcessing", method=REKEY),
    Fault("html503", method=REKEY, applied=True),
    Fault("nullBody", method=REKEY),
    Fault("rpcError", method=REKEY, name="xDBConnectionLoss", applied=True),
    Fault("applyDelay", method=REKEY, seconds=50.0),
)
HOUR = 3600


class Torture(RuleBasedStateMachine):
    """One cluster, one ledger, one topic; executions, people and faults."""

    def __init__(self) -> None:
        super().__init__()
        self.held = ExitStack()
        harness = StepHarness(self.held, "torture")
        self.clock, self.cluster = harness.clock, harness.cluster
        self.ledger, self.topic, self.runner = harness.ledger, harness.topic, harness.runner
        self.alarm_at = BEGIN
        self.begun: list[tuple[SteppedExecution, Rekey]] = []
        """The rekeys of ours, each with the execution that sent it."""
        self.learnt: set[tuple[str, int | None]] = set()
        """Which execution knew of which handle at some time."""

    # -- demands --------------------------------------------------------------------------------------------------

    @initialize(skew=st.sampled_from([-5 * HOUR, 0, 7 * HOUR]), ahead=st.sampled_from([0, 200]))
    def begin(self, skew: int, ahead: int) -> None:
        """Seconds the cluster's clock is ahead of ours, and that of whoever raises the first alarm."""
        self.alarm_at = BEGIN + timedelta(seconds=ahead)
        if skew:
            self.cluster.inject(Fault("clockSkew", seconds=float(skew)))

    @rule(dry_run=st.booleans(), external=st.booleans(), force=st.booleans())
    def start_by_hand(self, *, dry_run: bool, external: bool, force: bool) -> None:
        by_hand = Request(NAME, "torture", dry_run=dry_run, force=force, cool_down_seconds=HOUR)
        kept_outside = replace(by_hand, key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
        self._start(kept_outside if external else by_hand)

    @rule(days=st.integers(1, 200))
    def start_by_schedule(self, days: int) -> None:
        after = self.clock() - timedelta(days=days)
        self._start(Request(NAME, trigger=Trigger.SCHEDULE, key_created_after=after))

    @rule(cool_down=st.sampled_from([0, HOUR]))
    def repeat_the_alarm(self, cool_down: int) -> None:
        self._start(Request(NAME, trigger=Trigger.ALARM, key_created_after=self.alarm_at, cool_down_seconds=cool_down))

    @rule()
    def raise_a_new_alarm(self) -> None:
        self.alarm_at = self.clock()

    @precondition(lambda self: self.runner.executions)
    @rule(data=st.data())
    def start_the_same_demand_again(self, data: st.DataObject) -> None:
        self._start(data.draw(st.sampled_from(self.runner.executions)).request)

    def _start(self, request: Request) -> None:
        if len(self.runner.live()) < 4:
            self.runner.start(request)
            FIGURES["executions"] += 1

    # -- steps ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.runner.live())
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        self._step(data)

    @precondition(lambda self: self.runner.live())
    @rule(data=st.data(), point=POINTS)
    def step_and_crash(self, data: st.DataObject, point: InjectionPoint) -> None:
        self._step(data, point)

    @precondition(lambda self: self.runner.live())
    @rule(data=st.data(), point=POINTS)
    def step_and_hang(self, data: st.DataObject, point: InjectionPoint) -> None:
        self._step(data, point, hang=True)

    @precondition(lambda self: self.runner.hanging_invocations)
    @rule(data=st.data())
    def resume_what_hangs(self, data: st.DataObject) -> None:
        self.runner.resume(data.draw(st.sampled_from(self.runner.hanging_invocations)))
        FIGURES["hanging functions resumed"] += 1

    @precondition(lambda self: any(one.function == START for one in self.runner.live()))
    @rule(data=st.data(), fault=st.sampled_from(LOST))
    def lose_the_answer_of_a_rekey(self, data: st.DataObject, fault: Fault) -> None:
        self.cluster.inject(fault)
        self._step(data)

    def _step(self, data: st.DataObject, point: InjectionPoint | None = None, *, hang: bool = False) -> None:
        self.runner.step(data.draw(st.sampled_from(self.runner.live())), point, hang=hang)
        FIGURES["steps"] += 1

    # -- people ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.runner.live())
    @rule(data=st.data(), status=st.sampled_from(["ABORTED", "TIMED_OUT"]))
    def stop(self, data: st.DataObject, status: str) -> None:
        one = data.draw(st.sampled_from(self.runner.live()))
        one.ended, one.interrupted = status, True
        FIGURES["stopped"] += 1

    @precondition(lambda self: any(one.ended for one in self.runner.executions))
    @rule(data=st.data(), point=st.none() | POINTS)
    def deliver_a_status_event(self, data: st.DataObject, point: InjectionPoint | None) -> None:
        ended = [one for one in self.runner.executions if one.ended and one.ended != "SUCCEEDED"]
        if ended:
            self.runner.close(data.draw(st.sampled_from(ended)), point)

    @precondition(lambda self: any(one.ended in {"FAILED", "ABORTED", "TIMED_OUT"} for one in self.runner.executions))
    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([one for one in self.runner.executions if one.ended not in {"", "SUCCEEDED"}]))
        one.ended = ""
        FIGURES["redriven"] += 1

    @rule()
    def read_the_result_away(self) -> None:
        rekeys = self.cluster.rekeys
        if rekeys:
            try:
                self.cluster.call("GetAsyncResult", {"asyncHandle": rekeys[-1].handle})
            except RpcError:
                return
            FIGURES["results read away"] += 1

    @rule(seconds=st.sampled_from([1.0, 100.0, 900.0]))
    def compete(self, seconds: float) -> None:
        self.cluster.inject(Fault("competingRekey", seconds=seconds))
        FIGURES["competing"] += 1

    @rule(seconds=st.sampled_from([10.0, 400.0]))
    def be_away(self, seconds: float) -> None:
        self.cluster.inject(Fault("refuseConnections", connections=0, seconds=seconds))

    @rule(seconds=st.sampled_from([1, 30, 100, 130, 1000, 2 * HOUR]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def whose_rekey_it_is_is_known(self) -> None:
        """A rekey of ours is that of the last who sent one and has none yet."""
        own = [rekey for rekey in self.cluster.rekeys if rekey.own]
        for rekey in own[len(self.begun) :]:
            self.begun.append((self.runner.sent[-1], rekey))
        assert len(own) == len(self.begun)
        for one in self.runner.executions:
            record = self.ledger.rotation(one.execution)
            if record and record.following:
                self.learnt.add((one.arn, record.following.async_handle))

    @invariant()
    def an_execution_begins_one_rekey(self) -> None:
        assert all(count == 1 for count in Counter(one.arn for one, _ in self.begun).values())

    @invariant()
    def a_demand_begins_one_rekey(self) -> None:
        """Of executions that ask for a key made after the same moment, one begins a rekey."""
        demands = [one.request for one, _ in self.begun if one.request.key_created_after and not one.request.force]
        assert len(demands) == len({(demand.key_created_after, demand.trigger) for demand in demands})

    @invariant()
    def a_lock_runs_out_within_its_lease(self) -> None:
        lock = self.ledger.lock(NAME)
        assert lock is None or lock.lease_until <= self.clock() + LEASE + LONGEST_WAIT
        assert lock is None or not self._of(lock.owner).request.dry_run

    @invariant()
    def a_dry_run_sends_nothing(self) -> None:
        assert not any(one.request.dry_run for one in self.runner.sent)

    @invariant()
    def an_execution_is_published_once(self) -> None:
        for one in self.runner.executions:
            notifications = self.topic.notifications_of(one.arn)
            assert len(notifications) <= 1
            deliveries = [delivery for delivery in self.topic.deliveries if delivery["executionArn"] == one.arn]
            assert all(delivery["outcome"] == notifications[0]["outcome"] for delivery in deliveries)

    @invariant()
    def what_is_published_of_keys_is_true(self) -> None:
        known = {rekey.new.key_id: rekey for rekey in self.cluster.rekeys}
        for notification in self.topic.deliveries:
            if notification["outcome"] == Outcome.ROTATED:
                assert notification["newKey"]["keyID"] != notification["oldKey"]["keyID"]
                rekey = known[notification["newKey"]["keyID"]]
                if notification["jobResultRead"]:
                    assert (
                        notification["keyToDecommission"]["keyID"]
                        == notification["oldKey"]["keyID"]
                        == rekey.old.key_id
                    )
            if self._of(notification["executionArn"]).request.force:
                assert notification["outcome"] != Outcome.COOLING_DOWN

    def _of(self, arn: str) -> SteppedExecution:
        return next(one for one in self.runner.executions if one.arn == arn)

    def teardown(self) -> None:
        """Let everything come to its end, and look at the whole."""
        try:
            self._come_to_rest()
        finally:
            self.held.close()

    def _come_to_rest(self) -> None:
        while self.runner.hanging_invocations:
            self.runner.resume(self.runner.hanging_invocations[0])
            self.whose_rekey_it_is_is_known()
        for one in self.runner.live():
            for _ in range(400):
                if not one.ended:
                    self.runner.step(one)
                    self.whose_rekey_it_is_is_known()
            assert one.ended
        self.clock.advance(SETTINGS.settling.total_seconds() + 1)
        for one in self.runner.executions:
            if one.ended != "SUCCEEDED":
                self.runner.close(one)
        self.whose_rekey_it_is_is_known()
        for one in self.runner.executions:
            assert len(self.topic.notifications_of(one.arn)) == 1
            self._nothing_was_lost(one)
        self.an_execution_is_published_once()
        self.what_is_published_of_keys_is_true()
        FIGURES["scenarios"] += 1
        FIGURES["rekeys"] += len(self.cluster.rekeys)
        FIGURES["crashes"] += self.runner.crashes

    def _nothing_was_lost(self, one: SteppedExecution) -> None:
        """An execution that ended well, and knew of a rekey it began, has published that rekey's keys."""
        (notification,) = self.topic.notifications_of(one.arn)
        for mine in (rekey for who, rekey in self.begun if who is one):
            if notification["succeeded"] and (one.arn, mine.handle) in self.learnt:
                assert notification["oldKey"]["keyID"] == mine.old.key_id
                # Where the result was read away and a rekey of somebody else came after, the last key is all there is.
                assert notification["newKey"]["keyID"] == mine.new.key_id or not notification["jobResultRead"]


def run_scenarios(examples: int, *, derandomize: bool = True) -> None:
    """Run so many random scenarios."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Torture, settings=chosen)


if __name__ == "__main__":
    run_scenarios(EXAMPLES * LONGER, derandomize="--random" not in sys.argv)
    print(", ".join(f"{count} {what}" for what, count in FIGURES.items()))  # noqa: T201 - what it is for

"""What can befall executions and their clusters, as rules for Hypothesis, and what must hold of every rotation."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from element_rekey.aws.runtime import LEASE
from element_rekey.codec import encode
from element_rekey.outcomes import Outcome
from element_rekey.rules.waiting import LONGEST_WAIT
from element_rekey.settings import Settings
from local.simulator import Fault, RpcError
from tests.reliability.fault_injection import InjectionPoint, Side
from tests.reliability.in_memory_harness import REKEY
from tests.reliability.step_harness import NONE, Invocation, StepHarness, SteppedExecution, Trouble
from tests.template import START

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tests.reliability.kept_stamps import ClusterThatKeepsStamps

FIGURES: Counter[str] = Counter()
"""What happened, over all scenarios of this process."""
FIGURES_AT_BEGIN: Counter[str] = Counter()
"""The same before the latest scenario."""

MINUTE, HOUR = 60, 3600
MOST_STEPS = 4000
"""Of a scenario's executions, all together, until the last has ended."""
POINTS = st.builds(InjectionPoint, st.integers(1, 14), st.sampled_from(Side))
CRASHES = st.builds(Trouble, POINTS)
HANGS = st.builds(Trouble, POINTS, st.just(value=True))
LAGS = st.builds(Trouble, st.none(), st.just(value=False), st.sampled_from([1.0, 7.0, 20.0, 40.0]))
TROUBLES = st.one_of(st.just(NONE), st.just(NONE), CRASHES, LAGS)
OPERATORS = st.builds(
    Settings,
    deadline=st.sampled_from([10 * MINUTE, HOUR, 6 * HOUR]).map(lambda seconds: timedelta(seconds=seconds)),
    settling=st.sampled_from([120, 600, 3600]).map(lambda seconds: timedelta(seconds=seconds)),
    lease=st.just(LEASE),
)
SKEWS = st.sampled_from([-5 * HOUR, 0, 0, 5 * MINUTE, 20 * MINUTE, 7 * HOUR]).map(lambda s: timedelta(seconds=s))
LOST = (
    Fault("resetBeforeProcessing", method=REKEY),
    Fault("resetAfterProcessing", method=REKEY),
    Fault("html503", method=REKEY, applied=True),
    Fault("nullBody", method=REKEY),
    Fault("rpcError", method=REKEY, name="xDBConnectionLoss", applied=True),
    Fault("applyDelay", method=REKEY, seconds=50.0),
    Fault("rpcError", method=REKEY, name="xAssumed"),
)
FAILING = tuple(
    Fault("phaseFailure", phase=phase)
    for phase in ("CreateNewMasterKey", "RewrapDataEncryptionKeys", "DecommissionOldMasterKey")
)


class Misfortunes(RuleBasedStateMachine):
    """Clusters, one ledger, one topic; executions, people and faults."""

    harness: StepHarness

    def __init__(self) -> None:
        super().__init__()
        FIGURES_AT_BEGIN.clear()
        FIGURES_AT_BEGIN.update(FIGURES)
        self.held = ExitStack()
        self.at_rest = False
        self.learnt: set[tuple[SteppedExecution, int | None]] = set()
        """Which execution knew of which handle at some time."""

    def use(self, harness: StepHarness) -> None:
        """Play on this harness."""
        self.harness = harness
        self.clock, self.ledger, self.topic = harness.clock, harness.ledger, harness.topic
        self.runner, self.oracle = harness.runner, harness.oracle
        self.runner.invocation_seconds = 0.25

    # -- steps of rotations ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.runner.live())
    @rule(data=st.data(), trouble=TROUBLES)
    def step_a_rotation(self, data: st.DataObject, trouble: Trouble) -> None:
        self._step(data, trouble)

    @precondition(lambda self: self.runner.live())
    @rule(data=st.data(), trouble=HANGS)
    def step_a_rotation_and_hang(self, data: st.DataObject, trouble: Trouble) -> None:
        self._step(data, trouble)

    @precondition(lambda self: self.runner.hanging_invocations)
    @rule(data=st.data())
    def resume_what_hangs(self, data: st.DataObject) -> None:
        self._resume(data.draw(st.sampled_from(self.runner.hanging_invocations)))

    def _resume(self, invocation: Invocation) -> None:
        self.runner.resume(invocation)
        FIGURES["hanging functions resumed"] += 1

    @precondition(lambda self: any(one.function == START for one in self.runner.live()))
    @rule(data=st.data(), fault=st.sampled_from(LOST))
    def lose_the_answer_of_a_rekey(self, data: st.DataObject, fault: Fault) -> None:
        one = data.draw(st.sampled_from(self.runner.live()))
        self.harness.clusters[one.cluster].inject(fault)
        self._step_rotation(one)

    @rule(troubles=st.lists(TROUBLES, min_size=3, max_size=15), more=st.sampled_from([0, 0, 20, 80]))
    def go_on(self, troubles: list[Trouble], more: int) -> None:
        """Whatever is due next, for a while; first with these troubles, and then without."""
        for trouble in (*troubles, *(NONE,) * more):
            self._go_on(trouble)

    def _go_on(self, trouble: Trouble = NONE) -> bool:
        """Step what is due first; whether there was anything."""
        steps = self.steps_due()
        if steps:
            min(steps, key=lambda step: step[0])[1](trouble)
            self.whose_rekey_it_is_is_known()
        return bool(steps)

    def steps_due(self) -> list[tuple[datetime, Callable[[Trouble], None]]]:
        """Every step that can be made, and when it is time for it."""
        now = self.clock()
        return [(one.due or now, partial(self._step_rotation, one)) for one in self.runner.live()]

    def _step(self, data: st.DataObject, trouble: Trouble) -> None:
        self._step_rotation(data.draw(st.sampled_from(self.runner.live())), trouble)

    def _step_rotation(self, one: SteppedExecution, trouble: Trouble = NONE) -> None:
        self.runner.step(one, trouble)
        FIGURES["steps"] += 1

    # -- people ---------------------------------------------------------------------------------------------------

    def may_be_touched(self, _one: SteppedExecution) -> bool:
        """Whether people and events may still come back to an execution."""
        return True

    def _over(self) -> list[SteppedExecution]:
        """The rotations that did not end well, and that can be redriven or told about."""
        return [
            one for one in self.runner.executions if one.ended not in {"", "SUCCEEDED"} and self.may_be_touched(one)
        ]

    @precondition(lambda self: self.runner.live())
    @rule(data=st.data(), status=st.sampled_from(["ABORTED", "TIMED_OUT"]))
    def stop_a_rotation(self, data: st.DataObject, status: str) -> None:
        one = data.draw(st.sampled_from(self.runner.live()))
        one.ended, one.interrupted = status, True
        FIGURES["stopped"] += 1

    @precondition(lambda self: self._over())
    @rule(data=st.data(), trouble=TROUBLES)
    def deliver_a_status_event_of_a_rotation(self, data: st.DataObject, trouble: Trouble) -> None:
        self.runner.close(data.draw(st.sampled_from(self._over())), trouble)

    @precondition(lambda self: self._over())
    @rule(data=st.data())
    def redrive_a_rotation(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self._over()))
        one.ended, one.redriven = "", True
        FIGURES["redriven"] += 1

    # -- clusters, the topic, time --------------------------------------------------------------------------------

    @rule(data=st.data(), skew=SKEWS, all_of_them=st.booleans())
    def set_clocks(self, data: st.DataObject, skew: timedelta, *, all_of_them: bool) -> None:
        """Of one cluster, or of all that ask the same server for the time."""
        clusters = list(self.harness.clusters.values())
        for cluster in clusters if all_of_them else [data.draw(st.sampled_from(clusters))]:
            cluster.set_clock(skew)
        FIGURES["clocks set"] += 1

    @rule(data=st.data(), what=st.sampled_from(["rekey", "rekey", "read", "read", "fail", "away", "topic"]))
    def befall(self, data: st.DataObject, what: str) -> None:
        """What somebody else does to a cluster, or to the topic."""
        cluster = data.draw(st.sampled_from(list(self.harness.clusters.values())))
        match what:
            case "rekey":
                cluster.inject(Fault("competingRekey", seconds=data.draw(st.sampled_from([1.0, 100.0, 900.0]))))
                FIGURES["competing"] += 1
            case "read":
                self._read_the_result_away(cluster)
            case "fail":
                cluster.inject(data.draw(st.sampled_from(FAILING)))
            case "away":
                seconds = data.draw(st.sampled_from([10.0, 400.0]))
                cluster.inject(Fault("refuseConnections", connections=0, seconds=seconds))
            case "topic":
                self.topic.answers = data.draw(st.lists(st.booleans(), min_size=1, max_size=2))

    def _read_the_result_away(self, cluster: ClusterThatKeepsStamps) -> None:
        if cluster.rekeys:
            latest = cluster.rekeys[-1]
            with suppress(RpcError):
                cluster.call("GetAsyncResult", {"asyncHandle": latest.handle})
                self.oracle.read_away.add((latest.cluster_uuid, latest.handle))
                FIGURES["results read away"] += 1

    @rule(seconds=st.sampled_from([1, 30, 100, 130, 1000, 2 * HOUR]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def whose_rekey_it_is_is_known(self) -> None:
        self.oracle.attribute_rekeys()
        for one in {who for who, _ in self.oracle.begun}:
            record = self.ledger.rotation(one.execution)
            if record and record.following:
                self.learnt.add((one, record.following.async_handle))

    @invariant()
    def an_execution_and_a_demand_begin_one_rekey(self) -> None:
        self.oracle.check_rekeys()

    @invariant()
    def a_lock_runs_out_within_its_lease_or_the_settling_time(self) -> None:
        longest = max(LEASE + LONGEST_WAIT, self.runner.ports.settings.settling)
        for name in self.harness.clusters:
            lock = self.ledger.lock(name)
            assert lock is None or lock.lease_until <= self.clock() + longest
            assert lock is None or not any(
                one.request.dry_run for one in self.runner.executions if one.arn == lock.owner
            )

    @invariant()
    def a_dry_run_sends_nothing(self) -> None:
        assert not any(one.request.dry_run for sent in self.oracle.sent.values() for one in sent)

    @invariant()
    def an_execution_is_published_once_and_alike(self) -> None:
        told: dict[tuple[str, str], str] = {}
        for delivery in self.topic.deliveries:
            identity = (delivery["notificationID"], delivery["startedAt"])
            assert told.setdefault(identity, delivery["outcome"]) == delivery["outcome"]

    def notification_of(self, one: SteppedExecution) -> dict[str, Any]:
        """The one notification of an execution; a repeated delivery counts once."""
        (notification,) = {
            (delivery["notificationID"], delivery["startedAt"]): delivery for delivery in self._deliveries_of(one)
        }.values()
        return notification

    def _deliveries_of(self, one: SteppedExecution) -> list[dict[str, Any]]:
        began = one.execution.started_at
        return [
            delivery
            for delivery in self.topic.deliveries
            if delivery["executionArn"] == one.arn and delivery["startedAt"] == encode(began)
        ]

    def check_keys_published(self) -> None:
        """What is published of keys is true."""
        for one in self.runner.executions:
            rekeys = {rekey.new.key_id: rekey for rekey in self.harness.clusters[one.cluster].rekeys}
            for notification in self._deliveries_of(one):
                if notification["outcome"] == Outcome.ROTATED:
                    assert notification["newKey"]["keyID"] != notification["oldKey"]["keyID"]
                    rekey = rekeys[notification["newKey"]["keyID"]]
                    if notification["jobResultRead"]:
                        retired = notification["keyToDecommission"]["keyID"]
                        assert retired == notification["oldKey"]["keyID"] == rekey.old.key_id
                if one.request.force:
                    assert notification["outcome"] != Outcome.COOLING_DOWN

    # -- the end --------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everything come to its end, and look at the whole."""
        try:
            if hasattr(self, "harness"):
                self.come_to_rest()
                self.look_at_the_whole()
        finally:
            self.held.close()

    def come_to_rest(self) -> None:
        """Let every execution end, and every event be delivered."""
        self.topic.answers = []
        while self.runner.hanging_invocations:
            self._resume(self.runner.hanging_invocations[0])
            self.oracle.attribute_rekeys()
        self.run_to_the_end()
        self.clock.advance(self.runner.ports.settings.settling.total_seconds() + 1)
        for one in self._over():
            self.runner.close(one)

    def run_to_the_end(self) -> None:
        """Step whatever has not ended."""
        steps = 0
        while self._go_on():
            steps += 1
            assert steps < MOST_STEPS, f"{self.runner.live()} do not end"

    def look_at_the_whole(self) -> None:
        """Everything was told about, and nothing lost."""
        self.whose_rekey_it_is_is_known()
        self.oracle.check_rekeys()
        records = [self.ledger.rotation(one.execution) for one in self.runner.executions]
        FIGURES["results released"] += sum(bool(one and one.kept_result) for one in records)
        for one in self.runner.executions:
            self._nothing_was_lost(one, self.notification_of(one))
        self.an_execution_is_published_once_and_alike()
        self.check_keys_published()
        FIGURES["scenarios"] += 1
        FIGURES["executions"] += len(self.runner.executions)
        FIGURES["rekeys"] += sum(len(cluster.rekeys) for cluster in self.harness.clusters.values())
        FIGURES["crashes"] += self.runner.crashes
        FIGURES.update(self.oracle.figures)

    def _nothing_was_lost(self, one: SteppedExecution, notification: dict[str, Any]) -> None:
        """An execution that ended well, and knew of a rekey it began, has published that rekey's keys."""
        *_, mine = [None, *(rekey for who, rekey in self.oracle.begun if who is one)]
        if mine and notification["succeeded"] and (one, mine.handle) in self.learnt:
            assert notification.get("oldKey", {}).get("keyID") == mine.old.key_id
            # Where the result was read away and a rekey of somebody else came after, the last key is all there is.
            assert notification["newKey"]["keyID"] == mine.new.key_id or not notification["jobResultRead"]


def run_scenarios(
    scenario: type[Misfortunes], examples: int, steps: int, *, derandomize: bool = True, shrink: bool = True
) -> None:
    """Run so many random scenarios; one that fails is made as short as possible, if ``shrink``."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=derandomize,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(scenario, settings=chosen)

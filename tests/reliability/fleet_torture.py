"""Random scenarios of a fleet: both state machines, two or three clusters, and every misfortune in every order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from element_rekey.codec import encode
from element_rekey.outcomes import Outcome
from element_rekey.publishing import CLAIM
from element_rekey.settings import FleetSettings, Settings
from tests.reliability.asl import retried_errors_of
from tests.reliability.fleet_harness import LAMBDA, RUNS, START_EXECUTION, Branch, FleetRunner, SteppedRun
from tests.reliability.misfortunes import (
    FIGURES,
    HANGS,
    HOUR,
    OPERATORS,
    SKEWS,
    TROUBLES,
    Misfortunes,
)
from tests.reliability.step_harness import NONE, ROTATIONS, SLOW, StepHarness, SteppedExecution, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from element_rekey.records import ClusterResult, FleetRun

STEPS, EXAMPLES = 50, 50
ALARMS = "element-key-compromise-"
NAMES = ("prod-a", "prod-b", "prod-c")
FLEETS = st.builds(
    FleetSettings,
    max_key_age=st.sampled_from([1, 90, 200]).map(lambda days: timedelta(days=days)),
    cool_down=st.sampled_from([0, HOUR, 2 * HOUR]).map(lambda seconds: timedelta(seconds=seconds)),
    spread=st.sampled_from([0, HOUR]).map(lambda seconds: timedelta(seconds=seconds)),
    max_concurrency=st.sampled_from([1, 2]),
    urgent_max_concurrency=st.just(500),
    alarm_prefix=st.just(ALARMS),
    tolerated_failures=st.integers(0, 2),
)
CHOSEN = st.none() | st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
MOMENTS = st.sampled_from([None, None, 0.0, 0.0, 100.0, -600.0])
"""Of an alarm or a report, in seconds from now; None: that of the last one, again."""
MOST_RUNS = 4


class FleetTorture(Misfortunes):
    """A fleet."""

    @initialize(
        operator=OPERATORS,
        fleet=FLEETS,
        clusters=st.integers(2, 3),
        skew=SKEWS,
        same_start_is_taken_for_one=st.booleans(),
    )
    def begin(
        self,
        *,
        operator: Settings,
        fleet: FleetSettings,
        clusters: int,
        skew: timedelta,
        same_start_is_taken_for_one: bool,
    ) -> None:
        """What the operator chose, and what the clusters and Step Functions are like."""
        self.use(StepHarness(self.held, "fleet", NAMES[:clusters], operator, replace(SLOW, clock_skew=skew)))
        self.fleets = FleetRunner(self.runner, self.ledger, fleet)
        self.fleets.same_start_is_taken_for_one = same_start_is_taken_for_one
        self.alarm_at = self.clock()
        self.retired: set[SteppedRun | SteppedExecution] = set()
        """Runs whose names were used again, and their rotations: nobody comes back to them."""
        self.registrations = dict(self.harness.registry.registrations)
        self.topic.on_summary = self._check_summary

    # -- demands --------------------------------------------------------------------------------------------------

    @rule()
    def start_by_schedule(self) -> None:
        self._start({"trigger": "schedule"})

    @rule(cluster=st.sampled_from([*NAMES, "all"]), moment=MOMENTS)
    def start_by_alarm(self, cluster: str, moment: float | None) -> None:
        state = {"value": "ALARM", "timestamp": self._moment(moment)}
        detail = {"alarmName": f"{ALARMS}{cluster}", "state": state, "previousState": {"value": "OK"}}
        self._start({"source": "aws.cloudwatch", "detail": detail})

    @rule(chosen=CHOSEN, moment=MOMENTS)
    def start_by_report(self, chosen: list[str] | None, moment: float | None) -> None:
        detail = {"reason": "lost", "reportedAt": self._moment(moment), **({"clusters": chosen} if chosen else {})}
        self._start({"source": "element-rekey", "detail": detail})

    def _moment(self, moment: float | None) -> str:
        """A new moment of a demand, so far from now; or once more the last one, from whomever it comes."""
        if moment is not None:
            self.alarm_at = self.clock() + timedelta(seconds=moment)
        return str(encode(self.alarm_at))

    @rule(
        chosen=CHOSEN,
        canary=st.booleans(),
        switches=st.sampled_from([{}, {}, {"dryRun": True}, {"force": True, "reason": "test"}]),
        tolerated=st.none() | st.integers(0, 2),
        after=st.sampled_from([None, 0, HOUR]),
    )
    def start_by_hand(
        self,
        chosen: list[str] | None,
        *,
        canary: bool,
        switches: dict[str, Any],
        tolerated: int | None,
        after: int | None,
    ) -> None:
        given = dict(switches)
        if chosen:
            given["clusters"] = chosen
        if canary:
            given["canary"] = (chosen or NAMES)[0]
        if tolerated is not None:
            given["toleratedFailures"] = tolerated
        if after is not None:
            given["keyCreatedAfter"] = encode(self.clock() - timedelta(seconds=after))
        self._start(given)

    @precondition(lambda self: any(run.ended for run in self.fleets.runs))
    @rule(data=st.data(), by_mistake=st.booleans())
    def use_a_name_again(self, data: st.DataObject, *, by_mistake: bool) -> None:
        """Ninety days later, as far as anybody is concerned with it: all is told about, and over.

        What was started by mistake is stopped at once.
        """
        run = data.draw(st.sampled_from([one for one in self.fleets.runs if one.ended]))
        over: list[SteppedRun | SteppedExecution] = [run, *run.children]
        if run in self.retired or self.runner.hanging_invocations or not all(one.ended for one in over):
            return
        self._tell_of(over)
        self.retired.update(over)
        for child in run.children:
            del self.fleets.rotations[child.arn]
        self.clock.advance(2)
        again = self.fleets.start(run.given, run.arn)
        if by_mistake:
            self._step_a_run((again, again.main))
            self.fleets.stop(again, "ABORTED", lambda _child: True)
        FIGURES["names used again"] += 1

    def _start(self, given: Any) -> None:  # noqa: ANN401 - JSON
        if len(self.fleets.live()) < MOST_RUNS:
            self.fleets.start(given, f"{RUNS}:run-{len(self.fleets.runs) + 1}")

    # -- steps of runs --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.fleets.branches())
    @rule(data=st.data(), trouble=TROUBLES)
    def step_a_run(self, data: st.DataObject, trouble: Trouble) -> None:
        self._step_a_run(data.draw(st.sampled_from(self.fleets.branches())), trouble)

    @precondition(lambda self: self.fleets.branches())
    @rule(data=st.data(), trouble=HANGS)
    def step_a_run_and_hang(self, data: st.DataObject, trouble: Trouble) -> None:
        self._step_a_run(data.draw(st.sampled_from(self.fleets.branches())), trouble)

    @precondition(lambda self: self._tasks_of_aws())
    @rule(data=st.data())
    def step_a_run_and_throttle(self, data: st.DataObject) -> None:
        """AWS answers with one of the errors that the definition retries; some of them after it did as it was asked."""
        run, branch = data.draw(st.sampled_from(self._tasks_of_aws()))
        error = data.draw(st.sampled_from(retried_errors_of(branch.definition)))
        self.fleets.step(run, branch, error=error)
        FIGURES["errors of AWS"] += 1

    @precondition(lambda self: self._starts())
    @rule(data=st.data())
    def lose_the_answer_of_a_start(self, data: st.DataObject) -> None:
        run, branch = data.draw(st.sampled_from(self._starts()))
        self.fleets.step(run, branch, error="StepFunctions.SdkClientException")
        FIGURES["answers of a start lost"] += 1

    def _tasks_of_aws(self) -> list[tuple[SteppedRun, Branch]]:
        return [
            (run, branch)
            for run, branch in self.fleets.branches()
            if branch.definition["Resource"] != LAMBDA and not branch.child
        ]

    def _starts(self) -> list[tuple[SteppedRun, Branch]]:
        return [one for one in self._tasks_of_aws() if one[1].definition["Resource"] == START_EXECUTION]

    def steps_due(self) -> list[tuple[datetime, Callable[[Trouble], None]]]:
        now = self.clock()
        branches = self.fleets.branches()
        return [
            *super().steps_due(),
            *((branch.due or now, partial(self._step_a_run, (run, branch))) for run, branch in branches),
        ]

    def _step_a_run(self, which: tuple[SteppedRun, Branch], trouble: Trouble = NONE) -> None:
        self.fleets.step(*which, trouble)
        FIGURES["steps of runs"] += 1

    # -- people ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.fleets.live())
    @rule(data=st.data(), status=st.sampled_from(["ABORTED", "TIMED_OUT"]), children_too=st.booleans())
    def stop_a_run(self, data: st.DataObject, status: str, *, children_too: bool) -> None:
        run = data.draw(st.sampled_from(self.fleets.live()))
        self.fleets.stop(run, status, lambda _child: children_too)
        FIGURES["runs stopped"] += 1

    def _interrupted(self) -> list[SteppedRun]:
        return [run for run in self.fleets.runs if run.ended in {"ABORTED", "TIMED_OUT"} and run not in self.retired]

    @precondition(lambda self: self._interrupted())
    @rule(data=st.data())
    def redrive_a_run(self, data: st.DataObject) -> None:
        """The runbook says not to; nothing prevents it."""
        self.fleets.redrive(data.draw(st.sampled_from(self._interrupted())))
        FIGURES["runs redriven"] += 1

    @precondition(lambda self: self._interrupted())
    @rule(data=st.data(), trouble=TROUBLES)
    def deliver_a_status_event_of_a_run(self, data: st.DataObject, trouble: Trouble) -> None:
        self.fleets.close(data.draw(st.sampled_from(self._interrupted())), trouble)

    def may_be_touched(self, one: SteppedExecution) -> bool:
        return one not in self.retired

    @rule(name=st.sampled_from(NAMES), forget=st.sampled_from([True, False, False]))
    def change_registrations(self, name: str, *, forget: bool) -> None:
        """Take one out, or put all in again."""
        registered = self.harness.registry.registrations
        if forget:
            registered.pop(name, None)
        else:
            registered.update(self.registrations)
        FIGURES["registrations changed"] += 1

    # -- what must hold -------------------------------------------------------------------------------------------

    def _check_summary(self, run: FleetRun, results: Sequence[ClusterResult]) -> None:
        """A summary says of a cluster what the record of its rotation in this very run says, or said a moment ago."""
        known = self.ledger.fleet_run(run.execution)
        assert known
        assert [one.selected for one in results] == list(known.selected)
        for one in results:
            if one.rotation:
                assert one.rotation.execution.started_at >= run.execution.started_at, "the record of an earlier run"
            record = self.ledger.items.get(f"ROTATION#{ROTATIONS}:{one.selected.execution_name}", {})
            assert one.outcome in {"NotBegun", "NotEnded", record.get("outcome")}
        if run.failure is None:
            assert all(one.succeeded for one in results)
            if not run.dry:  # its answer may be that nothing can be rotated
                assert results, "a run that rotated nothing is none that ended well"
                assert not run.not_selected

    @invariant()
    def a_run_is_published_once_and_alike(self) -> None:
        told: dict[tuple[str, str], bool] = {}
        for summary in self.topic.summaries:
            identity = (summary["notificationID"], summary["startedAt"])
            assert told.setdefault(identity, summary["succeeded"]) == summary["succeeded"]
            assert sum(count["clusters"] for count in summary["counts"]) == summary["clusters"]
            well = ("all well", "would be REFUSED")  # the answer of a dry run
            assert summary["succeeded"] == any(words in summary["headline"] for words in well)

    def _what_began_and_failed_is_counted(self, run: SteppedRun) -> None:
        for branch in run.items:
            child = self.fleets.rotations.get(f"{ROTATIONS}:{branch.data['name']}")
            record = self.ledger.rotation(child.execution) if child else None
            if branch.ended != "FAILED" or branch.gave_up or child is None or record is None:
                continue
            refused = record.outcome is Outcome.FAILED and not record.intent and not record.following
            assert branch.counted or refused or child.ended == "SUCCEEDED", f"{child} is not counted in {run}"

    # -- the end --------------------------------------------------------------------------------------------------

    def _tell_of(self, over: Sequence[SteppedRun | SteppedExecution]) -> None:
        """Deliver all events of what ended badly."""
        self.topic.answers = []
        self.clock.advance(CLAIM.total_seconds() + 1)  # whoever is still publishing is dead by then
        for one in over:
            if one.ended == "SUCCEEDED":
                continue
            if isinstance(one, SteppedRun):
                self.fleets.close(one)
            else:
                self.runner.close(one)

    def look_at_the_whole(self) -> None:
        self._tell_of([run for run in self.fleets.runs if run not in self.retired])
        super().look_at_the_whole()
        self.a_run_is_published_once_and_alike()
        told = {(summary["notificationID"], summary["startedAt"]) for summary in self.topic.summaries}
        assert told == {(run.arn, encode(run.execution.started_at)) for run in self.fleets.runs}
        for run in self.fleets.runs:
            assert run.ended
            if run not in self.retired:
                self._what_began_and_failed_is_counted(run)
        FIGURES["fleet runs"] += len(self.fleets.runs)

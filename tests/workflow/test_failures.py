"""Errors on the way: what is retried and for how long, what is caught, and how each ending is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey.errors import AwsCallFailed
from element_rekey.model import Lock
from local.simulator import ClusterSpec, Fault
from tests.fakes import FakeTopic
from tests.workflow.clock import BEGIN
from tests.workflow.functions import CHECK, PUBLISH, START
from tests.workflow.interpreter import FunctionFailed, lambda_error, task_timeout
from tests.workflow.stage import SETTINGS
from tests.workflow.world import world

if TYPE_CHECKING:
    from collections.abc import Callable

    from element_rekey.model import Rotation
    from tests.workflow.world import World

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
STATE_NAMES = {START: "StartRekey", CHECK: "CheckStatus", PUBLISH: "PublishOutcome"}


@dataclass
class Spoiled:
    """Has the invocations of one function fail until a moment."""

    function: str
    until: timedelta
    error: Callable[[], Exception]
    here: World
    first: timedelta | None = None

    def __call__(self, function: str, _number: int) -> None:
        if function == self.function:
            now = self.here.time() - BEGIN
            self.first = now if self.first is None else self.first
            if now - self.first < self.until:
                raise self.error()


def crash(name: str) -> Callable[[], Exception]:
    return lambda: FunctionFailed(name, "The function died.")


def service(name: str) -> Callable[[], Exception]:
    return lambda: lambda_error(name)


PASSING = [
    *(pytest.param(crash(name), id=name) for name in ("Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout")),
    *(pytest.param(service(name), id=name) for name in ("ServiceException", "TooManyRequestsException")),
    pytest.param(task_timeout, id="States.Timeout"),
]


@pytest.mark.parametrize("function", [START, CHECK, PUBLISH])
@pytest.mark.parametrize("name", ["ResourceNotReadyException", "ENINotReadyException"])
def test_a_function_that_needs_106_seconds_to_wake_up_is_waited_for(here: World, function: str, name: str) -> None:
    here.spoil = Spoiled(function, timedelta(seconds=106), service(name), here)

    ended = here.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert len(here.cluster.cluster.rekeys) == len(here.told()) == 1


@pytest.mark.parametrize("function", [START, CHECK, PUBLISH])
@pytest.mark.parametrize("error", PASSING)
def test_a_passing_trouble_of_lambda_is_waited_for(here: World, function: str, error: Callable[[], Exception]) -> None:
    here.spoil = Spoiled(function, timedelta(minutes=4), error, here)

    ended = here.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert len(here.cluster.cluster.rekeys) == len(here.told()) == 1


@pytest.mark.parametrize(
    ("function", "outcome", "rekeys"), [(START, "Failed", 0), (CHECK, "OutcomeUnknown", 1)], ids=["start", "check"]
)
@pytest.mark.parametrize(
    ("error", "name"),
    [(service("TooManyRequestsException"), "Lambda.TooManyRequestsException"), (task_timeout, "ExecutionBroken")],
    ids=["throttled", "timeout"],
)
def test_a_trouble_of_lambda_that_stays_is_told(
    here: World, function: str, outcome: str, rekeys: int, error: Callable[[], Exception], name: str
) -> None:
    here.spoil = Spoiled(function, timedelta(days=1), error, here)

    ended = here.rotate()

    assert (ended.status, ended.states[-1]) == ("FAILED", "RotationFailed")
    assert here.calls[function] == 9
    assert here.told_once()["outcome"] == outcome
    assert here.told_once()["error"] == ended.error == name
    assert here.told_once()["nextStep"]
    assert len(here.cluster.cluster.rekeys) == rekeys
    assert here.lock() is None


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (Fault("refuseConnections", seconds=86400.0), 9),
        (Fault("html503", times=None), 9),
        (Fault("rpcError", name="xDBConnectionLoss", method="GetClusterInfo", times=None), 9),
        (Fault("rpcError", name="xPermissionDenied", method="GetClusterInfo", times=None), 4),
    ],
    ids=["refused", "503", "transient", "permission"],
)
def test_a_cluster_that_stays_away_is_tried_so_often_and_then_told(here: World, fault: Fault, tries: int) -> None:
    here.cluster.inject(fault)

    ended = here.rotate()

    assert ended.error in {"ClusterUnavailable", "PermissionDenied"}
    assert here.told_once()["outcome"] == "Failed"
    assert here.calls[START] == tries
    assert here.cluster.cluster.rekeys == ()


def test_a_cluster_that_comes_back_within_five_minutes_is_rotated(here: World) -> None:
    here.cluster.inject(Fault("refuseConnections", connections=0, seconds=300.0))

    assert here.rotate().output["outcome"] == "Rotated"


@pytest.mark.parametrize(
    ("phase", "error", "outcome", "replaced"),
    [
        ("CreateNewMasterKey", "RekeyFailed", "Failed", False),
        ("RewrapDataEncryptionKeys", "RekeyFailed", "Failed", False),
        ("DecommissionOldMasterKey", "RekeyEndedWithError", "RotatedWithError", True),
    ],
)
def test_a_rekey_that_fails_in_a_phase_is_told_by_what_it_left(
    here: World, phase: str, error: str, outcome: str, *, replaced: bool
) -> None:
    before = here.cluster.cluster.current_key
    here.cluster.inject(Fault("phaseFailure", phase=phase, name="xKmipError", message="no answer"))

    ended = here.rotate()

    assert ended.error == error
    assert here.told_once()["outcome"] == outcome
    assert "xKmipError" in here.told_once()["cause"]
    assert (here.cluster.cluster.current_key != before) == replaced
    assert here.lock() is None


def test_a_rekey_that_is_never_seen_is_sent_twice_at_most_and_told_as_unknown(here: World) -> None:
    here.cluster.inject(Fault("resetBeforeProcessing", method=REKEY, times=None))

    ended = here.rotate()

    assert ended.error == "RekeyOutcomeUnknown"
    assert here.told_once()["outcome"] == "OutcomeUnknown"
    assert here.cluster.cluster.calls[REKEY] == 2
    first, second = (one.when for one in here.cluster.cluster.requests if one.method == REKEY)
    assert second - first >= here.ports.settings.settling


@pytest.mark.parametrize(
    "fault",
    [
        Fault("resetAfterProcessing", method=REKEY),
        Fault("truncatedBody", method=REKEY),
        Fault("nullResult", method=REKEY),
        Fault("html503", method=REKEY, applied=True),
        Fault("stall", method=REKEY, applied=True, seconds=0.05),
        Fault("rpcError", method=REKEY, applied=True, name="xDBConnectionLoss"),
    ],
    ids=lambda fault: fault.fault,
)
def test_a_rekey_whose_answer_is_lost_is_found_and_followed(here: World, fault: Fault) -> None:
    here.cluster.inject(fault)

    ended = here.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert here.cluster.cluster.calls[REKEY] == 1
    assert [error for _, error, _ in here.failures] == ["RekeyOutcomeUnknown"]


def test_a_rekey_that_replaced_another_key_than_was_seen_is_not_called_proven(here: World) -> None:
    here.cluster.inject(Fault("competingRekey", method=REKEY, seconds=0.0))

    ended = here.rotate()

    assert ended.error == "RotationNotProven"
    assert here.told_once()["outcome"] == "OutcomeUnknown"
    assert here.calls[CHECK] > 3


def test_a_rekey_that_outlasts_the_deadline_is_told_as_overdue_and_followed_by_the_next_run() -> None:
    with world(ClusterSpec(rekey_seconds=3600.0)) as there:
        there.settle(deadline=timedelta(minutes=45))
        first = there.rotate({"cluster": "prod-a", "keyCreatedAfter": BEGIN.isoformat()})
        assert there.told_once()["outcome"] == "Overdue"
        assert there.lock() is None

        second = there.rotate({"cluster": "prod-a", "keyCreatedAfter": BEGIN.isoformat()})

        assert first.error == "RotationOverdue"
        assert second.output["outcome"] == "Followed"
        assert len(there.cluster.cluster.rekeys) == 1
        assert there.told()[1]["newKey"]["keyID"] == there.cluster.cluster.current_key.key_id


def test_a_cluster_that_stays_busy_until_the_deadline_is_told(here: World) -> None:
    here.ports.ledger.take_lock("prod-a", Lock("somebody", BEGIN + timedelta(days=1)), BEGIN)
    here.settle(deadline=timedelta(hours=1))

    ended = here.rotate()

    assert (ended.error, ended.states.count("WaitForTurn") > 10) == ("ClusterBusy", True)
    assert here.told_once()["outcome"] == "Failed"
    assert here.cluster.cluster.calls == {}
    assert here.lock() is not None


def test_a_lock_that_ran_out_is_taken_over(here: World) -> None:
    here.ports.ledger.take_lock("prod-a", Lock("somebody", BEGIN + timedelta(minutes=10)), BEGIN)

    ended = here.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert here.cluster.cluster.rekeys[0].begun >= BEGIN + timedelta(minutes=10)


class DeafTopic(FakeTopic):
    """A topic that takes nothing until it is told to."""

    deaf = True

    def publish(self, rotation: Rotation) -> None:
        if self.deaf:
            raise AwsCallFailed("SNS did not publish the outcome.", cluster=rotation.cluster)
        super().publish(rotation)


def test_an_outcome_that_cannot_be_published_ends_as_such_and_is_told_by_the_rule_when_it_can(here: World) -> None:
    topic = DeafTopic()
    here.ports = replace(here.ports, topic=topic)
    arn = here.start({"cluster": "prod-a"})
    here.time.after(30 + 75 + 330, lambda: setattr(topic, "deaf", False))

    here.time.run()

    ended = here.execution(arn)
    assert (ended.status, ended.error, ended.states[-1]) == ("FAILED", "OutcomeNotPublished", "OutcomeNotPublished")
    assert [rotation.outcome for rotation in topic.published] == ["Rotated"]
    assert here.unheard == []
    assert here.lock() is None


def test_an_outcome_that_can_never_be_published_becomes_a_dead_letter(here: World) -> None:
    here.ports = replace(here.ports, topic=DeafTopic())

    ended = here.rotate()

    assert ended.error == "OutcomeNotPublished"
    assert [event["detail"]["executionArn"] for event in here.unheard] == [ended.arn]
    assert here.record(ended.arn).outcome == "Rotated"
    assert here.lock() is None


@pytest.mark.parametrize(
    ("stop", "status", "error"),
    [("stop", "ABORTED", "ExecutionAborted"), ("time_out", "TIMED_OUT", "ExecutionTimedOut")],
    ids=["aborted", "timed-out"],
)
@pytest.mark.parametrize(("after", "outcome"), [(0.5, "OutcomeUnknown"), (20.0, "OutcomeUnknown")])
def test_an_execution_that_is_cut_off_is_told_and_its_rekey_adopted(
    here: World, stop: str, status: str, error: str, after: float, outcome: str
) -> None:
    arn = here.start({"cluster": "prod-a"})
    here.time.after(after, lambda: getattr(here, stop)(arn))
    here.time.run()

    told = here.told_once()
    assert here.execution(arn).status == status
    assert (told["outcome"], told["error"]) == (outcome, error)
    here.time.pass_by(SETTINGS.settling.total_seconds())  # a function may live on that long
    assert here.lock() is None

    adopted = here.rotate({"cluster": "prod-a", "keyCreatedAfter": BEGIN.isoformat()})
    assert adopted.output["outcome"] in {"Followed", "NotDue"}
    assert len(here.cluster.cluster.rekeys) == 1


def test_a_status_event_that_comes_three_times_is_told_once(here: World) -> None:
    arn = here.start({"cluster": "prod-a"})
    here.time.after(20, lambda: here.stop(arn))
    for seconds in (20, 21, 500):
        here.time.after(seconds, lambda: here.deliver(here.status_event(arn, "ABORTED")))

    here.time.run()

    assert here.told_once()["outcome"] == "OutcomeUnknown"
    assert here.calls[PUBLISH] >= 4


def test_an_event_without_its_input_still_ends_with_a_notification(here: World) -> None:
    arn = here.start({"cluster": "prod-a"})
    event = here.status_event(arn, "ABORTED")
    del event["detail"]["input"]
    here.deliver(event)
    here.cluster.inject(Fault("refuseConnections", seconds=86400.0))

    here.time.run()

    assert here.told_once()["error"] == "ExecutionAborted"


def test_every_state_of_the_machine_has_its_function() -> None:
    assert set(STATE_NAMES.values()) == {"StartRekey", "CheckStatus", "PublishOutcome"}

"""What ended without anybody telling of it is found, closed and published, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from element_rekey.errors import AwsCallFailed
from element_rekey.fleet.select import select_clusters
from element_rekey.outcomes import Outcome
from element_rekey.publishing import CLAIM
from element_rekey.reconcile import LOOK_BACK, Machines, reconcile_fleet_runs, reconcile_rotations
from element_rekey.records import Execution, FleetRequest, Lock
from tests.fakes import NOW, FakeExecutions
from tests.unit.fleet_samples import FLEET, FLEET_ARN, MACHINE, finish
from tests.unit.harness import RotationHarness
from tests.unit.samples import ARN, DAY, HOUR, OTHER_ARN, SECOND

FLEET_MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:element-rekey-rotate-fleet"
FLEET_RUN = Execution(FLEET_ARN, NOW)


class Scene(RotationHarness):
    """A rotation, and whoever knows how executions ended."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.executions = FakeExecutions()
        self.machines = Machines(self.executions, MACHINE, FLEET_MACHINE, "element-key-compromise-")

    def ended(self, status: str = "ABORTED", execution: Execution | None = None, given: Any = None) -> None:  # noqa: ANN401
        given = {"cluster": "prod-a"} if given is None else given
        self.executions.ended.append((MACHINE, execution or self.execution, status, given))

    def fleet_ended(self, status: str = "ABORTED", given: Any = None) -> None:  # noqa: ANN401 - JSON
        self.executions.ended.append((FLEET_MACHINE, FLEET_RUN, status, given or {}))

    def reconcile(self) -> list[str]:
        """The executions of rotations that were published."""
        return [one.rotation.execution.id for one in reconcile_rotations(self.ports, self.machines).published]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("status", "error"),
    [("ABORTED", "ExecutionAborted"), ("TIMED_OUT", "ExecutionTimedOut"), ("FAILED", "ExecutionBroken")],
)
def test_a_rotation_whose_end_nobody_heard_of_is_published_once_and_its_lock_freed(
    scene: Scene, status: str, error: str
) -> None:
    scene.start()
    scene.ended(status)
    scene.clock.advance(3600)
    assert scene.reconcile() == [ARN]
    assert scene.reconcile() == []
    (published,) = scene.topic.published
    assert (published.outcome, published.failure and published.failure.error) == (Outcome.OUTCOME_UNKNOWN, error)
    held = scene.ledger.lock("prod-a")
    assert held is None or held.lease_until <= scene.clock.now


def test_an_execution_that_left_no_record_is_published_too_and_its_lock_freed(scene: Scene) -> None:
    """It died between taking the lock and writing anything down."""
    scene.ledger.take_lock("prod-a", Lock(ARN, NOW + HOUR), NOW)
    scene.ended()
    assert scene.reconcile() == [ARN]
    assert scene.topic.published[0].cluster == "prod-a"
    assert scene.ledger.lock("prod-a") is None


def test_a_lock_that_somebody_else_took_meanwhile_stays_his(scene: Scene) -> None:
    scene.ledger.take_lock("prod-a", Lock(OTHER_ARN, NOW + HOUR), NOW)
    scene.ended()
    scene.reconcile()
    assert scene.ledger.lock("prod-a") == Lock(OTHER_ARN, NOW + HOUR)


def test_what_was_told_is_not_even_looked_at(scene: Scene) -> None:
    scene.run()
    scene.ended("FAILED")
    told = len(scene.topic.published)
    assert scene.reconcile() == []
    assert scene.executions.described == []
    assert len(scene.topic.published) == told


def test_what_was_claimed_and_never_marked_is_published_when_the_claim_has_run_out(scene: Scene) -> None:
    scene.start()
    scene.change_record(ended_at=NOW, outcome=Outcome.OUTCOME_UNKNOWN, publishing_until=NOW + CLAIM)
    scene.ended("FAILED")
    assert scene.reconcile() == [], "somebody may be publishing it at this moment"
    scene.clock.advance(CLAIM.total_seconds())
    assert scene.reconcile() == [ARN]
    assert len(scene.topic.published) == 1


def test_an_earlier_execution_of_the_same_name_does_not_stand_for_this_one(scene: Scene) -> None:
    scene.run()
    again = Execution(ARN, NOW + 91 * DAY)
    scene.ended(execution=again)
    assert scene.reconcile() == [ARN]
    assert [one.execution for one in scene.topic.published] == [scene.execution, again]


def test_one_that_cannot_be_published_keeps_no_other_from_it_and_is_found_again(scene: Scene) -> None:
    scene.ended()
    scene.ended(execution=Execution(OTHER_ARN, NOW), given={"cluster": "prod-b"})
    scene.topic.failures = 1
    first = reconcile_rotations(scene.ports, scene.machines)
    assert [one.rotation.execution.id for one in first.published] == [OTHER_ARN]
    assert [type(failure) for failure in first.failures] == [AwsCallFailed]
    assert scene.reconcile() == [ARN]


def test_it_looks_back_a_week(scene: Scene) -> None:
    scene.reconcile()
    assert scene.executions.since == [NOW - LOOK_BACK]


def test_a_fleet_run_whose_end_nobody_heard_of_is_summarized_once_with_what_became_of_its_clusters(
    scene: Scene,
) -> None:
    run = select_clusters(scene.ports, FLEET, FLEET_RUN, FleetRequest())
    finish(scene.ports, run.selected[0])
    scene.fleet_ended("TIMED_OUT")
    (published,) = reconcile_fleet_runs(scene.ports, scene.machines).published
    assert published.run.failure
    assert published.run.failure.error == "ExecutionTimedOut"
    assert [one.outcome for one in published.results] == ["Rotated"]
    assert reconcile_fleet_runs(scene.ports, scene.machines).published == ()
    assert len(scene.topic.summaries) == 1


def test_a_fleet_run_that_left_no_record_is_summarized_by_its_input(scene: Scene) -> None:
    scene.fleet_ended(given={"clusters": ["prod-a"], "reason": "INC-4711"})
    (published,) = reconcile_fleet_runs(scene.ports, scene.machines).published
    assert published.run.request == FleetRequest(clusters=("prod-a",), reason="INC-4711")


def test_what_is_published_by_somebody_in_between_is_not_counted_again(scene: Scene) -> None:
    scene.ended()
    plain = scene.executions.status_event

    def published_meanwhile(execution: Execution) -> Any:  # noqa: ANN401 - JSON
        scene.publish()
        return plain(execution)

    scene.machines = replace(scene.machines, executions=scene.executions)
    scene.executions.status_event = published_meanwhile  # type: ignore[method-assign]
    assert scene.reconcile() == []
    scene.clock.advance(SECOND.total_seconds())
    assert len(scene.topic.published) == 1

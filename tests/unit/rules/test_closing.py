from __future__ import annotations

from dataclasses import replace

import pytest

from element_rekey.errors import (
    ClusterRefused,
    ClusterUnavailable,
    ElementRekeyError,
    InvalidInput,
    PreconditionFailed,
)
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import ClusterResult, Failure, FleetRequest, NotSelected, Request, Rotation
from element_rekey.rules.closing import fleet_failure, outcome_of
from element_rekey.rules.selection import select
from tests.unit.fleet_samples import EXECUTION, FLEET, registered
from tests.unit.samples import change, following, intent, rotated, rotation

# --- of a rotation ---


def failure(error: str) -> Failure:
    return Failure(error, "It happened.", "Look.")


FOREIGN = following(ours=False)


@pytest.mark.parametrize(
    ("record", "error", "outcome"),
    [
        (rotation(), "ClusterUnavailable", Outcome.FAILED),
        (rotation(intent=intent()), "ClusterUnavailable", Outcome.OUTCOME_UNKNOWN),
        (rotation(intent=intent(), following=following()), "CredentialsRefused", Outcome.OUTCOME_UNKNOWN),
        (rotation(intent=intent(), following=following()), "RotationNotProven", Outcome.OUTCOME_UNKNOWN),
        (rotation(intent=intent(), following=following()), "ClusterIdentityChanged", Outcome.OUTCOME_UNKNOWN),
        (rotation(intent=intent(), following=following()), "RekeyFailed", Outcome.FAILED),
        (rotation(intent=intent(), following=following()), "RotationOverdue", Outcome.OVERDUE),
        (rotation(following=FOREIGN), "RotationOverdue", Outcome.OVERDUE),
        (rotation(following=FOREIGN), "ClusterUnavailable", Outcome.OUTCOME_UNKNOWN),
        (rotation(following=FOREIGN), "ExecutionAborted", Outcome.OUTCOME_UNKNOWN),
        (rotation(intent=intent(), following=FOREIGN), "ClusterUnavailable", Outcome.OUTCOME_UNKNOWN),
        (rotation(change=change(ours=False)), "ClusterUnavailable", Outcome.FAILED),
        (rotation(change=change()), "ClusterUnavailable", Outcome.OUTCOME_UNKNOWN),
        (rotation(change=change()), "RekeyFailed", Outcome.OUTCOME_UNKNOWN),
        (rotation(change=change()), "RotationOverdue", Outcome.OVERDUE),
        (rotation(intent=intent()), "RekeyOutcomeUnknown", Outcome.OUTCOME_UNKNOWN),
        (rotation(intent=intent(), following=following()), "ExecutionAborted", Outcome.OUTCOME_UNKNOWN),
    ],
)
def test_an_error_means_unknown_wherever_a_rekey_may_be_running_or_ours_has_made_a_key(
    record: Rotation, error: str, outcome: Outcome
) -> None:
    assert outcome_of(record, failure(error)) == (outcome, failure(error))


@pytest.mark.parametrize(
    ("record", "outcome"), [(rotation(), Outcome.FAILED), (rotation(intent=intent()), Outcome.OUTCOME_UNKNOWN)]
)
def test_an_end_without_outcome_or_error_is_a_failure_with_a_name(record: Rotation, outcome: Outcome) -> None:
    concluded, reported = outcome_of(record, None)
    assert concluded is outcome
    assert reported
    assert reported.error == "ExecutionBroken"
    assert reported.next_step


def test_what_is_concluded_already_stays() -> None:
    assert outcome_of(rotated(), failure("RekeyFailed")) == (Outcome.ROTATED, None)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_that_needs_a_person_carries_a_named_failure(outcome: Outcome) -> None:
    """Otherwise the state machine's Fail state has no error to show."""
    by_error = {
        Outcome.FAILED: "RekeyFailed",
        Outcome.ROTATED_WITH_ERROR: "RekeyEndedWithError",
        Outcome.OVERDUE: "RotationOverdue",
        Outcome.OUTCOME_UNKNOWN: "RekeyOutcomeUnknown",
    }
    assert (outcome in by_error) is not outcome.succeeded
    if outcome is Outcome.ROTATED_WITH_ERROR:  # the step that finds it writes both down
        recorded = rotation(outcome=outcome, failure=failure(by_error[outcome]))
        assert outcome_of(recorded, failure("ExecutionAborted")) == (outcome, recorded.failure)
    elif outcome in by_error:
        concluded, reported = outcome_of(rotation(intent=intent()), failure(by_error[outcome]))
        assert concluded is outcome
        assert reported


@pytest.mark.parametrize("broken", ["ExecutionBroken", "ExecutionTimedOut", "AwsCallFailed", None])
def test_what_a_step_wrote_down_counts_more_than_what_whoever_closes_it_knows(broken: str | None) -> None:
    """The step raised it, and its answer got lost on the way."""
    record = rotation(intent=intent(), following=following(), failure=failure("RekeyFailed"))
    assert outcome_of(record, failure(broken) if broken else None) == (Outcome.FAILED, record.failure)
    record = replace(record, failure=failure("RotationNotProven"))
    assert outcome_of(record, failure(broken) if broken else None) == (Outcome.OUTCOME_UNKNOWN, record.failure)


REFUSALS = [
    one
    for kind in (InvalidInput, PreconditionFailed, ClusterRefused, ClusterUnavailable)
    for one in (kind, *kind.__subclasses__())
]
DRY = rotation(request=Request("prod-a", dry_run=True))


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.__name__)
def test_a_dry_run_that_finds_what_a_rotation_would_be_refused_for_has_done_what_it_was_asked(
    error: type[ElementRekeyError],
) -> None:
    found = failure(error.__name__)
    assert outcome_of(DRY, found) == (Outcome.WOULD_BE_REFUSED, found)
    assert Outcome.WOULD_BE_REFUSED.succeeded
    assert outcome_of(rotation(), found) == (Outcome.FAILED, found)


@pytest.mark.parametrize(
    "error", ["ExecutionAborted", "ExecutionTimedOut", "ExecutionBroken", "AwsCallFailed", "Lambda.Unknown"]
)
def test_a_dry_run_that_did_not_come_to_an_answer_has_failed(error: str) -> None:
    assert outcome_of(DRY, failure(error)) == (Outcome.FAILED, failure(error))


def test_an_end_without_an_outcome_says_so() -> None:
    _, failure = outcome_of(rotation(), None)
    assert failure
    assert failure.cause == "The execution ended without an outcome."


# --- of a fleet run ---


def test_a_long_list_of_failures_is_cut_and_says_so() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered(*(f"c{number:02}" for number in range(13))))
    failure = fleet_failure(run, [ClusterResult(one, None) for one in run.selected])
    assert failure
    assert failure.cause.endswith("c08, c09 and 3 more.")


def test_in_a_dry_run_a_cluster_that_cannot_be_selected_is_an_answer_and_no_failure() -> None:
    request = FleetRequest(clusters=("a", "nowhere"), dry_run=True)
    run = select(FLEET, EXECUTION, request, registered("a"))
    planned = [ClusterResult(one, rotated(outcome=Outcome.PLANNED)) for one in run.selected]
    assert run.not_selected == (NotSelected("nowhere", "ClusterNotRegistered", "There is no secret of this name."),)
    assert fleet_failure(run, planned) is None
    assert fleet_failure(run, [ClusterResult(one, None) for one in run.selected])


def test_an_alarm_whose_target_is_unknown_is_what_a_run_failed_for_whatever_else_did() -> None:
    """An emergency was not met, and nobody else will say so."""
    request = FleetRequest(clusters=("a", "b", "mistyped"), trigger=Trigger.ALARM)
    run = select(FLEET, EXECUTION, request, registered("a", "b"))
    well = [ClusterResult(one, rotated()) for one in run.selected]
    failure = fleet_failure(run, well)
    assert failure
    assert failure.error == "AlarmTargetUnknown"
    assert failure.cause == "No cluster is registered as mistyped: no key was replaced there."
    failure = fleet_failure(run, [*well[1:], ClusterResult(run.selected[0], None)])
    assert failure
    assert failure.cause == (
        "No cluster is registered as mistyped: no key was replaced there. Not as they should be: a, mistyped."
    )

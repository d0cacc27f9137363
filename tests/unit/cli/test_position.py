"""Where an execution is, by its latest events and the real definition."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from element_rekey_cli.position import Position, phase_of, position_of
from element_rekey_cli.standing import Attempt
from tests.fakes import NOW
from tests.template import state_machine
from tests.unit.samples import HOUR, following, rotation

SECOND = timedelta(seconds=1)


def events(*parts: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Of an execution, the newest first; each a second after the one before."""
    listed = [
        {"id": number, "type": kind, "timestamp": NOW + number * SECOND, **details}
        for number, (kind, details) in enumerate(parts, start=1)
    ]
    return listed[::-1]


def entered(name: str) -> tuple[str, dict[str, Any]]:
    return "TaskStateEntered", {"stateEnteredEventDetails": {"name": name}}


def failed(error: str, cause: str = "no answer") -> tuple[str, dict[str, Any]]:
    wrapped = json.dumps({"errorMessage": cause, "errorType": error})
    return "TaskFailed", {"taskFailedEventDetails": {"error": error, "cause": wrapped}}


SCHEDULED: tuple[str, dict[str, Any]] = ("TaskScheduled", {})
SUCCEEDED: tuple[str, dict[str, Any]] = ("TaskSucceeded", {})
LEFT: tuple[str, dict[str, Any]] = ("TaskStateExited", {})


def position(*parts: tuple[str, dict[str, Any]]) -> Position:
    return position_of(events(*parts), state_machine)


def test_an_execution_that_has_not_begun_is_nowhere() -> None:
    assert position(("ExecutionStarted", {})) == Position()


def test_it_is_in_the_state_it_entered_last() -> None:
    found = position(entered("StartRekey"), SCHEDULED, SUCCEEDED, LEFT, entered("WaitForRekey"))
    assert found == Position("WaitForRekey", NOW + 5 * SECOND)


def test_what_failed_is_tried_again_as_often_as_its_retrier_says() -> None:
    found = position(entered("StartRekey"), SCHEDULED, failed("ClusterUnavailable"), SCHEDULED)
    assert found.attempt == Attempt("ClusterUnavailable", "no answer", 2, 9)


def test_each_retrier_counts_its_own() -> None:
    found = position(
        entered("StartRekey"),
        failed("Lambda.ServiceException"),
        failed("ClusterUnavailable"),
        failed("AwsCallFailed"),
        failed("RekeyOutcomeUnknown"),
        failed("AwsCallFailed", "Cluster prod-a: no DynamoDB"),
    )
    assert found.attempt == Attempt("AwsCallFailed", "Cluster prod-a: no DynamoDB", 4, 9)


def test_failures_before_a_success_are_over() -> None:
    assert position(entered("StartRekey"), failed("ClusterUnavailable"), SCHEDULED, SUCCEEDED).attempt is None
    assert position(entered("StartRekey"), failed("ClusterUnavailable"), LEFT).attempt is None


def test_a_time_out_is_a_failure_too() -> None:
    timed_out = ("TaskTimedOut", {"taskTimedOutEventDetails": {"error": "States.Timeout"}})
    found = position(entered("CheckStatus"), timed_out).attempt
    assert found
    assert (found.error, found.attempt, found.of_attempts) == ("States.Timeout", 2, 61)


def test_an_error_that_is_not_retried_has_no_number() -> None:
    assert position(entered("StartRekey"), failed("RequestInvalid")).attempt == Attempt(
        "RequestInvalid", "no answer", 2, None
    )


@pytest.mark.parametrize(
    ("state", "record", "phase"),
    [
        ("", None, "starting"),
        ("StartRekey", None, "StartRekey"),
        ("WaitForTurn", None, "waits for its turn"),
        (
            "WaitForTurn",
            rotation(cooling_until=NOW + HOUR),
            "waits for the end of the cool-down, 2026-11-23 04:00:00 UTC",
        ),
        ("WaitForRekey", rotation(following=following(), detail="CreateNewMasterKey"), "CreateNewMasterKey"),
        ("CheckStatus", rotation(following=following()), "CheckStatus"),
        ("CheckStatus", replace(rotation(), detail="Replacing key."), "CheckStatus"),
        ("PublishOutcome", rotation(following=following(), detail="Key replaced."), "PublishOutcome"),
    ],
)
def test_the_phase_is_the_clusters_own_word_where_it_is_known(state: str, record: Any, phase: str) -> None:  # noqa: ANN401
    found, since = phase_of(Position(state, NOW), record)
    follows = state in {"WaitForRekey", "CheckStatus"} and record.following
    assert (found, since) == (phase, record.following.since if follows else NOW)

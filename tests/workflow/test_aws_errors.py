"""Every error of AWS that a state can meet is retried or final, on purpose, and each state does as the table says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.aws_errors import OPERATIONS, PASSING, TASKS, UNMODELLED, WAKING, modelled, names, retried
from tests.retries import retrier_of, tasks_of
from tests.template import state_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

STATES = {
    name: state for machine in ("RotateMasterKey", "RotateFleet") for name, state in tasks_of(state_machine(machine))
}
TEN_MINUTES = 600


def kind_of(state: dict[str, Any]) -> str:
    return str(state["Resource"].partition(":states:::")[2])


def of_aws(state: dict[str, Any]) -> Iterator[str]:
    """The errors a state retries that are not our own."""
    for entry in state["Retry"]:
        yield from (error for error in entry["ErrorEquals"] if "." in error)


def retriers_with(state: dict[str, Any], errors: set[str]) -> list[dict[str, Any]]:
    return [entry for entry in state["Retry"] if errors & set(entry["ErrorEquals"])]


INVOKING = {name: state for name, state in STATES.items() if kind_of(state) == "lambda:invoke"}


def test_every_task_calls_an_operation_of_the_table() -> None:
    assert {kind_of(state) for state in STATES.values()} == set(TASKS) == set(UNMODELLED)
    assert {operation for operation, _, _ in TASKS.values()} == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids="-".join)
def test_every_error_that_aws_knows_of_an_operation_is_in_the_table(operation: tuple[str, str]) -> None:
    assert set(OPERATIONS[operation]) == modelled(operation)


@pytest.mark.parametrize("name", STATES)
def test_a_state_retries_what_the_table_says_and_nothing_else_of_aws(name: str) -> None:
    assert set(of_aws(STATES[name])) == retried(kind_of(STATES[name]))


@pytest.mark.parametrize("name", INVOKING)
def test_a_function_whose_network_interfaces_are_gone_is_waited_for_ten_minutes(name: str) -> None:
    (waking,) = retriers_with(INVOKING[name], names("lambda:invoke", WAKING))
    assert set(waking["ErrorEquals"]) == names("lambda:invoke", WAKING)
    assert retrier_of(waking).at_least >= TEN_MINUTES


@pytest.mark.parametrize("name", INVOKING)
def test_a_passing_trouble_of_lambda_is_outlasted(name: str) -> None:
    """For longer than a function in a VPC was seen to need."""
    (passing,) = retriers_with(INVOKING[name], names("lambda:invoke", PASSING))
    assert set(passing["ErrorEquals"]) == names("lambda:invoke", PASSING) | UNMODELLED["lambda:invoke"]
    assert retrier_of(passing).seconds >= 106


def test_in_the_middle_of_a_rekey_a_trouble_of_lambda_is_outlasted_for_half_an_hour_and_not_by_all_at_once() -> None:
    """Nobody looks at the cluster meanwhile, and nothing is lost by that; OutcomeUnknown wakes somebody up."""
    (passing,) = retriers_with(STATES["CheckStatus"], names("lambda:invoke", PASSING))
    assert (passing["MaxAttempts"], passing["JitterStrategy"]) == (60, "FULL")
    assert passing["MaxDelaySeconds"] <= 60
    assert retrier_of(passing).seconds / 2 >= 1600, "half of it is what jitter leaves on average"

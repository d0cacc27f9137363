"""The state machine's definition itself: what must hold of its states, whatever runs through them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey import errors
from element_rekey.aws.runtime import LEASE
from element_rekey.element.transport import Timeouts
from element_rekey.rules.preflight import TEST_HOLDS
from tests.aws_errors import retried
from tests.retries import retried_errors, retrier_of
from tests.template import TEMPLATE, default, function_timeout, properties, state_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE = state_machine()
STATES: dict[str, Any] = MACHINE["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
CHOICES = {name: state for name, state in STATES.items() if state["Type"] == "Choice"}
ENDS = {name for name, state in STATES.items() if state["Type"] in {"Succeed", "Fail"}}
FUNCTIONS = {name: state["Parameters"]["FunctionName"].strip("${}") for name, state in TASKS.items()}

OF_AWS = retried("lambda:invoke")
PLAIN_PATH = re.compile(r"\$\$?(\.[A-Za-z][A-Za-z0-9]*)*")
COMMON_FIELDS = {
    "Task": {"Resource", "Parameters", "OutputPath", "TimeoutSeconds", "Retry", "Catch", "Next"},
    "Pass": {"Parameters", "Next"},
    "Choice": {"Choices", "Default"},
    "Wait": {"SecondsPath", "Next"},
    "Succeed": {"OutputPath"},
    "Fail": {"Error", "Cause", "ErrorPath", "CausePath"},
}


def next_states(state: dict[str, Any]) -> Iterator[str]:
    """Where a state can lead."""
    if "Next" in state:
        yield state["Next"]
    if "Default" in state:
        yield state["Default"]
    for choice in state.get("Choices", []):
        yield choice["Next"]
    for catcher in state.get("Catch", []):
        yield catcher["Next"]


def reachable(start: str, without: str = "") -> set[str]:
    """Every state that can follow, on paths that do not enter ``without``."""
    found: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in found and name != without:
            found.add(name)
            todo += next_states(STATES[name])
    return found


def retriers() -> list[Any]:
    """Every retrier with its task, for tests that look at each."""
    return [
        pytest.param(name, retrier, id=f"{name}-{retrier['ErrorEquals'][0]}")
        for name, task in TASKS.items()
        for retrier in task["Retry"]
    ]


def every_path(value: object) -> Iterator[str]:
    """Every reference path in a state."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and (name.endswith((".$", "Path")) or name == "Variable"):
                yield inner
            else:
                yield from every_path(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from every_path(inner)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_time_limit_retries_and_a_way_out(name: str) -> None:
    task = TASKS[name]

    assert task["TimeoutSeconds"] > 0
    assert task["Retry"]
    assert [catcher["ErrorEquals"] for catcher in task["Catch"]] == [["States.ALL"]]
    assert task["Catch"][0]["ResultPath"] == "$.error"


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_has_a_default_and_looks_only_at_what_is_there(name: str) -> None:
    choice = CHOICES[name]

    assert choice["Default"]
    for rule in choice["Choices"]:
        guard, test = rule["And"]
        assert guard == {"Variable": test["Variable"], "IsPresent": True}


def test_every_state_can_be_reached_and_exists() -> None:
    assert reachable(MACHINE["StartAt"]) == set(STATES)


def test_nothing_ends_before_its_outcome_is_published() -> None:
    assert reachable("StartRekey", without="PublishOutcome") & ENDS == set()


def test_only_a_failure_to_publish_ends_without_an_outcome() -> None:
    assert [name for name, state in STATES.items() if "OutcomeNotPublished" in set(next_states(state))] == [
        "PublishOutcome"
    ]


@pytest.mark.parametrize(("name", "retrier"), retriers())
def test_every_error_named_in_a_retry_is_one_of_ours_or_of_aws(name: str, retrier: dict[str, Any]) -> None:
    assert name
    for error in retrier["ErrorEquals"]:
        assert error in OF_AWS or issubclass(getattr(errors, error), errors.ElementRekeyError)


@pytest.mark.parametrize("name", TASKS)
def test_no_error_is_named_in_two_retries_of_a_task(name: str) -> None:
    named = [error for retrier in TASKS[name]["Retry"] for error in retrier["ErrorEquals"]]

    assert len(named) == len(set(named))


def test_what_the_tree_of_errors_calls_retried_is_what_is_retried() -> None:
    documented = set(re.findall(r"── (\w+)[^\n]*\(retried", errors.__doc__ or ""))
    named = set(retried_errors(MACHINE))

    assert documented == named - OF_AWS


@pytest.mark.parametrize(("name", "retrier"), retriers())
def test_an_error_is_retried_for_longer_than_a_lost_answer_needs_to_be_resolved(
    name: str, retrier: dict[str, Any]
) -> None:
    needs_settling = {"RekeyOutcomeUnknown", "LedgerConflict", "Lambda.Unknown"} & set(retrier["ErrorEquals"])

    assert name
    assert not needs_settling or retrier_of(retrier).seconds > default("SettlingSeconds")


@pytest.mark.parametrize("name", TASKS)
def test_a_function_gives_up_before_its_task_does_and_long_before_its_lost_answer_can_be_resolved(name: str) -> None:
    assert function_timeout(FUNCTIONS[name]) < TASKS[name]["TimeoutSeconds"]
    assert function_timeout(FUNCTIONS[name]) < default("SettlingSeconds")


def test_a_test_of_a_key_provider_and_two_calls_that_stall_fit_into_the_time_of_a_function() -> None:
    patience = Timeouts()
    assert 45 <= patience.provider_test <= 60
    assert patience.provider_test + 2 * patience.total < function_timeout(FUNCTIONS["StartRekey"])


def test_a_key_provider_is_tested_once_for_all_retries_of_a_step() -> None:
    ours = [one for one in TASKS["StartRekey"]["Retry"] if all(hasattr(errors, name) for name in one["ErrorEquals"])]
    assert len(ours) == 3
    for retrier in ours:
        assert retrier_of(retrier).seconds < TEST_HOLDS.total_seconds()
    assert "KeyProviderUnusable" not in retried_errors(MACHINE)


def test_no_settling_time_is_allowed_for_which_the_proof_does_not_hold() -> None:
    """A function that hangs is dead when its task has timed out; at less, one demand was seen to make two rekeys."""
    allowed = TEMPLATE["Parameters"]["SettlingSeconds"]
    assert allowed["MinValue"] == max(TASKS[name]["TimeoutSeconds"] for name in TASKS)
    assert allowed["MinValue"] <= allowed["Default"] <= allowed["MaxValue"]


@pytest.mark.parametrize(("name", "retrier"), retriers())
def test_a_lock_outlasts_every_time_in_which_it_is_not_renewed(name: str, retrier: dict[str, Any]) -> None:
    """A function that runs far enough to raise one of our errors renews the lock first; one that does not, does not.

    CheckStatus alone may lose its lock to Lambda's troubles: whoever takes it looks at the cluster first, and follows.
    """
    runs = all(hasattr(errors, error) for error in retrier["ErrorEquals"])
    pause = max(retrier_of(retrier).waits) if runs else retrier_of(retrier).seconds

    may_lose_it = name == "CheckStatus" and "Lambda.TooManyRequestsException" in retrier["ErrorEquals"]
    assert may_lose_it or pause + function_timeout(FUNCTIONS[name]) < LEASE.total_seconds()


def test_the_whole_execution_may_take_longer_than_the_longest_deadline() -> None:
    longest = TEMPLATE["Parameters"]["DeadlineMinutes"]["MaxValue"] * 60

    assert MACHINE["TimeoutSeconds"] > longest + LEASE.total_seconds()


@pytest.mark.parametrize("name", STATES)
def test_a_state_uses_only_what_all_engines_understand_alike(name: str) -> None:
    state = STATES[name]

    assert set(state) - {"Type", "Comment"} <= COMMON_FIELDS[state["Type"]]
    for path in every_path(state):
        assert PLAIN_PATH.fullmatch(path), path
    data_flow = {key: value for key, value in state.items() if key not in {"Retry", "Catch", "Comment"}}
    assert "States." not in str(data_flow)


def test_the_machine_says_nothing_of_a_query_language() -> None:
    assert set(MACHINE) == {"Comment", "StartAt", "TimeoutSeconds", "States"}


def test_the_rule_passes_on_every_ending_that_no_catch_sees() -> None:
    rule = properties("InterruptedExecutionRule")

    assert set(rule["EventPattern"]["detail"]["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
    assert rule["EventPattern"]["source"] == ["aws.states"]
    assert [target["Arn"] for target in rule["Targets"]] == [{"!GetAtt": "PublishOutcomeFunction.Arn"}]
    assert all("DeadLetterConfig" in target for target in rule["Targets"])


def test_every_function_of_the_machine_is_in_the_template() -> None:
    given = properties("RotateMasterKey")["DefinitionSubstitutions"]

    assert {given[name]["!GetAtt"] for name in FUNCTIONS.values()} == {f"{name}.Arn" for name in FUNCTIONS.values()}

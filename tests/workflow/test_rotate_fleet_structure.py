"""The fleet machine's definition itself: what must hold of its states, whatever runs through them."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey import errors
from element_rekey.codec import wire_name
from element_rekey.outcomes import Outcome
from element_rekey.records import Rotation
from tests.retries import retrier_of, retriers_of
from tests.template import TEMPLATE, function_timeout, properties, state_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE = state_machine("RotateFleet")
STATES: dict[str, Any] = MACHINE["States"]
MAP: dict[str, Any] = STATES["RotateClusters"]
ITEM: dict[str, Any] = MAP["ItemProcessor"]
SCOPES = [pytest.param(MACHINE, id="run"), pytest.param(ITEM, id="item")]
ALL = STATES | ITEM["States"]
TASKS = {name: state for name, state in ALL.items() if state["Type"] == "Task"}
LAMBDAS = {name: state for name, state in TASKS.items() if state["Resource"].endswith(":lambda:invoke")}
NESTED = {name: state for name, state in TASKS.items() if state["Resource"].endswith(":states:startExecution.sync:2")}
UPDATES = {name: state for name, state in TASKS.items() if state["Resource"].endswith(":dynamodb:updateItem")}
READS = {name: state for name, state in TASKS.items() if state["Resource"].endswith(":dynamodb:getItem")}
LOOKS = {name: state for name, state in TASKS.items() if state["Resource"].endswith(":aws-sdk:sfn:describeExecution")}

SERVICES = {"Lambda", "Runtime", "Sandbox", "StepFunctions", "Sfn", "DynamoDB", "DynamoDb"}  # prefixes of AWS's errors
STATES_ERRORS = {"States.ALL", "States.Timeout"}


def next_states(state: dict[str, Any]) -> Iterator[str]:
    """Where a state can lead."""
    yield from (state[name] for name in ("Next", "Default") if name in state)
    yield from (one["Next"] for name in ("Choices", "Catch") for one in state.get(name, []))


def reachable(scope: dict[str, Any], start: str, without: str = "") -> set[str]:
    """Every state that can follow, on paths that do not enter ``without``."""
    found: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in found and name != without:
            found.add(name)
            todo += next_states(scope["States"][name])
    return found


def named_errors(state: dict[str, Any]) -> list[str]:
    return [error for kind in ("Retry", "Catch") for one in state.get(kind, []) for error in one["ErrorEquals"]]


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("scope", SCOPES)
def test_every_state_can_be_reached_and_exists(scope: dict[str, Any]) -> None:
    assert reachable(scope, scope["StartAt"]) == set(scope["States"])


@pytest.mark.parametrize("scope", SCOPES)
def test_every_state_but_the_last_goes_on_somewhere(scope: dict[str, Any]) -> None:
    for state in scope["States"].values():
        assert (state["Type"] in {"Succeed", "Fail"}) == (not list(next_states(state)))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_time_limit_retries_and_a_way_out(name: str) -> None:
    task = TASKS[name]
    assert task["TimeoutSeconds"] > 0
    assert task["Retry"]
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


def test_the_map_has_a_way_out_and_lets_no_failure_stop_the_others() -> None:
    assert MAP["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
    assert MAP["ToleratedFailurePercentage"] == 100
    assert ITEM["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}


@pytest.mark.parametrize("name", [name for name, state in ALL.items() if state["Type"] == "Choice"])
def test_every_choice_has_a_default_and_looks_only_at_what_is_there(name: str) -> None:
    assert ALL[name]["Default"]
    for rule in ALL[name]["Choices"]:
        guard = rule["And"][0] if "And" in rule else rule
        assert guard["IsPresent"] is True


def test_nothing_ends_before_the_run_is_summarized() -> None:
    ends = {name for name, state in STATES.items() if state["Type"] in {"Succeed", "Fail"}}
    assert reachable(MACHINE, MACHINE["StartAt"], without="SummarizeFleet") & ends == set()
    assert reachable(MACHINE, "SummarizeFleet") & ends == ends


def test_only_a_failure_to_publish_ends_without_a_summary() -> None:
    leads = [name for name, state in STATES.items() if "SummaryNotPublished" in set(next_states(state))]
    assert leads == ["SummarizeFleet"]


def test_a_run_succeeds_only_where_its_summary_says_so() -> None:
    assert [name for name, state in STATES.items() if "FleetSucceeded" in set(next_states(state))] == ["DecideEnding"]
    (rule,) = STATES["DecideEnding"]["Choices"]
    assert rule["And"][1] == {"Variable": "$.outcome.succeeded", "BooleanEquals": True}


@pytest.mark.parametrize("name", ALL)
def test_every_error_named_is_one_of_ours_or_of_aws(name: str) -> None:
    for error in named_errors(ALL[name]):
        service, dot, _ = error.partition(".")
        if dot:
            assert service in SERVICES or error in STATES_ERRORS
        else:
            assert issubclass(getattr(errors, error), errors.ElementRekeyError)


@pytest.mark.parametrize("name", TASKS)
def test_no_error_is_named_in_two_retries_of_a_task(name: str) -> None:
    named = [error for retrier in TASKS[name]["Retry"] for error in retrier["ErrorEquals"]]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_function_gives_up_before_its_task(name: str) -> None:
    function = LAMBDAS[name]["Parameters"]["FunctionName"].strip("${}")
    assert function_timeout(function) < LAMBDAS[name]["TimeoutSeconds"]


@pytest.mark.parametrize("name", LAMBDAS)
def test_our_own_errors_are_retried_for_longer_than_a_dead_publisher_holds_the_summary(name: str) -> None:
    (ours,) = [one for one in LAMBDAS[name]["Retry"] if "LedgerConflict" in one["ErrorEquals"]]
    assert set(ours["ErrorEquals"]) == {"AwsCallFailed", "LedgerConflict"}
    assert retrier_of(ours).seconds > TEMPLATE["Parameters"]["SettlingSeconds"]["Default"]


@pytest.mark.parametrize("name", NESTED)
def test_a_rotation_that_failed_is_not_begun_again(name: str) -> None:
    """What a failed rotation surfaces as is caught at once; only what never began one is retried."""
    retried = {error for retrier in retriers_of(NESTED[name]) for error in retrier.errors}
    assert {error.partition(".")[0] for error in retried} == {"StepFunctions", "Sfn"}
    assert not any("AlreadyExists" in error for error in retried)


@pytest.mark.parametrize("name", NESTED)
def test_a_rotation_has_a_name_of_its_own_so_that_a_repeated_step_starts_none_twice(name: str) -> None:
    assert NESTED[name]["Parameters"]["Name.$"].endswith(".name")


def test_of_every_rotation_that_did_not_end_well_it_is_asked_what_became_of_it() -> None:
    """Its begin may not have been heard of; it is asked for again under the same name, and Step Functions says so."""
    assert [catch["Next"] for catch in NESTED["RotateOne"]["Catch"]] == ["LookAtRotation"]
    assert ITEM["States"]["DecideAfterRotation"]["Default"] == "ReadRecord"


def test_a_canary_begun_before_does_not_send_the_fleet_off_unproven() -> None:
    begun, failed = NESTED["RotateCanary"]["Catch"]
    assert all("ExecutionAlreadyExists" in error for error in begun["ErrorEquals"])
    assert (begun["Next"], failed["Next"]) == ("LookAtCanary", "SummarizeFleet")
    goes_on = [rule for rule in STATES["DecideAfterCanary"]["Choices"] if rule["Next"] == "RotateClusters"]
    assert [rule["And"][1]["StringEquals"] for rule in goes_on] == ["SUCCEEDED"]


@pytest.mark.parametrize("name", LOOKS)
def test_of_what_became_of_a_rotation_only_the_status_is_kept(name: str) -> None:
    """The rest of it would make a state too large to be carried."""
    look = LOOKS[name]
    assert look["ResultSelector"] == {"status.$": "$.Status"}
    assert look["Parameters"]["ExecutionArn.$"].startswith("States.Format('${Rotations}:{}', $.")


def test_nobody_waits_less_long_than_what_is_waited_for_may_take() -> None:
    for task in NESTED.values():
        assert state_machine()["TimeoutSeconds"] < task["TimeoutSeconds"] < MACHINE["TimeoutSeconds"]


def test_a_failed_canary_ends_the_run() -> None:
    canary = STATES["RotateCanary"]
    assert canary["Catch"][-1] == {"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "SummarizeFleet"}
    assert "RotateClusters" not in reachable(MACHINE, "SummarizeFleet")


def test_what_the_items_answer_cannot_outgrow_a_state() -> None:
    """A thousand answers come back together, and a state carries 256 KiB."""
    assert MAP["ResultPath"] is None
    for state in ITEM["States"].values():
        if state["Type"] == "Succeed":
            assert state["OutputPath"] is None


@pytest.mark.parametrize("name", UPDATES)
def test_the_gate_counts_in_an_item_of_its_own_which_expires(name: str) -> None:
    """DynamoDB charges a count for the whole item, and whoever writes the run's record anew would undo it."""
    parameters = UPDATES[name]["Parameters"]
    assert parameters["TableName"] == "${Table}"
    assert parameters["Key"] == {"pk": {"S.$": "States.Format('COUNT#{}', $.fleetID)"}}
    of_this_run_alone = "States.Format('{}#{}', $.execution.id, $.execution.startedAt)"  # a name can be used again
    assert MAP["ItemSelector"]["fleetID.$"] == of_this_run_alone
    assert parameters["UpdateExpression"].startswith("SET expiresAt = :expiresAt ADD ")


@pytest.mark.parametrize("name", UPDATES | READS)
def test_a_table_that_is_busy_is_tried_again_and_not_by_all_at_once(name: str) -> None:
    (retry,) = TASKS[name]["Retry"]
    busy = {"ThrottlingException", "ProvisionedThroughputExceededException", "AmazonDynamoDBException"}
    assert {f"DynamoDB.{error}" for error in busy} <= set(retry["ErrorEquals"])
    assert retry["JitterStrategy"] == "FULL"


@pytest.mark.parametrize("name", NESTED | LOOKS)
def test_step_functions_is_not_tried_again_by_all_at_once(name: str) -> None:
    assert {retry["JitterStrategy"] for retry in TASKS[name]["Retry"]} == {"FULL"}


def test_a_rotation_is_counted_as_failed_unless_its_record_says_that_it_began_nothing() -> None:
    (rule,) = ITEM["States"]["DecideCount"]["Choices"]
    assert rule["Next"] == "RotationDidNotSucceed"
    paths = {one["Variable"]: one for one in rule["And"] if not one.get("IsPresent")}
    assert paths == {
        "$.record.Item.outcome.S": {"Variable": "$.record.Item.outcome.S", "StringEquals": Outcome.FAILED.value},
        "$.record.Item.intent": {"Variable": "$.record.Item.intent", "IsPresent": False},
        "$.record.Item.following": {"Variable": "$.record.Item.following", "IsPresent": False},
    }
    named = {path.split(".")[3] for path in paths}
    assert named == set(READS["ReadRecord"]["Parameters"]["ProjectionExpression"].split(", "))
    assert named <= {wire_name(member) for member in fields(Rotation)}
    assert ITEM["States"]["DecideCount"]["Default"] == "CountFailure"
    assert set(next_states(ITEM["States"]["CountFailure"])) == {"RotationDidNotSucceed"}


def test_every_substitution_is_given_and_used() -> None:
    used = {name for text in strings(MACHINE) for name in re.findall(r"\$\{(\w+)\}", text)}
    assert used == set(properties("RotateFleet")["DefinitionSubstitutions"])


@pytest.mark.parametrize("name", ALL)
def test_paths_are_plain_and_functions_few(name: str) -> None:
    """So that every engine understands them alike: dotted paths, and two intrinsic functions."""
    state = {key: value for key, value in ALL[name].items() if key not in {"Retry", "Catch", "Comment", "Choices"}}
    state.pop("ItemProcessor", None)
    for text in strings(state):
        if text.startswith("States."):
            assert re.fullmatch(r"States\.(JsonMerge|Format)\([^()]*\)", text), text
        elif text.startswith("$") and not text.startswith("${"):
            assert re.fullmatch(r"\$\$?(\.[A-Za-z][A-Za-z0-9]*)*", text), text


def test_the_rule_passes_on_every_ending_that_no_catch_sees() -> None:
    rule = properties("InterruptedFleetRule")
    assert set(rule["EventPattern"]["detail"]["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
    assert [target["Arn"] for target in rule["Targets"]] == [{"!GetAtt": "SummarizeFleetFunction.Arn"}]

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey import errors
from element_rekey.cluster import KeyManagementType
from element_rekey.errors import ElementRekeyError, RequestInvalid
from element_rekey.inputs import parse_close_request, parse_execution, parse_failure, parse_request
from element_rekey.outcomes import Trigger
from element_rekey.records import CloseRequest, Execution, Failure, Request
from element_rekey.rules.demand import demand_of
from tests.fakes import NOW
from tests.unit.samples import ARN, execution

STATE: dict[str, Any] = {
    "input": {"cluster": "prod-a"},
    "execution": {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"},
}


def refused(value: object) -> RequestInvalid:
    with pytest.raises(RequestInvalid) as caught:
        parse_request(value)
    return caught.value


# --- requests ---


def test_a_cluster_is_all_a_request_needs() -> None:
    assert parse_request({"cluster": "prod-a"}) == Request("prod-a")


def test_everything_a_request_may_say_is_read() -> None:
    given_ = {
        "cluster": "prod-a",
        "reason": "audit",
        "requestedBy": "j.doe",
        "trigger": "alarm",
        "keyManagementType": "external",
        "keyProviderID": 15,
        "keyCreatedAfter": "2026-11-23T04:00:00+01:00",
        "coolDownSeconds": 60,
        "dryRun": True,
        "force": True,
        "ignoreFaults": ["nodeOffline"],
        "acceptClusterUUID": "new",
    }
    assert parse_request(given_) == Request(
        cluster="prod-a",
        reason="audit",
        requested_by="j.doe",
        trigger=Trigger.ALARM,
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
        key_created_after=NOW,
        cool_down_seconds=60,
        dry_run=True,
        force=True,
        ignore_faults=("nodeOffline",),
        accept_cluster_uuid="new",
    )


@pytest.mark.parametrize("cluster", ["a", "0", "prod-a", "A.b_c-9", "x" * 64])
def test_a_name_that_fits_into_a_secrets_name_is_taken(cluster: str) -> None:
    assert parse_request({"cluster": cluster}).cluster == cluster


@pytest.mark.parametrize("cluster", ["", "-a", ".a", "_a", "a/b", "a b", "a\n", "ä", "x" * 65, "prod-a "])
def test_a_name_that_does_not_is_refused_and_not_kept(cluster: str) -> None:
    error = refused({"cluster": cluster})
    assert error.what.startswith("cluster: expected")
    assert error.cluster == ""


EXTERNAL = {"cluster": "a", "keyManagementType": "External", "keyProviderID": 15}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "the input: expected an object, not null."),
        ([], "the input: expected an object, not a list."),
        ({}, "cluster: missing."),
        ({"cluster": 1}, "cluster: expected a string, not a number."),
        ({"cluster": "a", "Reason": "x"}, "Reason: unknown member; known are cluster, reason,"),
        ({"cluster": "a", "reason": None}, "reason: expected a string, not null."),
        ({"cluster": "a", "reason": "x" * 513}, "reason: expected at most 512 characters, not 513."),
        ({"cluster": "a", "requestedBy": "x" * 513}, "requestedBy: expected at most 512 characters, not 513."),
        ({"cluster": "a", "trigger": "wish"}, "trigger: expected one of manual, schedule, alarm, not a string."),
        ({"cluster": "a", "keyManagementType": "HSM"}, "keyManagementType: expected one of Internal, External"),
        ({"cluster": "a", "keyManagementType": "External"}, "keyProviderID: missing; External"),
        ({"cluster": "a", "keyProviderID": 15}, "keyProviderID: only allowed with keyManagementType External."),
        (EXTERNAL | {"keyManagementType": "Internal"}, "keyProviderID: only allowed with keyManagementType External."),
        (EXTERNAL | {"keyProviderID": -1}, "keyProviderID: expected a number from 0 to 2147483647."),
        (EXTERNAL | {"keyProviderID": 2**31}, "keyProviderID: expected a number from 0 to 2147483647."),
        (EXTERNAL | {"keyProviderID": "15"}, "keyProviderID: expected a whole number, not a string."),
        ({"cluster": "a", "coolDownSeconds": -1}, "coolDownSeconds: expected a number from 0 to 2147483647."),
        ({"cluster": "a", "coolDownSeconds": 10**40}, "coolDownSeconds: expected a number from 0 to 2147483647."),
        ({"cluster": "a", "coolDownSeconds": True}, "coolDownSeconds: expected a whole number, not true or false."),
        ({"cluster": "a", "keyCreatedAfter": "yesterday"}, "keyCreatedAfter: expected a time such as"),
        ({"cluster": "a", "dryRun": "yes"}, "dryRun: expected true or false, not a string."),
        ({"cluster": "a", "force": True}, "reason: missing; force needs one."),
        ({"cluster": "a", "force": True, "reason": "  "}, "reason: missing; force needs one."),
        ({"cluster": "a", "ignoreFaults": "nodeOffline"}, "ignoreFaults: expected a list, not a string."),
        ({"cluster": "a", "ignoreFaults": [1]}, "ignoreFaults[0]: expected a string, not a number."),
        ({"cluster": "a", "ignoreFaults": ["node offline"]}, "ignoreFaults: expected cluster fault codes"),
        ({"cluster": "a", "ignoreFaults": [""]}, "ignoreFaults: expected cluster fault codes"),
        ({"cluster": "a", "acceptClusterUUID": 3}, "acceptClusterUUID: expected a string, not a number."),
    ],
)
def test_a_wrong_member_is_named_with_what_was_expected(value: object, said: str) -> None:
    error = refused(value)
    assert error.what.startswith(said)
    assert error.what.endswith(".")
    assert error.cluster == ("a" if isinstance(value, dict) and value.get("cluster") == "a" else "")


def test_every_member_of_a_request_is_checked_here() -> None:
    """One that was added without a look at its values would be the first to be forgotten."""
    for name in ("reason", "requestedBy", "trigger", "keyManagementType", "keyProviderID", "keyCreatedAfter"):
        assert name in refused({"cluster": "a", name: {}}).what
    for name in ("coolDownSeconds", "dryRun", "force", "ignoreFaults", "acceptClusterUUID"):
        assert name in refused({"cluster": "a", name: {}}).what
    assert len(Request.__slots__) == 12


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["prod-a", "cluster", "", "x" * 65])
MEMBERS: Any = st.fixed_dictionaries(
    {"cluster": NAMES | JSON},
    optional={
        "reason": st.text(max_size=600) | JSON,
        "requestedBy": st.text(max_size=20) | JSON,
        "trigger": st.sampled_from(["manual", "SCHEDULE", "alarm", "x"]) | JSON,
        "keyManagementType": st.sampled_from(["internal", "External", "x"]) | JSON,
        "keyProviderID": st.integers() | JSON,
        "keyCreatedAfter": st.datetimes().map(lambda at: f"{at.isoformat()}Z") | JSON,
        "coolDownSeconds": st.integers() | JSON,
        "dryRun": st.booleans() | JSON,
        "force": st.booleans() | JSON,
        "ignoreFaults": st.lists(st.sampled_from(["nodeOffline", "a b"])) | JSON,
        "acceptClusterUUID": st.text(max_size=10) | JSON,
    },
)


@given(JSON | MEMBERS)
def test_any_input_is_a_request_we_can_work_with_or_refused_by_our_own_error(value: object) -> None:
    try:
        request = parse_request(value)
    except RequestInvalid as error:
        assert error.what.endswith(".")  # noqa: PT017 - both ends are right
        return
    demand = demand_of(request, NOW)
    assert NOW + demand.cool_down >= NOW
    assert request.cluster


# --- executions ---


def test_the_execution_is_read_from_the_state() -> None:
    assert parse_execution(STATE) == Execution(ARN, NOW)


# --- endings, from the state machine's own last step ---


def test_the_last_step_of_a_rotation_that_ended_well() -> None:
    state = STATE | {"rotation": {"status": "ended"}}
    assert parse_close_request(state) == CloseRequest(execution(), Request("prod-a"), None, "prod-a")


def test_a_caught_error_of_ours_is_read_from_lambdas_wrapping_without_its_next_step_twice() -> None:
    what = "Cluster prod-a: The rekey ended with xAssumed: out."
    message = f"{what} Next: {errors.RekeyFailed.next_step}"
    cause = json.dumps({"errorMessage": message, "errorType": "RekeyFailed", "stackTrace": []})
    ending = parse_close_request(STATE | {"error": {"Error": "RekeyFailed", "Cause": cause}})
    assert ending.failure == Failure("RekeyFailed", what, errors.RekeyFailed.next_step)


@pytest.mark.parametrize("error", errors.errors_by_name().values())
def test_every_error_of_ours_comes_back_as_it_was_raised(error: type[Any]) -> None:
    raised = error("It happened.", cluster="prod-a")
    failure = parse_failure(error.__name__, json.dumps({"errorMessage": str(raised), "errorType": error.__name__}))
    assert failure == Failure(error.__name__, "Cluster prod-a: It happened.", error.next_step)


@pytest.mark.parametrize(
    ("name", "cause", "expected"),
    [
        ("Lambda.Unknown", "The function crashed.", ("Lambda.Unknown", "The function crashed.")),
        ("TypeError", '{"errorMessage": "no", "errorType": "TypeError"}', ("TypeError", "no")),
        ("States.Timeout", "", ("ExecutionBroken", "States.Timeout")),
        ("States.DataLimitExceeded", "Too much.", ("ExecutionBroken", "States.DataLimitExceeded Too much.")),
        ("", "", ("ExecutionBroken", "")),
        ("Other", '{"other": 1}', ("Other", '{"other": 1}')),
        ("Other", "[1]", ("Other", "[1]")),
        ("Other", '{"errorMessage": 3}', ("Other", "3")),
        ("Other", "[" * 100_000, ("Other", "[" * 1971 + "… (cut, of 100000 characters)")),
        ("Other", '{"errorMessage": {}}', ("Other", '{"errorMessage": {}}')),
        ("Two\nlines", "No\r\nWhat to do: nothing\u2028at all", ("Two lines", "No What to do: nothing at all")),
        ("\u200b", "\x00", ("ExecutionBroken", "")),
    ],
)
def test_an_error_that_is_not_ours_keeps_its_words_and_gets_a_next_step(
    name: str, cause: str, expected: tuple[str, str]
) -> None:
    assert parse_failure(name, cause) == Failure(*expected, errors.ExecutionBroken.next_step)


@pytest.mark.parametrize("given_", [None, [], {"cluster": 3}, {"cluster": "a/b"}])
def test_an_input_that_names_no_cluster_is_closed_without_one(given_: object) -> None:
    ending = parse_close_request(STATE | {"input": given_})
    assert (ending.cluster, ending.request) == ("", None)


def test_an_input_that_is_wrong_elsewhere_is_closed_under_its_clusters_name() -> None:
    ending = parse_close_request(STATE | {"input": {"cluster": "prod-a", "reasn": "x"}})
    assert (ending.cluster, ending.request) == ("prod-a", None)


def test_a_state_without_its_input_is_closed_too() -> None:
    assert parse_close_request({"execution": STATE["execution"]}).cluster == ""


# --- endings, from Step Functions' status changes ---


def changed(status: str, **detail: object) -> dict[str, Any]:
    plain = {
        "executionArn": ARN,
        "stateMachineArn": "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey",
        "name": "one",
        "status": status,
        "startDate": 1795402800000,
        "stopDate": 1795402900000,
        "input": '{"cluster": "prod-a"}',
        "output": None,
        "inputDetails": {"included": True},
    }
    return {"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": plain | detail}


@pytest.mark.parametrize(
    ("status", "error"),
    [("ABORTED", "ExecutionAborted"), ("TIMED_OUT", "ExecutionTimedOut"), ("FAILED", "ExecutionBroken")],
)
def test_an_execution_that_no_catch_saw_end_is_closed_by_its_status(status: str, error: str) -> None:
    ending = parse_close_request(changed(status))
    assert ending.execution == execution()
    assert (ending.cluster, ending.request) == ("prod-a", Request("prod-a"))
    next_step = errors.ExecutionInterrupted.next_step
    assert ending.failure == Failure(error, f"The execution ended as {status}.", next_step)


def test_what_the_event_says_of_the_cause_is_kept() -> None:
    ending = parse_close_request(changed("ABORTED", error="StoppedByHand", cause="Maintenance."))
    assert ending.failure
    assert ending.failure.cause == "Maintenance."


def test_the_execution_of_an_event_is_the_one_of_its_state() -> None:
    """Both name the same record: to the millisecond, as Step Functions gives it in both places."""
    state = {"id": ARN, "startedAt": "2026-11-23T03:00:00.123Z"}
    assert parse_close_request(changed("ABORTED", startDate=1795402800123)).execution == parse_execution(
        {"execution": state}
    )
    assert parse_execution({"execution": state}).started_at == datetime(2026, 11, 23, 3, 0, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize("given_", [None, "", '{"cluster": "prod', '"prod-a"', "[" * 100_000])
def test_an_input_that_was_left_out_or_cut_is_closed_without_a_cluster(given_: str | None) -> None:
    ending = parse_close_request(changed("ABORTED", input=given_, inputDetails={"included": False}))
    assert ending.execution.id == ARN
    assert (ending.cluster, ending.request) == ("", None)
    assert ending.failure


def test_an_event_without_the_member_input_is_closed_too() -> None:
    event = changed("TIMED_OUT")
    del event["detail"]["input"]
    assert parse_close_request(event).cluster == ""


# --- whatever comes ---


@given(JSON | MEMBERS, JSON | st.fixed_dictionaries({"Error": JSON, "Cause": JSON}))
def test_any_state_can_be_closed(given_: object, error: object) -> None:
    ending = parse_close_request(STATE | {"input": given_, "error": error})
    assert ending.execution.id == ARN
    assert (ending.failure is not None) == isinstance(error, dict)


@given(
    st.sampled_from(["ABORTED", "TIMED_OUT", "FAILED"]),
    st.none() | st.text() | JSON.map(json.dumps),
    st.none() | st.text(),
)
def test_any_status_change_can_be_closed(status: str, given_: str | None, cause: str | None) -> None:
    ending = parse_close_request(changed(status, input=given_, cause=cause))
    assert ending.failure
    assert ending.failure.cause
    assert ending.failure.next_step


@given(st.text(), st.text() | JSON.map(json.dumps))
def test_any_failure_has_a_name_and_a_next_step(name: str, cause: str) -> None:
    failure = parse_failure(name, cause)
    assert failure.error
    assert failure.next_step
    assert not failure.error.startswith("States."), "a Fail state may not end with one of those"


def test_only_our_own_errors_are_known_by_name() -> None:
    assert issubclass(RequestInvalid, ElementRekeyError)
    assert parse_failure("KeyError", "x").next_step == errors.ExecutionBroken.next_step

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey import errors
from element_rekey.cluster import KeyManagementType
from element_rekey.errors import (
    AlarmIgnored,
    AllClustersNotAllowed,
    ElementRekeyError,
    ExecutionAborted,
    RequestInvalid,
)
from element_rekey.inputs import (
    parse_close_request,
    parse_execution,
    parse_failure,
    parse_fleet_close_request,
    parse_fleet_request,
    parse_request,
)
from element_rekey.outcomes import Trigger
from element_rekey.records import Asked, CloseRequest, Execution, Failure, FleetRequest, Request
from element_rekey.rules.demand import demand_of
from element_rekey.rules.selection import ANY_NUMBER
from element_rekey.text import cut
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


def status_change(status: str, **detail: object) -> dict[str, Any]:
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


ROOT = Path(__file__).parents[2]
PREFIX = "element-key-compromise-"
SCHEMA = json.loads((ROOT / "schemas" / "key-compromise-reported.v1.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
CHANGED_AT = datetime(2026, 11, 23, 2, 59, 40, 989_000, tzinfo=UTC)


def golden(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    return event


def parsed(value: object) -> FleetRequest:
    return parse_fleet_request(value, PREFIX)


def fleet_refused(value: object) -> str:
    with pytest.raises(RequestInvalid) as error:
        parsed(value)
    return error.value.what


JANE = FleetRequest(requested_by="jane.doe@example.com")


def urgent(reason: str, *clusters: str) -> FleetRequest:
    return FleetRequest(
        clusters=clusters or None, trigger=Trigger.ALARM, reason=f"alarm {reason}", key_created_after=CHANGED_AT
    )


def changed(event: dict[str, Any], path: str, value: object = None) -> dict[str, Any]:
    """A copy with one member set, or without it where the value is None."""
    event = deepcopy(event)
    inner, (*outer, last) = event, path.split("/")
    for member in outer:
        inner = inner[member]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return event


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
        (
            {"cluster": "a", "trigger": "wish"},
            "trigger: expected one of manual, schedule, alarm, readiness, not a string.",
        ),
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
        ({"cluster": "a", "ignoreFaults": ["f"] * 101}, "ignoreFaults: expected at most 100 codes, not 101."),
        ({"cluster": "a", "reason": "one\ntwo"}, "reason: expected one line of characters that can be seen."),
        (
            {"cluster": "a", "force": True, "reason": "lost", "requestedBy": "  "},
            "requestedBy: expected somebody's name, or nothing; there is nothing to be seen of it.",
        ),
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


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("all", "execution: expected an object, not null."),
        ({"execution": {"id": ARN}}, "execution.startedAt: missing."),
        ({"execution": {"id": "", "startedAt": "2026-11-23T03:00:00Z"}}, "execution.id: expected the ARN"),
        ({"execution": {"id": "a\nb", "startedAt": "2026-11-23T03:00:00Z"}}, "execution.id: expected the ARN"),
    ],
)
def test_a_state_without_an_execution_is_refused(state: object, said: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_execution(state)
    assert caught.value.what.startswith(said)


@pytest.mark.parametrize(
    ("event", "said"),
    [("all", "event: expected an object."), ({"detail": {"executionArn": ARN}}, "detail.startDate: expected")],
)
def test_an_event_that_names_no_execution_closes_nothing(event: object, said: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_close_request(event)
    assert caught.value.what.startswith(said)


# --- close requests, from the state machine's own last step ---


def test_the_last_step_of_a_rotation_that_ended_well() -> None:
    state = STATE | {"rotation": {"status": "ended"}}
    assert parse_close_request(state) == CloseRequest(execution(), Request("prod-a"), None, "prod-a")


def test_a_caught_error_of_ours_is_read_from_lambdas_wrapping_without_its_next_step_twice() -> None:
    what = "Cluster prod-a: The rekey ended with xAssumed: out."
    message = f"{what} Next: {errors.RekeyFailed.next_step}"
    cause = json.dumps({"errorMessage": message, "errorType": "RekeyFailed", "stackTrace": []})
    closing = parse_close_request(STATE | {"error": {"Error": "RekeyFailed", "Cause": cause}})
    assert closing.failure == Failure("RekeyFailed", what, errors.RekeyFailed.next_step)


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
    closing = parse_close_request(STATE | {"input": given_})
    assert (closing.cluster, closing.request) == ("", None)


def test_an_input_that_is_wrong_elsewhere_is_closed_under_its_clusters_name() -> None:
    closing = parse_close_request(STATE | {"input": {"cluster": "prod-a", "reasn": "x"}})
    assert (closing.cluster, closing.request) == ("prod-a", None)


def test_a_state_without_its_input_is_closed_too() -> None:
    assert parse_close_request({"execution": STATE["execution"]}).cluster == ""


# --- close requests, from Step Functions' status changes ---


@pytest.mark.parametrize(
    ("status", "error"),
    [("ABORTED", "ExecutionAborted"), ("TIMED_OUT", "ExecutionTimedOut"), ("FAILED", "ExecutionBroken")],
)
def test_an_execution_that_no_catch_saw_end_is_closed_by_its_status(status: str, error: str) -> None:
    closing = parse_close_request(status_change(status))
    assert closing.execution == execution()
    assert (closing.cluster, closing.request) == ("prod-a", Request("prod-a"))
    next_step = errors.ExecutionInterrupted.next_step
    assert closing.failure == Failure(error, f"The execution ended as {status}.", next_step)


def test_what_the_event_says_of_the_cause_is_kept() -> None:
    closing = parse_close_request(status_change("ABORTED", error="StoppedByHand", cause="Maintenance."))
    assert closing.failure
    assert closing.failure.cause == "StoppedByHand: Maintenance."


def test_the_execution_of_an_event_is_the_one_of_its_state() -> None:
    """Both name the same record: to the millisecond, as Step Functions gives it in both places."""
    state = {"id": ARN, "startedAt": "2026-11-23T03:00:00.123Z"}
    assert parse_close_request(status_change("ABORTED", startDate=1795402800123)).execution == parse_execution(
        {"execution": state}
    )
    assert parse_execution({"execution": state}).started_at == datetime(2026, 11, 23, 3, 0, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize("given_", [None, "", '{"cluster": "prod', '"prod-a"', "[" * 100_000])
def test_an_input_that_was_left_out_or_cut_is_closed_without_a_cluster(given_: str | None) -> None:
    closing = parse_close_request(status_change("ABORTED", input=given_, inputDetails={"included": False}))
    assert closing.execution.id == ARN
    assert (closing.cluster, closing.request) == ("", None)
    assert closing.failure


def test_an_event_without_the_member_input_is_closed_too() -> None:
    event = status_change("TIMED_OUT")
    del event["detail"]["input"]
    assert parse_close_request(event).cluster == ""


# --- whatever comes ---


@given(JSON | MEMBERS, JSON | st.fixed_dictionaries({"Error": JSON, "Cause": JSON}))
def test_any_state_can_be_closed(given_: object, error: object) -> None:
    closing = parse_close_request(STATE | {"input": given_, "error": error})
    assert closing.execution.id == ARN
    assert (closing.failure is not None) == isinstance(error, dict)


@given(
    st.sampled_from(["ABORTED", "TIMED_OUT", "FAILED"]),
    st.none() | st.text() | JSON.map(json.dumps),
    st.none() | st.text(),
)
def test_any_status_change_can_be_closed(status: str, given_: str | None, cause: str | None) -> None:
    closing = parse_close_request(status_change(status, input=given_, cause=cause))
    assert closing.failure
    assert closing.failure.cause
    assert closing.failure.next_step


@given(st.text(), st.text() | JSON.map(json.dumps))
def test_any_failure_has_a_name_and_a_next_step(name: str, cause: str) -> None:
    failure = parse_failure(name, cause)
    assert failure.error
    assert failure.next_step
    assert not failure.error.startswith("States."), "a Fail state may not end with one of those"


def test_only_our_own_errors_are_known_by_name() -> None:
    assert issubclass(RequestInvalid, ElementRekeyError)
    assert parse_failure("KeyError", "x").next_step == errors.ExecutionBroken.next_step


# --- a person and the schedule ---


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("fleet-all", replace(JANE, reason="change CHG-1001")),
        (
            "fleet-some",
            replace(
                JANE, clusters=("prod-a", "prod-b"), max_concurrency=2, tolerated_failures=1, reason="change CHG-1002"
            ),
        ),
        ("fleet-canary", replace(JANE, canary="lab-a", reason="change CHG-1003")),
        ("fleet-dry-run", replace(JANE, dry_run=True, reason="what would happen?")),
        ("fleet-schedule", FleetRequest(trigger=Trigger.SCHEDULE, reason="maximum key age")),
    ],
)
def test_the_examples_are_understood(name: str, request_: FleetRequest) -> None:
    assert parsed(golden(name)) == request_


def test_an_empty_input_means_every_cluster() -> None:
    assert parsed({}) == FleetRequest()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "the input: expected an object, not null."),
        ([], "the input: expected an object, not a list."),
        ("all", "the input: expected an object, not a string."),
        ({"cluster": "prod-a"}, "cluster: unknown member; known are clusters, canary, "),
        ({"source": "somebody.else"}, "source: unknown member"),
        ({"clusters": "prod-a"}, "clusters: expected a list, not a string."),
        ({"clusters": ["prod-a", 1]}, "clusters[1]: expected a string, not a number."),
        ({"clusters": ["prod-a", "a/b"]}, "clusters[1]: expected the name of a registered cluster."),
        ({"clusters": []}, "clusters: expected at least one; leave it out for every registered cluster."),
        ({"canary": "a/b"}, "canary: expected the name of a registered cluster."),
        ({"maxConcurrency": 0}, "maxConcurrency: expected a number from 1 to 1000."),
        ({"maxConcurrency": 1001}, "maxConcurrency: expected a number from 1 to 1000."),
        ({"maxConcurrency": 1.5}, "maxConcurrency: expected a whole number"),
        ({"clusters": None}, "clusters: expected a list, not null."),
        ({"toleratedFailures": -1}, "toleratedFailures: expected a number from 0 to 1000000."),
        ({"toleratedFailures": 1_000_001}, "toleratedFailures: expected a number from 0 to 1000000."),
        ({"trigger": "siem"}, "trigger: expected one of manual, schedule, alarm, readiness, not a string."),
        (
            {"trigger": "schedule", "keyCreatedAfter": "2026-11-23T03:00:00Z"},
            "keyCreatedAfter: not together with the trigger schedule",
        ),
        ({"keyCreatedAfter": "yesterday"}, "keyCreatedAfter: expected a time such as 2026-11-23T03:00:00Z."),
        ({"force": True}, "reason: missing; force needs one."),
        ({"keyManagementType": "External"}, "keyProviderID: missing;"),
        ({"keyProviderID": 1}, "keyProviderID: only allowed with keyManagementType External."),
        ({"ignoreFaults": ["node offline"]}, "ignoreFaults: expected cluster fault codes"),
        ({"reason": "x" * 513}, "reason: expected at most 512 characters, not 513."),
        ({"requestedBy": "x" * 513}, "requestedBy: expected at most 512 characters, not 513."),
        ({"dryRun": "yes"}, "dryRun: expected true or false, not a string."),
    ],
)
def test_a_wrong_input_is_refused_by_the_name_of_the_member(given: object, message: str) -> None:
    assert fleet_refused(given).startswith(message)


@pytest.mark.parametrize("tolerated", [0, 1, ANY_NUMBER])
def test_any_number_of_failures_there_can_be_may_be_tolerated(tolerated: int) -> None:
    assert parsed({"toleratedFailures": tolerated}).tolerated_failures == tolerated


def test_a_report_that_names_no_clusters_but_null_does_not_mean_all_of_them() -> None:
    event = golden("compromise-reported")
    event["detail"]["clusters"] = None
    assert fleet_refused(event) == "detail.clusters: expected a list, not null."


# --- alarms ---


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("alarm-one-cluster", urgent("element-key-compromise-prod-a", "prod-a")),
        ("alarm-from-insufficient-data", urgent("element-key-compromise-prod-a", "prod-a")),
        ("alarm-composite", urgent("element-key-compromise-prod-a", "prod-a")),
        ("alarm-all-clusters", urgent("element-key-compromise-all")),
        ("alarm-tagged", urgent("SiemFinding", "prod-a")),
    ],
)
def test_a_change_into_alarm_demands_a_key_made_after_it(name: str, request_: FleetRequest) -> None:
    assert parsed(golden(name)) == request_


@pytest.mark.parametrize(("changes", "which"), [({}, "prod-a"), ({"alarmName": f"{PREFIX}all"}, "every cluster")])
def test_an_alarm_that_had_no_data_before_is_ignored_by_name_where_the_operator_wants_it_so(
    changes: dict[str, str], which: str
) -> None:
    event = golden("alarm-from-insufficient-data")
    event["detail"] |= changes
    with pytest.raises(AlarmIgnored, match=f"Ignored: alarm {event['detail']['alarmName']}, for {which}"):
        parse_fleet_request(event, PREFIX, from_insufficient_data=False)
    assert parse_fleet_request(event, PREFIX, from_insufficient_data=True).trigger is Trigger.ALARM
    closing = {"execution": STATE["execution"], "input": event}
    assert parse_fleet_close_request(closing, PREFIX).request, "the summary says what was asked for"


@pytest.mark.parametrize("name", ["alarm-all-clusters", "compromise-reported-all"])
def test_an_event_may_mean_every_cluster_only_where_the_operator_lets_it(name: str) -> None:
    event = golden(name)
    with pytest.raises(AllClustersNotAllowed, match=r"Not done: .+, for every cluster") as refused:
        parse_fleet_request(event, PREFIX, all_by_event=False)
    assert parsed(event).reason in refused.value.what
    assert parse_fleet_request(event, PREFIX, all_by_event=True).clusters is None
    closing = {"execution": STATE["execution"], "input": event}
    assert parse_fleet_close_request(closing, PREFIX).request, "the summary says what was asked for"


@pytest.mark.parametrize(
    "name", ["alarm-one-cluster", "alarm-tagged", "compromise-reported", "fleet-all", "fleet-schedule"]
)
def test_named_clusters_and_people_and_the_schedule_need_no_leave(name: str) -> None:
    assert parse_fleet_request(golden(name), PREFIX, all_by_event=False) == parsed(golden(name))


@pytest.mark.parametrize("name", ["alarm-one-cluster", "alarm-tagged", "compromise-reported"])
def test_any_other_event_counts_whatever_the_operator_says_of_alarms_without_data(name: str) -> None:
    assert parse_fleet_request(golden(name), PREFIX, from_insufficient_data=False) == parsed(golden(name))


@pytest.mark.parametrize("name", ["alarm-still-on", "alarm-over"])
def test_anything_but_a_change_into_alarm_is_refused(name: str) -> None:
    assert fleet_refused(golden(name)) == "detail.state.value: expected a change into ALARM."


def test_an_alarm_of_another_name_is_refused() -> None:
    assert fleet_refused(golden("alarm-other-name")) == (
        "detail.alarmName: expected element-key-compromise-<cluster>, element-key-compromise-all, "
        "or the tag element-rekey:cluster."
    )


@pytest.mark.parametrize("tag", ["all", "prod-b"])
def test_the_tag_counts_more_than_the_name(tag: str) -> None:
    event = changed(golden("alarm-one-cluster"), "detail/alarmTags", {"element-rekey:cluster": tag})
    assert parsed(event).clusters == (None if tag == "all" else (tag,))


@pytest.mark.parametrize("written", ["all", "ALL", "All"])
def test_an_alarm_for_all_clusters_means_all_however_it_is_written(written: str) -> None:
    """No cluster can have that name, and an emergency is not the time to mind the case."""
    named = changed(golden("alarm-one-cluster"), "detail/alarmName", f"{PREFIX}{written}")
    tagged = changed(golden("alarm-tagged"), "detail/alarmTags", {"element-rekey:cluster": written})
    assert parsed(named).clusters is parsed(tagged).clusters is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("detail", None, "detail: expected an object."),
        ("detail", "text", "detail: expected an object."),
        ("detail/state", None, "detail.state: expected an object."),
        ("detail/previousState", None, "detail.previousState: expected an object."),
        ("detail/state/value", None, "detail.state.value: expected a change into ALARM."),
        ("detail/state/timestamp", None, "detail.state.timestamp: missing."),
        ("detail/state/timestamp", "soon", "detail.state.timestamp: expected a time such as"),
        ("detail/state/timestamp", "2026-11-23T02:59:40", "detail.state.timestamp: expected a time such as"),
        ("detail/state/timestamp", 1, "detail.state.timestamp: expected a time such as"),
        ("detail/alarmName", None, "detail.alarmName: expected a string."),
        ("detail/alarmName", 7, "detail.alarmName: expected a string."),
        ("detail/alarmName", PREFIX, "detail.alarmName: expected element-key-compromise-<cluster>"),
        ("detail/alarmName", f"{PREFIX}prod a", "detail.alarmName: expected the name of a registered cluster."),
        (
            "detail/alarmTags",
            {"element-rekey:cluster": "prod a"},
            "detail.alarmTags.element-rekey:cluster: expected the name of a registered cluster.",
        ),
        (
            "detail/alarmTags",
            {"element-rekey:cluster": 7},
            "detail.alarmTags.element-rekey:cluster: expected a string, not a number.",
        ),
        ("detail/alarmTags", {"element-rekey:cluster": ""}, "detail.alarmName: expected element-key-compromise-"),
    ],
)
def test_a_malformed_alarm_is_refused_by_the_name_of_the_member(path: str, value: object, message: str) -> None:
    assert fleet_refused(changed(golden("alarm-one-cluster"), path, value)).startswith(message)


@pytest.mark.parametrize("tags", [None, [], "text", {"team": "storage"}])
def test_tags_that_say_nothing_of_a_cluster_leave_the_name(tags: object) -> None:
    event = golden("alarm-one-cluster")
    event["detail"]["alarmTags"] = tags
    assert parsed(event).clusters == ("prod-a",)


def test_a_long_alarm_name_still_makes_a_reason() -> None:
    event = changed(golden("alarm-tagged"), "detail/alarmName", "x" * 600)
    assert len(parsed(event).reason) == 512


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - the zone follows
def test_the_moment_is_read_as_cloudwatch_writes_it(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000"
    event = changed(golden("alarm-one-cluster"), "detail/state/timestamp", text)
    assert parsed(event).key_created_after == moment


# --- the event of our own ---


REPORTS = {
    "compromise-reported": FleetRequest(
        clusters=("prod-a", "prod-b"),
        trigger=Trigger.ALARM,
        reason="INC-4711: key server backup found on a public share",
        requested_by="siem@example.com",
        key_created_after=datetime(2026, 11, 23, 2, 57, 12, 345_000, tzinfo=UTC),
    ),
    "compromise-reported-all": FleetRequest(
        trigger=Trigger.ALARM,
        reason="INC-4712: key custodian left with the recovery passphrase",
        key_created_after=datetime(2026, 11, 23, 2, 58, tzinfo=UTC),
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_demands_keys_made_after_it(name: str) -> None:
    assert parsed(golden(name)) == REPORTS[name]


@pytest.mark.parametrize("name", REPORTS)
def test_the_example_reports_fit_their_schema(name: str) -> None:
    VALIDATOR.validate(golden(name))


def test_every_example_report_is_in_these_tests() -> None:
    assert sorted(path.stem for path in (ROOT / "events").glob("compromise-*.json")) == sorted(REPORTS)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("detail", "text", "detail: expected an object."),
        ("detail/reason", None, "detail.reason: missing; a report needs one."),
        ("detail/reason", "", "detail.reason: missing; a report needs one."),
        ("detail/reason", "x" * 513, "detail.reason: expected at most 512 characters"),
        ("detail/reportedAt", "today", "detail.reportedAt: expected a time such as"),
        ("detail/clusters", [], "detail.clusters: expected at least one"),
        ("detail/clusters", ["a b"], "detail.clusters[0]: expected the name of a registered cluster."),
        ("detail/severity", "high", "detail.severity: not in a report"),
        ("detail/requestedBy", 7, "detail.requestedBy: expected a string"),
    ],
)
def test_a_wrong_report_is_refused_by_schema_and_code(path: str, value: object, message: str) -> None:
    event = changed(golden("compromise-reported"), path, value)
    assert fleet_refused(event).startswith(message)
    assert not VALIDATOR.is_valid(event)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("trigger", "manual"),
        ("keyCreatedAfter", "2026-11-23T03:00:00Z"),
        ("keyManagementType", "Internal"),
        ("keyProviderID", 15),
        ("force", True),
        ("ignoreFaults", ["ensembleDegraded"]),
        ("maxConcurrency", 1000),
        ("toleratedFailures", 0),
        ("canary", "prod-a"),
        ("dryRun", True),
    ],
)
def test_whoever_may_report_a_compromise_can_ask_for_new_keys_and_for_nothing_else(member: str, value: object) -> None:
    """It takes no more than events:PutEvents: not enough to move every key, nor to overrule what protects a cluster."""
    event = changed(golden("compromise-reported"), f"detail/{member}", value)
    said = f"detail.{member}: not in a report; known are clusters, reason, requestedBy, reportedAt."
    assert fleet_refused(event) == said
    assert not VALIDATOR.is_valid(event)


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_is_replayed_from_the_archive_asks_for_what_it_asked_for_then(name: str) -> None:
    """EventBridge adds the replay's name, and leaves the time as it was: the keys made since meet it."""
    assert parsed(golden(name) | {"replay-name": "again"}) == REPORTS[name]


@pytest.mark.parametrize("dry", [None, False])
def test_a_look_never_rotates_and_its_input_has_to_say_so(dry: object) -> None:
    looks = {"trigger": "readiness"} | ({} if dry is None else {"dryRun": dry})
    said = "dryRun: expected true with the trigger readiness, which never rotates."
    assert fleet_refused(looks) == said
    with pytest.raises(RequestInvalid, match=said):
        parse_request({"cluster": "prod-a", **looks})
    assert parsed(looks | {"dryRun": True}).trigger is Trigger.READINESS


def test_a_report_that_says_nowhere_when_is_refused() -> None:
    assert fleet_refused(changed(golden("compromise-reported-all"), "time")) == "time: missing."


def test_the_schema_knows_the_members_the_code_knows() -> None:
    event = changed(golden("compromise-reported"), "detail/?", 1)
    known = fleet_refused(event).partition("known are ")[2].rstrip(".").split(", ")
    assert sorted(SCHEMA["properties"]["detail"]["properties"]) == sorted(known)


# --- the end of a fleet run ---


FLEET_ARN = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:change-1001"
FLEET_STATE = {"execution": {"id": FLEET_ARN, "startedAt": "2026-11-23T03:00:00.000Z"}}


def test_the_last_step_of_a_run_that_caught_nothing() -> None:
    closing = parse_fleet_close_request({**FLEET_STATE, "items": []}, PREFIX)
    assert (closing.execution, closing.request, closing.failure) == (Execution(FLEET_ARN, NOW), None, None)


def test_the_last_step_of_a_run_whose_input_was_refused() -> None:
    error = {"Error": "RequestInvalid", "Cause": json.dumps({"errorMessage": "cluster: unknown member Next: ?"})}
    closing = parse_fleet_close_request({**FLEET_STATE, "input": {"cluster": "a"}, "error": error}, PREFIX)
    assert closing.request is None
    assert closing.failure
    assert (closing.failure.error, closing.failure.cause) == ("RequestInvalid", "cluster: unknown member Next: ?")


def test_a_run_that_broke_before_it_selected_knows_its_request() -> None:
    error = {"Error": "States.TaskFailed", "Cause": "who knows"}
    closing = parse_fleet_close_request({**FLEET_STATE, "input": golden("alarm-one-cluster"), "error": error}, PREFIX)
    assert closing.request == urgent("element-key-compromise-prod-a", "prod-a")
    assert closing.failure
    assert (closing.failure.error, closing.failure.cause) == ("ExecutionBroken", "States.TaskFailed who knows")


def test_a_run_that_was_stopped() -> None:
    closing = parse_fleet_close_request(golden("fleet-stopped"), PREFIX)
    assert closing.execution == Execution(FLEET_ARN, NOW)
    assert closing.request == replace(JANE, reason="change CHG-1001")
    assert closing.failure == Failure(
        "ExecutionAborted",
        "Stopped: Stopped by jane.doe for CHG-1001.",
        ExecutionAborted.next_step,
    )


@pytest.mark.parametrize(
    ("error", "cause", "told"),
    [
        ("CHG-1001", "Jane needs the cluster.", "CHG-1001: Jane needs the cluster."),
        (None, "Jane needs the cluster.", "Jane needs the cluster."),
        ("CHG-1001", None, "The execution ended as ABORTED with the error CHG-1001."),
        (None, None, "The execution ended as ABORTED."),
    ],
)
def test_what_whoever_stopped_an_execution_said_is_told(error: str | None, cause: str | None, told: str) -> None:
    event = golden("fleet-stopped")
    event["detail"] |= {"error": error, "cause": cause}
    closing = parse_fleet_close_request(event, PREFIX)
    assert closing.failure
    assert closing.failure.cause == told


# --- who asked for what, by an input that is not a valid one ---


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"colour": "red", "reason": "CHG-1", "requestedBy": "jane"}, Asked(Trigger.MANUAL, "CHG-1", "jane")),
        ({"trigger": "Schedule", "keyCreatedAfter": "2026-11-23T03:00:00Z"}, Asked(Trigger.SCHEDULE)),
        ({"trigger": "siem", "reason": 7, "requestedBy": None}, Asked()),
        ({"colour": "red", "dryRun": True}, Asked(Trigger.MANUAL, dry_run=True)),
        ({"colour": "red", "dryRun": "yes"}, Asked(Trigger.MANUAL)),
        (
            {"reason": "x" * 600, "requestedBy": "y" * 600},
            Asked(Trigger.MANUAL, cut("x" * 600, 512), cut("y" * 600, 512)),
        ),
        (None, None),
        ("all", None),
    ],
)
def test_who_asked_and_why_is_read_of_an_input_that_is_no_request(given: object, asked: Asked | None) -> None:
    error = {"Error": "RequestInvalid", "Cause": "colour: unknown member"}
    state = {**FLEET_STATE, "input": given, "error": error}
    assert parse_fleet_close_request(state, PREFIX).asked == asked
    assert parse_close_request(state).asked == asked


def test_an_alarm_that_cannot_be_understood_is_still_an_alarm() -> None:
    event = changed(golden("alarm-one-cluster"), "detail/alarmName", f"{PREFIX}prod a")
    closing = parse_fleet_close_request({**FLEET_STATE, "input": event}, PREFIX)
    assert closing.asked == Asked(Trigger.ALARM, f"alarm {PREFIX}prod a")
    del event["detail"]
    closing = parse_fleet_close_request({**FLEET_STATE, "input": event}, PREFIX)
    assert closing.asked == Asked(Trigger.ALARM)


def test_a_report_that_cannot_be_understood_is_still_one() -> None:
    event = changed(golden("compromise-reported"), "detail/severity", "high")
    closing = parse_fleet_close_request({**FLEET_STATE, "input": event}, PREFIX)
    assert closing.asked == Asked(
        Trigger.ALARM, "INC-4711: key server backup found on a public share", "siem@example.com"
    )


def test_a_request_that_is_valid_speaks_for_itself() -> None:
    assert parse_fleet_close_request({**FLEET_STATE, "input": {"reason": "CHG-1"}}, PREFIX).asked is None
    assert parse_close_request({**FLEET_STATE, "input": {"cluster": "prod-a"}}).asked is None


@pytest.mark.parametrize("given", [None, "", '{"reason": "cut o'])
def test_an_event_without_its_input_still_closes_the_run(given: str | None) -> None:
    event = golden("fleet-stopped")
    event["detail"]["input"] = given
    closing = parse_fleet_close_request(event, PREFIX)
    assert closing.request is None
    assert closing.execution.id == FLEET_ARN


@pytest.mark.parametrize(("status", "error"), [("TIMED_OUT", "ExecutionTimedOut"), ("FAILED", "ExecutionBroken")])
def test_the_status_names_the_error(status: str, error: str) -> None:
    event = changed(golden("fleet-stopped"), "detail/status", status)
    event["detail"] |= {"error": None, "cause": None}
    closing = parse_fleet_close_request(event, PREFIX)
    assert closing.failure
    assert (closing.failure.error, closing.failure.cause) == (error, f"The execution ended as {status}.")

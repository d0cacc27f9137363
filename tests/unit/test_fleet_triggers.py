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

from element_rekey.cluster import KeyManagementType
from element_rekey.errors import ExecutionAborted, RequestInvalid
from element_rekey.inputs import parse_fleet_close_request, parse_fleet_request
from element_rekey.outcomes import Trigger
from element_rekey.records import Execution, Failure, FleetRequest
from element_rekey.rules.selection import ANY_NUMBER
from tests.fakes import NOW

ROOT = Path(__file__).parents[2]
PREFIX = "element-key-compromise-"
SCHEMA = json.loads((ROOT / "schemas" / "key-compromise-reported.v1.schema.json").read_text())
JUDGE = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())

CHANGED_AT = datetime(2026, 11, 23, 2, 59, 40, 989_000, tzinfo=UTC)


def golden(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    return event


def parsed(value: object) -> FleetRequest:
    return parse_fleet_request(value, PREFIX)


def refused(value: object) -> str:
    with pytest.raises(RequestInvalid) as error:
        parsed(value)
    return error.value.what


# -- a person and the schedule ----------------------------------------------------------------------------------------

JANE = FleetRequest(requested_by="jane.doe@example.com")


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
        ({"maxConcurrency": 0}, "maxConcurrency: expected a number from 1 to 1000."),
        ({"maxConcurrency": 1001}, "maxConcurrency: expected a number from 1 to 1000."),
        ({"maxConcurrency": 1.5}, "maxConcurrency: expected a whole number"),
        ({"clusters": None}, "clusters: expected a list, not null."),
        ({"toleratedFailures": -1}, "toleratedFailures: expected a number from 0 to 1000000."),
        ({"toleratedFailures": 1_000_001}, "toleratedFailures: expected a number from 0 to 1000000."),
        ({"trigger": "siem"}, "trigger: expected one of manual, schedule, alarm, not a string."),
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
    assert refused(given).startswith(message)


@pytest.mark.parametrize("tolerated", [0, 1, ANY_NUMBER])
def test_any_number_of_failures_there_can_be_may_be_tolerated(tolerated: int) -> None:
    assert parsed({"toleratedFailures": tolerated}).tolerated_failures == tolerated


def test_a_report_that_names_no_clusters_but_null_does_not_mean_all_of_them() -> None:
    event = golden("compromise-reported")
    event["detail"]["clusters"] = None
    assert refused(event) == "detail.clusters: expected a list, not null."


# -- alarms -----------------------------------------------------------------------------------------------------------


def urgent(reason: str, *clusters: str) -> FleetRequest:
    return FleetRequest(
        clusters=clusters or None, trigger=Trigger.ALARM, reason=f"alarm {reason}", key_created_after=CHANGED_AT
    )


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


@pytest.mark.parametrize("name", ["alarm-still-on", "alarm-over"])
def test_anything_but_a_change_into_alarm_is_refused(name: str) -> None:
    assert refused(golden(name)) == "detail.state.value: expected a change into ALARM."


def test_an_alarm_of_another_name_is_refused() -> None:
    assert refused(golden("alarm-other-name")) == (
        "detail.alarmName: expected element-key-compromise-<cluster>, element-key-compromise-all, "
        "or the tag element-rekey:cluster."
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


@pytest.mark.parametrize("tag", ["all", "prod-b"])
def test_the_tag_counts_more_than_the_name(tag: str) -> None:
    event = changed(golden("alarm-one-cluster"), "detail/alarmTags", {"element-rekey:cluster": tag})
    assert parsed(event).clusters == (None if tag == "all" else (tag,))


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
    assert refused(changed(golden("alarm-one-cluster"), path, value)).startswith(message)


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


# -- the event of our own ---------------------------------------------------------------------------------------------

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
    "compromise-reported-external": FleetRequest(
        clusters=("prod-a",),
        canary="prod-a",
        max_concurrency=4,
        tolerated_failures=0,
        trigger=Trigger.ALARM,
        reason="INC-4713: internal keys are no longer trusted",
        requested_by="siem@example.com",
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
        key_created_after=datetime(2026, 11, 23, 2, 58, tzinfo=UTC),
        force=True,
        ignore_faults=("nodeOffline",),
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_demands_keys_made_after_it(name: str) -> None:
    assert parsed(golden(name)) == REPORTS[name]


@pytest.mark.parametrize("name", REPORTS)
def test_the_example_reports_fit_their_schema(name: str) -> None:
    JUDGE.validate(golden(name))


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
        ("detail/severity", "high", "detail.severity: unknown member"),
        ("detail/trigger", "manual", "detail.trigger: not in a report"),
        ("detail/keyCreatedAfter", "2026-11-23T03:00:00Z", "detail.keyCreatedAfter: not in a report"),
        ("detail/maxConcurrency", 0, "detail.maxConcurrency: expected a number from 1 to 1000."),
        ("detail/keyProviderID", 15, "detail.keyProviderID: only allowed with keyManagementType External."),
        ("detail/dryRun", 1, "detail.dryRun: expected true or false"),
    ],
)
def test_a_wrong_report_is_refused_by_schema_and_code(path: str, value: object, message: str) -> None:
    event = changed(golden("compromise-reported"), path, value)
    assert refused(event).startswith(message)
    assert not JUDGE.is_valid(event)


def test_a_report_that_says_nowhere_when_is_refused() -> None:
    assert refused(changed(golden("compromise-reported-all"), "time")) == "time: missing."


def test_the_schema_knows_the_members_the_code_knows() -> None:
    known = set(refused({"?": 1}).partition("known are ")[2].rstrip(".").split(", "))
    assert set(SCHEMA["properties"]["detail"]["properties"]) == known - {"trigger", "keyCreatedAfter"} | {"reportedAt"}


# -- the end of a fleet run -------------------------------------------------------------------------------------------

ARN = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:change-1001"
STATE = {"execution": {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"}}


def test_the_last_step_of_a_run_that_caught_nothing() -> None:
    ending = parse_fleet_close_request({**STATE, "items": []}, PREFIX)
    assert (ending.execution, ending.request, ending.failure) == (Execution(ARN, NOW), None, None)


def test_the_last_step_of_a_run_whose_input_was_refused() -> None:
    error = {"Error": "RequestInvalid", "Cause": json.dumps({"errorMessage": "cluster: unknown member Next: ?"})}
    ending = parse_fleet_close_request({**STATE, "input": {"cluster": "a"}, "error": error}, PREFIX)
    assert ending.request is None
    assert ending.failure
    assert (ending.failure.error, ending.failure.cause) == ("RequestInvalid", "cluster: unknown member Next: ?")


def test_a_run_that_broke_before_it_selected_knows_its_request() -> None:
    error = {"Error": "States.TaskFailed", "Cause": "who knows"}
    ending = parse_fleet_close_request({**STATE, "input": golden("alarm-one-cluster"), "error": error}, PREFIX)
    assert ending.request == urgent("element-key-compromise-prod-a", "prod-a")
    assert ending.failure
    assert (ending.failure.error, ending.failure.cause) == ("ExecutionBroken", "States.TaskFailed who knows")


def test_a_run_that_was_stopped() -> None:
    ending = parse_fleet_close_request(golden("fleet-stopped"), PREFIX)
    assert ending.execution == Execution(ARN, NOW)
    assert ending.request == replace(JANE, reason="change CHG-1001")
    assert ending.failure == Failure(
        "ExecutionAborted",
        "Stopped by jane.doe for CHG-1001.",
        ExecutionAborted.next_step,
    )


@pytest.mark.parametrize("given", [None, "", '{"reason": "cut o'])
def test_an_event_without_its_input_still_closes_the_run(given: str | None) -> None:
    event = golden("fleet-stopped")
    event["detail"]["input"] = given
    ending = parse_fleet_close_request(event, PREFIX)
    assert ending.request is None
    assert ending.execution.id == ARN


@pytest.mark.parametrize(("status", "error"), [("TIMED_OUT", "ExecutionTimedOut"), ("FAILED", "ExecutionBroken")])
def test_the_status_names_the_error(status: str, error: str) -> None:
    event = changed(golden("fleet-stopped"), "detail/status", status)
    event["detail"]["cause"] = None
    ending = parse_fleet_close_request(event, PREFIX)
    assert ending.failure
    assert (ending.failure.error, ending.failure.cause) == (error, f"The execution ended as {status}.")

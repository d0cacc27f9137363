"""The rules of the template against events as AWS documents them, matched by two evaluators that know nothing of us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ministack.services import eventbridge
from moto.events.models import EventPattern

from tests.template import TEMPLATE, properties

EVENTS = Path(__file__).parents[2] / "events"
STATES = "arn:aws:states:eu-central-1:123456789012:stateMachine"
MACHINES = {
    "RotateFleet": f"{STATES}:element-rekey-rotate-fleet",
    "RotateMasterKey": f"{STATES}:element-rekey-RotateMasterKey",
}
PSEUDO = {"AWS::AccountId": "123456789012"}
RULES = sorted(name for name, one in TEMPLATE["Resources"].items() if one["Type"] == "AWS::Events::Rule")

ALARM, REPORT = "CompromiseAlarmRule", "CompromiseReportRule"
FLEET, ROTATION = "InterruptedFleetRule", "InterruptedExecutionRule"

MATCHING = {
    "alarm-one-cluster": {ALARM},
    "alarm-all-clusters": {ALARM},
    "alarm-composite": {ALARM},
    "alarm-tagged": {ALARM},
    "alarm-from-insufficient-data": {ALARM},  # the application decides, and tells of it where it ignores it
    "alarm-still-on": set[str](),
    "alarm-over": set[str](),
    "alarm-other-name": set[str](),
    "alarm-changed-configuration": set[str](),
    "compromise-reported": {REPORT},
    "compromise-reported-all": {REPORT},
    "fleet-stopped": {FLEET},
    "fleet-failed": {FLEET},
    "fleet-item-failed": set[str](),  # an item of the map is no run: its rotation is reported by itself
}


def resolved(value: Any) -> Any:  # noqa: ANN401 - YAML
    """A pattern as CloudFormation hands it to EventBridge."""
    match value:
        case {"!Ref": name}:
            return MACHINES.get(name) or PSEUDO.get(name) or TEMPLATE["Parameters"][name]["Default"]
        case dict():
            return {name: resolved(member) for name, member in value.items()}
        case list():
            return [resolved(member) for member in value]
        case _:
            return value


def matches(rule: str, event: dict[str, Any]) -> bool:
    pattern = resolved(properties(rule)["EventPattern"])
    text = json.dumps(pattern)
    asked = {"EventPattern": text, "Event": json.dumps(event)}
    status, _, body = eventbridge._test_event_pattern(asked)  # noqa: SLF001 - the evaluator without its server
    assert status == 200, body
    found: bool = json.loads(body)["Result"]
    assert EventPattern.load(text).matches_event(event) == found  # type: ignore[arg-type]  # any JSON
    return found


def golden(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


def matching_rules(event: dict[str, Any]) -> set[str]:
    return {rule for rule in RULES if matches(rule, event)}


def test_every_golden_event_is_matched_here() -> None:
    events = {path.stem for path in EVENTS.glob("*.json") if "source" in json.loads(path.read_text())}
    assert {name for name in events if name.startswith(("alarm-", "compromise-", "fleet-"))} == set(MATCHING)


@pytest.mark.parametrize("name", MATCHING)
def test_an_event_is_matched_by_the_rules_it_is_meant_for_and_by_no_other(name: str) -> None:
    assert matching_rules(golden(name)) == MATCHING[name]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"])
def test_an_execution_that_did_not_end_well_is_matched_by_its_own_rule(machine: str, status: str) -> None:
    event = golden("fleet-stopped")
    event["detail"] |= {"status": status, "stateMachineArn": MACHINES[machine]}
    rule = FLEET if machine == "RotateFleet" else ROTATION
    assert matching_rules(event) == ({rule} if status in {"FAILED", "TIMED_OUT", "ABORTED"} else set())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("source", "aws.s3"),
        ("detail-type", "CloudWatch Alarm Contributor State Change"),
    ],
)
def test_an_event_of_another_source_or_kind_is_not_matched(path: str, value: str) -> None:
    assert matching_rules(golden("alarm-one-cluster") | {path: value}) == set()
    assert matching_rules(golden("compromise-reported") | {path: value}) == set()
    assert matching_rules(golden("fleet-stopped") | {path: value}) == set()


def test_an_alarm_of_another_account_is_not_matched() -> None:
    """Where it may send events to this one: it would choose the names of its alarms, and so which keys are replaced."""
    assert matching_rules(golden("alarm-one-cluster") | {"account": "210987654321"}) == set()


def test_a_report_replayed_from_the_archive_is_matched() -> None:
    assert matching_rules(golden("compromise-reported") | {"replay-name": "again"}) == {REPORT}


def test_every_state_but_a_true_change_into_alarm_is_not_matched() -> None:
    states = ("OK", "INSUFFICIENT_DATA", "ALARM")
    for before in states:
        for after in states:
            event = golden("alarm-one-cluster")
            event["detail"]["previousState"]["value"] = before
            event["detail"]["state"]["value"] = after
            expected = {ALARM} if before != "ALARM" and after == "ALARM" else set()
            assert matching_rules(event) == expected


def test_the_tag_is_matched_with_any_value_and_only_that_tag() -> None:
    for tags, expected in (
        ({"element-rekey:cluster": "all"}, {ALARM}),
        ({"element-rekey:max-key-age-days": "30"}, set()),
        ({}, set()),
    ):
        event = golden("alarm-other-name")
        event["detail"]["alarmTags"] = tags
        assert matching_rules(event) == expected


def test_the_golden_tagged_event_has_what_aws_documents_of_it() -> None:
    """Tags are there only where the alarm has AlarmTagsPropagation, and where CloudWatch could get them."""
    detail = golden("alarm-tagged")["detail"]
    assert detail["alarmTagsStatus"] == "SUCCESS"
    assert isinstance(detail["alarmTags"], dict)
    untold = golden("alarm-tagged")
    untold["detail"] |= {"alarmTagsStatus": "FAILED", "alarmTags": {}}
    assert matching_rules(untold) == set(), "so the name of an alarm is the surer way"


def test_no_alarm_of_ours_starts_a_rotation() -> None:
    for resource in TEMPLATE["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            event = golden("alarm-one-cluster")
            event["detail"]["alarmName"] = resource["Properties"]["AlarmName"]["!Sub"].replace(
                "${AWS::StackName}", "element-rekey"
            )
            assert matching_rules(event) == set()

"""The two functions of a fleet run, as Lambda would call them, on moto."""

from __future__ import annotations

import importlib.util
import json
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws
from moto.sns.models import sns_backends

from element_rekey.aws.runtime import fleet_settings_from_environment, ports_from_environment
from element_rekey.errors import (
    ClusterNotRegistered,
    RequestInvalid,
)
from element_rekey.records import Execution
from element_rekey.settings import FleetSettings
from tests.fakes import NOW
from tests.template import TEMPLATE, default, in_use, properties
from tests.unit.samples import HOUR, MINUTE, rotated, rotation

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


REGION, ACCOUNT = "eu-central-1", "123456789012"


MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:RotateMasterKey"


ARN = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:element-rekey-rotate-fleet:change-1001"


STATE = {"execution": {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"}}


def template_environment(resource: str, **references: str) -> dict[str, str]:
    """What the template gives a function."""
    own = properties(resource).get("Environment", {}).get("Variables", {})
    given = {**TEMPLATE["Globals"]["Function"]["Environment"]["Variables"], **own}
    return {
        name: str(references.get(value["!Ref"]) or default(value["!Ref"])) if isinstance(value, dict) else value
        for name, value in ((name, in_use(chosen)) for name, chosen in given.items())
    }


class Fleet:
    """Registrations, a table and a topic, and the two functions between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secrets = boto3.client("secretsmanager", region_name=REGION)
        self.dynamodb = boto3.client("dynamodb", region_name=REGION)
        self.topic = boto3.client("sns", region_name=REGION).create_topic(Name="topic")["TopicArn"]
        known = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        self.dynamodb.create_table(TableName="Table", **{name: properties("Table")[name] for name in known})
        refs = {"Table": "Table", "Topic": self.topic, "RotateMasterKey": MACHINE, "AWS::StackName": "element-rekey"}
        for function in ("SelectClustersFunction", "SummarizeFleetFunction"):
            for name, value in template_environment(function, **refs).items():
                monkeypatch.setenv(name, value)
        self.select = function_of("select_clusters")
        self.summarize = function_of("summarize_fleet")

    def register(self, *names: str) -> None:
        for name in names:
            self.secrets.create_secret(Name=f"element-rekey/{name}", SecretString="{}")

    def summaries(self) -> list[dict[str, Any]]:
        """Every summary published so far."""
        sent = sns_backends[ACCOUNT][REGION].topics[self.topic].sent_notifications
        return [json.loads(json.loads(message)["default"]) for _, message, *_ in sent]


def function_of(folder: str) -> ModuleType:
    path = ROOT / "functions" / folder / "app.py"
    spec = importlib.util.spec_from_file_location(f"fleet_functions_{folder}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(module: ModuleType, event: Any) -> Any:  # noqa: ANN401 - JSON
    context = SimpleNamespace(
        function_name="function",
        memory_limit_in_mb=512,
        invoked_function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:function",
        aws_request_id="00000000-0000-0000-0000-000000000000",
    )
    return json.loads(json.dumps(module.handler(json.loads(json.dumps(event)), context)))


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with mock_aws():
        yield Fleet(monkeypatch)


def test_a_fleet_is_selected_and_summarized(fleet: Fleet) -> None:
    fleet.register("prod-a", "prod-b")
    selected = call(fleet.select, {**STATE, "input": {"canary": "prod-b", "reason": "change"}})
    assert set(selected) == {"execution", "policy", "shared", "canary", "items"}
    assert selected["execution"] == STATE["execution"]
    expires = int((NOW + timedelta(days=60)).timestamp())
    assert selected["policy"] == {
        "maxConcurrency": 1,
        "toleratedFailures": 1_000_000,
        "countExpiresAt": expires,
    }
    assert selected["canary"]["request"] == {"cluster": "prod-b"}
    ledger = fleet.select.PORTS.ledger
    for item in (selected["canary"], *selected["items"]):
        arn = f"{MACHINE.replace('stateMachine', 'execution')}:{item['name']}"
        ledger.save(rotated(execution=Execution(arn, NOW), cluster=item["request"]["cluster"]))
    answered = call(fleet.summarize, selected)
    assert answered["outcome"]["succeeded"] is True
    assert answered["outcome"]["rotated"] == ["prod-b", "prod-a"]
    assert answered["execution"] == STATE["execution"]
    assert fleet.summaries() == [answered["outcome"]]


def test_how_many_failures_a_scheduled_run_tolerates_is_the_operators(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.register("prod-a")
    monkeypatch.setenv("TOLERATED_FAILURES", "4")
    map_input = call(function_of("select_clusters"), {**STATE, "input": {"trigger": "schedule"}})
    assert map_input["policy"]["toleratedFailures"] == 4


def test_a_repeated_selection_gives_the_same_map_input(fleet: Fleet) -> None:
    fleet.register("prod-a")
    state = {**STATE, "input": {"trigger": "schedule"}}
    first = call(fleet.select, state)
    fleet.register("prod-b")
    assert call(fleet.select, state) == first


def test_a_run_that_fell_short_names_the_next_step_in_its_cause_and_is_reported_once(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.register("prod-a")
    selected = call(fleet.select, {**STATE, "input": {}})
    answered = call(fleet.summarize, selected)
    assert answered["outcome"]["error"] == "FleetIncomplete"
    assert answered["outcome"]["cause"].startswith("Not as they should be: prod-a. Next: Read the summary")
    assert "FleetRunsFailed" in capsys.readouterr().out
    event = json.loads((ROOT / "events" / "fleet-failed.json").read_text())
    assert call(fleet.summarize, event)["outcome"] == answered["outcome"]
    assert len(fleet.summaries()) == 1
    assert "FleetRunsFailed" not in capsys.readouterr().out, "counted once"


def test_a_stopped_run_is_summarized_from_its_event(fleet: Fleet) -> None:
    fleet.register("prod-a")
    call(fleet.select, {**STATE, "input": {"reason": "change CHG-1001"}})
    answered = call(fleet.summarize, json.loads((ROOT / "events" / "fleet-stopped.json").read_text()))
    (summary,) = fleet.summaries()
    assert summary["error"] == answered["outcome"]["error"] == "ExecutionAborted"
    assert summary["counts"] == [{"outcome": "NotBegun", "clusters": 1}]
    assert summary["executionArn"] == ARN


@pytest.mark.parametrize(
    ("given", "error"), [({"cluster": "prod-a"}, RequestInvalid), ({}, ClusterNotRegistered)], ids=["wrong", "nothing"]
)
def test_what_cannot_be_selected_is_a_named_error_and_is_summarized(
    fleet: Fleet, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        call(fleet.select, {**STATE, "input": given})
    cause = json.dumps({"errorMessage": str(raised.value), "errorType": error.__name__})
    state = {**STATE, "input": given, "error": {"Error": error.__name__, "Cause": cause}}
    answered = call(fleet.summarize, state)
    assert answered["outcome"]["error"] == error.__name__
    assert answered["outcome"]["cause"] == str(raised.value)
    assert answered["input"] == given


def test_an_alarm_asks_by_the_prefix_of_the_template(fleet: Fleet) -> None:
    fleet.register("prod-a", "prod-b")
    event = json.loads((ROOT / "events" / "alarm-one-cluster.json").read_text())
    selected = call(fleet.select, {**STATE, "input": event})
    assert [item["request"]["cluster"] for item in selected["items"]] == ["prod-a"]
    assert selected["shared"]["keyCreatedAfter"] == "2026-11-23T02:59:40.989Z"
    assert selected["shared"]["coolDownSeconds"] == default("CoolDownMinutes") * 60
    assert selected["items"][0]["notBefore"] == "2026-11-23T03:00:00.000Z"


def test_the_settings_are_those_of_the_template(fleet: Fleet) -> None:
    assert fleet_settings_from_environment() == FleetSettings(
        90 * 24 * HOUR, HOUR, 30 * MINUTE, 1, 500, "element-key-compromise-"
    )
    assert fleet_settings_from_environment() == fleet.select.SETTINGS
    assert fleet.summarize.ROTATE_MASTER_KEY_ARN == MACHINE
    assert fleet_settings_from_environment().tolerated_failures == 0
    settings = ports_from_environment().settings
    assert (settings.deadline, settings.settling, settings.lease) == (6 * HOUR, 2 * MINUTE, 15 * MINUTE)


@pytest.mark.parametrize(("days", "keep"), [("0", None), ("30", timedelta(days=30))])
def test_the_history_is_kept_for_ever_unless_the_operator_says_otherwise(
    fleet: Fleet, days: str, keep: timedelta | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.register("prod-a")
    monkeypatch.setenv("HISTORY_DAYS", days)
    record = ports_from_environment().ledger.save(rotation(execution=Execution(ARN, NOW)))
    item = fleet.dynamodb.get_item(TableName="Table", Key={"pk": {"S": f"ROTATION#{record.execution.id}"}})["Item"]
    assert item.get("expiresAt") == ({"N": str(int((NOW + keep).timestamp()))} if keep else None)


def test_the_functions_are_the_ones_lambda_finds() -> None:
    for resource in ("SelectClustersFunction", "SummarizeFleetFunction"):
        assert (ROOT / properties(resource)["CodeUri"] / "app.py").is_file()
    assert TEMPLATE["Globals"]["Function"]["Handler"] == "app.handler"

"""The Lambda functions: environment in, state in, state out, and as little else as possible."""

from __future__ import annotations

import ast
import importlib.util
import json
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from element_rekey.aws.executions import StepFunctionsExecutions
from element_rekey.aws.ledger import DynamoLedger
from element_rekey.aws.registry import SecretsRegistry
from element_rekey.aws.topic import SnsTopic
from element_rekey.errors import (
    AwsCallFailed,
    ClusterUnavailable,
    LedgerConflict,
    RegistrationInvalid,
    RequestInvalid,
)
from element_rekey.records import Execution
from tests.fakes import NOW, FakeExecutions
from tests.unit.fleet_samples import FLEET_ARN
from tests.unit.function_environment import ENVIRONMENT
from tests.unit.harness import RotationHarness
from tests.unit.samples import ARN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FUNCTIONS = Path(__file__).parents[2] / "functions"
NAMES = sorted(path.name for path in FUNCTIONS.iterdir() if (path / "app.py").exists())
PASSWORD = "s3cr3t-Passw0rd"


STATE: dict[str, Any] = {
    "input": {"cluster": "prod-a", "reason": "audit"},
    "execution": {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"},
}


CONTEXT = SimpleNamespace(
    function_name="f", memory_limit_in_mb=512, invoked_function_arn="arn:f", aws_request_id="1", tenant_id=None
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def apps() -> Iterator[dict[str, ModuleType]]:
    """Every function's module, imported as Lambda would, under the template's environment."""
    loaded: dict[str, ModuleType] = {}
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        for name in NAMES:
            spec = importlib.util.spec_from_file_location(f"function_{name}", FUNCTIONS / name / "app.py")
            assert spec
            assert spec.loader
            loaded[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        yield loaded


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


@pytest.fixture
def invoke(
    apps: dict[str, ModuleType], harness: RotationHarness, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Any], Any]:
    """A handler's answer_step, through JSON in both directions as between Step Functions and Lambda."""
    for module in apps.values():
        monkeypatch.setattr(module, "PORTS", harness.ports)

    def call(name: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        return json.loads(json.dumps(apps[name].handler(json.loads(json.dumps(event)), CONTEXT)))

    return call


# --- the functions ---


@pytest.mark.parametrize("name", NAMES)
def test_a_handler_parses_calls_one_use_case_and_answers(name: str) -> None:
    tree = ast.parse((FUNCTIONS / name / "app.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    (handler,) = functions
    assert handler.name == "handler"
    assert handler.end_lineno
    assert handler.end_lineno - handler.lineno + 1 <= 15
    assert not [node for node in ast.walk(handler) if isinstance(node, ast.For | ast.While | ast.Try)]


@pytest.mark.parametrize("name", NAMES)
def test_a_function_keeps_its_adapters_for_the_life_of_its_container(apps: dict[str, ModuleType], name: str) -> None:
    ports = apps[name].PORTS
    assert isinstance(ports.ledger, DynamoLedger)
    assert isinstance(ports.clusters, SecretsRegistry)
    assert isinstance(ports.topic, SnsTopic)


def test_three_functions_rotate_a_key_and_keep_input_and_execution(
    harness: RotationHarness, invoke: Callable[[str, Any], Any]
) -> None:
    begun = invoke("start_rekey", STATE)
    assert begun["rotation"] == {
        "status": "running",
        "waitSeconds": 5,
        "polls": 0,
        "detail": "Replacing key key-0.",
        "asyncHandle": 7,
    }
    harness.clock.advance(40)
    waiting = invoke("check_status", begun)
    assert (waiting["rotation"]["status"], waiting["rotation"]["polls"]) == ("running", 1)
    harness.cluster.finish()
    checked = invoke("check_status", waiting)
    assert checked["rotation"]["status"] == "ended"
    ended = invoke("publish_outcome", checked)
    assert (ended["outcome"]["outcome"], ended["outcome"]["succeeded"]) == ("Rotated", True)
    for state in (begun, waiting, checked, ended):
        assert {name: state[name] for name in STATE} == STATE
    assert len(harness.topic.published) == 1


def test_an_error_reaches_the_state_machine_under_its_own_name(
    harness: RotationHarness, invoke: Callable[[str, Any], Any]
) -> None:
    harness.cluster.failing = {"identity": [ClusterUnavailable("No answer_step.", cluster="prod-a")]}
    with pytest.raises(ClusterUnavailable):
        invoke("start_rekey", STATE)
    with pytest.raises(RequestInvalid, match="Cluster: unknown member"):
        invoke("start_rekey", STATE | {"input": {"Cluster": "prod-a"}})
    with pytest.raises(LedgerConflict):
        invoke("check_status", STATE)


def test_a_failure_ends_with_what_a_fail_state_needs(invoke: Callable[[str, Any], Any]) -> None:
    caught = {"Error": "ClusterUnavailable", "Cause": json.dumps({"errorMessage": "No answer_step.", "errorType": "x"})}
    ended = invoke("publish_outcome", STATE | {"error": caught})
    assert (ended["outcome"]["succeeded"], ended["outcome"]["error"]) == (False, "ClusterUnavailable")
    assert ended["outcome"]["cause"].startswith("No answer_step. Next: Check that the MVIP answers")


def test_an_interrupted_execution_is_reported_by_the_event(
    harness: RotationHarness, invoke: Callable[[str, Any], Any]
) -> None:
    invoke("start_rekey", STATE)
    event = {
        "source": "aws.states",
        "detail": {"executionArn": ARN, "status": "ABORTED", "startDate": NOW.timestamp() * 1000, "input": None},
    }
    answer = invoke("publish_outcome", event)
    assert (answer["outcome"]["outcome"], answer["outcome"]["error"]) == ("OutcomeUnknown", "OutcomeUnknown")
    assert answer["outcome"]["cause"].startswith("ExecutionAborted: The execution ended as ABORTED.")
    assert answer["outcome"]["cluster"] == "prod-a", "by the record, where the event says nothing"
    assert len(harness.topic.published) == 1


def test_an_outcome_that_is_reported_twice_is_counted_once(
    invoke: Callable[[str, Any], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    invoke("publish_outcome", STATE)
    invoke("publish_outcome", STATE)
    measured = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"Rotations"' in line]
    assert [line["Outcome"] for line in measured] == ["Failed"]


def test_a_secret_that_cannot_be_used_appears_nowhere(
    apps: dict[str, ModuleType],
    harness: RotationHarness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not in the error, not in the trace that Lambda logs with it."""
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="the-prefix/prod-a", SecretString=json.dumps({"mvip": PASSWORD, "password": PASSWORD}))
    ports = replace(harness.ports, clusters=SecretsRegistry(secrets, "the-prefix", harness.clock))
    monkeypatch.setattr(apps["start_rekey"], "PORTS", ports)
    with pytest.raises(RegistrationInvalid, match="username: missing") as caught:
        apps["start_rekey"].handler(STATE, CONTEXT)
    printed = capsys.readouterr()
    said = "".join(traceback.format_exception(caught.value)) + printed.out + printed.err
    assert PASSWORD not in said


def test_a_fleet_run_goes_through_its_two_functions(
    harness: RotationHarness, invoke: Callable[[str, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = STATE | {"input": {"reason": "audit"}}
    map_input = invoke("select_clusters", state)
    assert [item["request"] for item in map_input["items"]] == [{"cluster": "prod-a"}]
    assert map_input["execution"] == state["execution"]
    summary = invoke("summarize_fleet", state)
    assert summary["outcome"]["error"] == "FleetIncomplete"
    assert len(harness.topic.summaries) == 1
    invoke("summarize_fleet", state)
    assert len(harness.topic.summaries) == 1
    monkeypatch.setattr(harness.ports.clusters, "by_name", {})
    assert invoke("select_clusters", state) == map_input, "what was selected stays selected"


def test_what_nobody_was_told_of_is_published_by_the_reconciliation_and_counted_once(
    apps: dict[str, ModuleType],
    harness: RotationHarness,
    invoke: Callable[[str, Any], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machines = apps["reconcile"].MACHINES
    assert isinstance(machines.executions, StepFunctionsExecutions)
    fleet = Execution(FLEET_ARN, NOW)
    ended = [
        (ENVIRONMENT["ROTATE_MASTER_KEY_ARN"], harness.execution, "ABORTED", {"cluster": "prod-a"}),
        (ENVIRONMENT["ROTATE_FLEET_ARN"], fleet, "TIMED_OUT", {}),
    ]
    monkeypatch.setattr(apps["reconcile"], "MACHINES", replace(machines, executions=FakeExecutions(ended)))

    assert invoke("reconcile", {}) == {"rotations": 1, "fleetRuns": 1}
    assert invoke("reconcile", {}) == {"rotations": 0, "fleetRuns": 0}

    assert [one.execution for one in harness.topic.published] == [harness.execution]
    assert [run.execution for run, _ in harness.topic.summaries] == [fleet]
    measured = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert [("Rotations" in line, "FleetRunsFailed" in line) for line in measured] == [
        (False, False),
        (True, False),
        (False, True),
        (False, False),
    ]
    assert [line.get("HoursScheduled") for line in measured] == [[1.0], None, None, [1.0]], "one for each hour"


def test_what_cannot_be_published_fails_the_reconciliation_so_that_it_is_tried_again(
    apps: dict[str, ModuleType],
    harness: RotationHarness,
    invoke: Callable[[str, Any], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = [(ENVIRONMENT["ROTATE_MASTER_KEY_ARN"], harness.execution, "ABORTED", {"cluster": "prod-a"})]
    machines = replace(apps["reconcile"].MACHINES, executions=FakeExecutions(ended))
    monkeypatch.setattr(apps["reconcile"], "MACHINES", machines)
    harness.topic.failures = 1
    with pytest.raises(AwsCallFailed, match="SNS did not publish"):
        invoke("reconcile", {})
    assert invoke("reconcile", {}) == {"rotations": 1, "fleetRuns": 0}

"""The fleet machine's real definition on moto's interpreter, with the real functions and the real table.

Two things moto cannot do are replaced in the definition: a literal tolerated percentage, and a nested execution. In
place of the latter a hook is called, which does what a rotation does as seen from outside: one record in the ledger,
and a failed execution where the outcome is none that succeeded. It is also asked what became of an execution.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.sns.models import sns_backends

from element_rekey.cluster import KeyManagementType, MasterKey
from element_rekey.codec import encode
from element_rekey.errors import AwsCallFailed
from element_rekey.inputs import parse_request
from element_rekey.outcomes import Outcome
from element_rekey.records import Execution, Failure, FleetRun, Intent, Rotation
from tests.template import ACCOUNT, REGION, ROOT, TEMPLATE, default, function_arn, in_use, properties
from tests.workflow.clock import BEGIN, VirtualClock
from tests.workflow.functions import ENVIRONMENT
from tests.workflow.interpreter import FunctionFailed, abort, aws_in_memory, parsing_once, virtual_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

SELECT, SUMMARIZE, ROTATE = "SelectClustersFunction", "SummarizeFleetFunction", "RotateMasterKey"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{ROTATE}"
ROTATIONS = MACHINE.replace(":stateMachine:", ":execution:")
AlreadyExists = "StepFunctions.ExecutionAlreadyExistsException"


def definition() -> str:
    """The machine as the template deploys it, but for what moto cannot do."""
    text = (ROOT / properties("RotateFleet")["DefinitionUri"]).read_text()
    for name, chosen in properties("RotateFleet")["DefinitionSubstitutions"].items():
        value = in_use(chosen)
        function = value.get("!GetAtt", "").removesuffix(".Arn")
        text = text.replace(f"${{{name}}}", function_arn(function) if function else _reference(value))
    parsed = json.loads(text)
    clusters = parsed["States"]["RotateClusters"]
    del clusters["ToleratedFailurePercentage"]  # without one, moto lets no failure stop the others
    for state in (parsed["States"]["RotateCanary"], clusters["ItemProcessor"]["States"]["RotateOne"]):
        nested = state["Parameters"]
        assert nested.pop("StateMachineArn") == MACHINE
        state["Resource"] = "arn:aws:states:::lambda:invoke"
        state["Parameters"] = {"FunctionName": function_arn(ROTATE), "Payload": nested}
    return json.dumps(parsed)


def _reference(value: dict[str, str]) -> str:
    if "!Sub" in value:
        known = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, f"{ROTATE}.Name": ROTATE}
        return re.sub(r"\$\{([\w.:]+)\}", lambda found: known[found[1]], value["!Sub"])
    return {"AWS::Partition": "aws", "Table": "Table", ROTATE: MACHINE}[value["!Ref"]]


@lru_cache
def client(service: str) -> Any:  # noqa: ANN401 - one of many
    """A client of a service; made once, since that takes longer than most tests."""
    return boto3.client(service, region_name=REGION)


@lru_cache
def function_of(resource: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(resource, ROOT / properties(resource)["CodeUri"] / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FleetHarness:
    """Registered clusters, and what becomes of them. Made by ``fleet``."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.clients = {name: client(name) for name in ("dynamodb", "sns", "secretsmanager", "stepfunctions")}
        self.outcomes: dict[str, Outcome] = {}
        """How a cluster's rotation ends, where not as Rotated."""
        self.refused: set[str] = set()
        """Those of them whose failure came before anything was begun on the cluster."""
        self.statuses: dict[str, list[str]] = {}
        """What Step Functions says became of a cluster's execution, the next times it is asked."""
        self.begun: list[str] = []
        """The clusters whose rotations were begun, in order."""
        self.requests: dict[str, Any] = {}
        self.names: Counter[str] = Counter()
        self.before: dict[str, Callable[[], None]] = {}
        """What happens just before something is called the next time."""
        self.executions = 0
        known = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        self.clients["dynamodb"].create_table(TableName="Table", **{name: properties("Table")[name] for name in known})
        self.topic_arn = self.clients["sns"].create_topic(Name="Topic")["TopicArn"]
        own = properties(SELECT)["Environment"]["Variables"]
        given = {name: default(value["!Ref"]) for name, value in own.items() if value["!Ref"] != ROTATE}
        given["ALL_CLUSTERS_BY_EVENT"] = "true"
        given["URGENT_MAX_CONCURRENCY"] = 1  # of the items of a map, virtual time knows one at a time
        os.environ.update({name: str(value) for name, value in given.items()})
        os.environ.update(ENVIRONMENT | {"ROTATE_MASTER_KEY_ARN": MACHINE, "TOPIC_ARN": self.topic_arn})
        self.functions = {name: function_of(name) for name in (SELECT, SUMMARIZE)}
        self.ledger = self.functions[SELECT].PORTS.ledger
        self.machine = self.clients["stepfunctions"].create_state_machine(
            name="rotate-fleet", definition=definition(), roleArn=f"arn:aws:iam::{ACCOUNT}:role/fleet"
        )["stateMachineArn"]

    def register(self, *names: str, **tags: str) -> None:
        for name in names:
            self.clients["secretsmanager"].create_secret(
                Name=f"element-rekey/{name}",
                SecretString="{}",
                Tags=[{"Key": "element-rekey:max-key-age-days", "Value": value} for value in tags.values()],
            )

    def start(self, given: Any) -> str:  # noqa: ANN401 - JSON
        self.executions += 1
        arn: str = self.clients["stepfunctions"].start_execution(
            stateMachineArn=self.machine, name=f"run-{self.executions}", input=json.dumps(given)
        )["executionArn"]
        return arn

    def run(self, given: Any = None) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """One run to its end: how it stands in Step Functions."""
        arn = self.start({} if given is None else given)
        self.clock.run()
        return self.described(arn)

    def described(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.clients["stepfunctions"].describe_execution(executionArn=arn)
        return found

    def summaries(self) -> list[dict[str, Any]]:
        """Every summary published so far."""
        sent = sns_backends[ACCOUNT][REGION].topics[self.topic_arn].sent_notifications
        return [json.loads(json.loads(message)["default"]) for _, message, *_ in sent]

    def only_summary(self) -> dict[str, Any]:
        (summary,) = self.summaries()
        return summary

    def record_of(self, summary: dict[str, Any]) -> FleetRun:
        """The record of the run that a summary is of."""
        started = datetime.fromisoformat(summary["startedAt"])
        found: FleetRun = self.ledger.fleet_run(Execution(summary["executionArn"], started))
        return found

    def counted(self) -> dict[str, int]:
        return {one["outcome"]: one["clusters"] for one in self.only_summary()["counts"]}

    def invoke(self, arn: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """What Lambda does when the state machine invokes a function, or Step Functions when it nests an execution."""
        name = arn.rpartition(":")[2]
        self.before.pop(name, lambda: None)()
        return self._rotate(event) if name == ROTATE else self._call(name, event)

    def _call(self, name: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        context = SimpleNamespace(
            function_name=name, memory_limit_in_mb=512, invoked_function_arn=function_arn(name), aws_request_id="0"
        )
        try:
            return json.loads(json.dumps(self.functions[name].handler(event, context)))
        except Exception as error:
            raise FunctionFailed(type(error).__name__, str(error)) from error

    def _rotate(self, nested: dict[str, Any]) -> dict[str, Any]:
        request, name = parse_request(nested["Input"]), nested["Name"]
        self.names[name] += 1
        if self.names[name] > 1:
            raise FunctionFailed(AlreadyExists, "said Step Functions")
        self.begun.append(request.cluster)
        self.requests[request.cluster] = nested["Input"]
        outcome = self.outcomes.get(request.cluster, Outcome.ROTATED)
        execution = Execution(f"{MACHINE.replace(':stateMachine:', ':execution:')}:{name}", self.clock())
        failure = None if outcome.succeeded else Failure("RekeyFailed", "The rekey ended with xSome.", "Mend it.")
        key = MasterKey("key-1", KeyManagementType.INTERNAL, None, self.clock())
        sent = failure and request.cluster not in self.refused
        self.ledger.save(
            Rotation(
                execution,
                cluster=request.cluster,
                request=request,
                outcome=outcome,
                failure=failure,
                current_key=key,
                intent=Intent("uuid", key, None, self.clock()) if sent else None,
                ended_at=self.clock(),
            )
        )
        self.statuses.setdefault(name, ["FAILED" if failure else "SUCCEEDED"])
        if failure:
            raise FunctionFailed(failure.error, failure.cause)
        return {}

    def status(self, arn: str) -> str:
        """What Step Functions says became of a nested execution."""
        machine, _, name = arn.rpartition(":")
        assert machine == ROTATIONS
        if name not in self.statuses:
            answer: Any = {
                "Error": {"Code": "ExecutionDoesNotExist", "Message": "said Step Functions"},
                "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "0"},
            }
            raise ClientError(answer, "DescribeExecution")
        known = self.statuses[name]
        return known.pop(0) if len(known) > 1 else known[0]

    def ended(self, _arn: str) -> None:
        """Nobody listens: the rule is tested elsewhere."""


@contextmanager
def fleet_harness() -> Iterator[FleetHarness]:
    clock = VirtualClock()
    with ExitStack() as held:
        held.enter_context(patch.dict("os.environ", ENVIRONMENT | {"MOTO_ACCOUNT_ID": ACCOUNT}))
        held.enter_context(aws_in_memory())
        held.enter_context(parsing_once())
        made = FleetHarness(clock)
        held.enter_context(virtual_interpreter(clock, made))
        yield made


@pytest.fixture
def fleet() -> Iterator[FleetHarness]:
    with fleet_harness() as made:
        yield made


def test_every_registered_cluster_gets_its_rotation_and_the_run_its_summary(fleet: FleetHarness) -> None:
    fleet.register("a", "b", "c")
    ended = fleet.run({"reason": "change"})
    assert ended["status"] == "SUCCEEDED"
    assert json.loads(ended["output"]) == fleet.only_summary()
    assert fleet.begun == ["a", "b", "c"]
    assert fleet.requests["a"]["reason"] == "change"
    assert fleet.counted() == {"Rotated": 3}


def test_a_run_started_again_as_its_summary_says_asks_for_nothing_that_is_done(fleet: FleetHarness) -> None:
    fleet.register("a", "b")
    fleet.outcomes["b"] = Outcome.FAILED
    fleet.run({"reason": "change"})
    moments = {request["keyCreatedAfter"] for request in fleet.requests.values()}
    fleet.clock.advance(3600)
    fleet.run(fleet.summaries()[0]["startAgainWith"])
    assert {request["keyCreatedAfter"] for request in fleet.requests.values()} == moments == {encode(BEGIN)}


def test_a_failed_cluster_fails_the_run_after_the_others_had_their_chance(fleet: FleetHarness) -> None:
    fleet.register("a", "b", "c")
    fleet.outcomes["a"] = Outcome.FAILED
    ended = fleet.run()
    assert (ended["status"], ended["error"]) == ("FAILED", "FleetIncomplete")
    assert ended["cause"].startswith("Not as they should be: a. Next: Read the summary")
    assert fleet.begun == ["a", "b", "c"]
    assert fleet.counted() == {"Rotated": 2, "Failed": 1}


def test_a_schedule_begins_no_further_rotation_after_a_failure(fleet: FleetHarness) -> None:
    names = [f"cluster-{number}" for number in range(6)]
    fleet.register(*names)
    fleet.outcomes = dict.fromkeys(names, Outcome.FAILED)
    assert fleet.run({"trigger": "schedule"})["status"] == "FAILED"
    assert len(fleet.begun) == 1
    assert fleet.counted() == {"Failed": 1, "NotBegun": 5}


@pytest.mark.parametrize("tolerated", [0, 1, 3])
def test_no_rotation_is_begun_once_more_have_failed_than_are_tolerated(fleet: FleetHarness, tolerated: int) -> None:
    names = [f"cluster-{number}" for number in range(5)]
    fleet.register(*names)
    fleet.outcomes = dict.fromkeys(names, Outcome.FAILED)
    fleet.run({"toleratedFailures": tolerated})
    assert len(fleet.begun) == tolerated + 1


def test_a_compromise_goes_on_whatever_fails(fleet: FleetHarness) -> None:
    names = [f"cluster-{number}" for number in range(5)]
    fleet.register(*names)
    fleet.outcomes = dict.fromkeys(names, Outcome.FAILED)
    event = json.loads((ROOT / "events" / "alarm-all-clusters.json").read_text())
    assert fleet.run(event)["status"] == "FAILED"
    assert fleet.begun == names
    assert {request["keyCreatedAfter"] for request in fleet.requests.values()} == {"2026-11-23T02:59:40.989Z"}


def test_an_alarm_with_a_mistyped_target_is_an_emergency_that_was_not_met(fleet: FleetHarness) -> None:
    fleet.register("a")
    event = json.loads((ROOT / "events" / "alarm-one-cluster.json").read_text())
    event["detail"]["alarmName"] = "element-key-compromise-aa"
    ended = fleet.run(event)
    assert (ended["status"], ended["error"]) == ("FAILED", "AlarmTargetUnknown")
    assert fleet.begun == []
    assert fleet.only_summary()["headline"].startswith("UNKNOWN alarm target aa, ")
    (missed,) = fleet.record_of(fleet.only_summary()).not_selected
    assert (missed.cluster, missed.error) == ("aa", "AlarmTargetUnknown")


def test_an_alarm_that_had_no_data_before_rotates_nothing_and_is_told_of(fleet: FleetHarness) -> None:
    """A sparse metric goes from INSUFFICIENT_DATA to ALARM; dropped by the rule, a compromise would end silently."""
    fleet.register("prod-a")
    event = json.loads((ROOT / "events" / "alarm-from-insufficient-data.json").read_text())
    ended = fleet.run(event)
    assert (ended["status"], ended["error"]) == ("FAILED", "AlarmIgnored")
    assert fleet.begun == []
    summary = fleet.only_summary()
    assert (summary["error"], summary["trigger"]) == ("AlarmIgnored", "alarm")
    assert "element-key-compromise-prod-a, for prod-a" in summary["cause"]


@pytest.mark.parametrize("name", ["alarm-all-clusters", "compromise-reported-all"])
def test_an_event_that_means_every_cluster_and_may_not_rotates_nothing_and_is_told_of(
    fleet: FleetHarness, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    select = fleet.functions[SELECT]
    monkeypatch.setattr(select, "SETTINGS", replace(select.SETTINGS, all_by_event=False))
    fleet.register("prod-a")
    event = json.loads((ROOT / "events" / f"{name}.json").read_text())
    ended = fleet.run(event)
    assert (ended["status"], ended["error"]) == ("FAILED", "AllClustersNotAllowed")
    assert fleet.begun == []
    summary = fleet.only_summary()
    assert (summary["error"], summary["trigger"]) == ("AllClustersNotAllowed", "alarm")
    assert summary["reason"] in summary["cause"]
    assert summary["startAgainWith"]["keyCreatedAfter"], "what a person pastes who finds it right"


LOOKS = json.loads((ROOT / "events" / "fleet-readiness.json").read_text()) | {"maxConcurrency": 1}
"""One after the other: of the items of a map, virtual time knows one at a time."""


def test_a_daily_look_tells_of_what_is_news_and_else_keeps_quiet(fleet: FleetHarness) -> None:
    fleet.register("a", "b")
    fleet.outcomes = {"a": Outcome.PLANNED, "b": Outcome.PLANNED}
    ended = fleet.run(LOOKS)
    assert ended["status"] == "SUCCEEDED"
    assert json.loads(ended["output"])["headline"] == "readiness of 2 clusters, all ready"
    assert (fleet.requests["a"]["trigger"], fleet.requests["a"]["dryRun"]) == ("readiness", True)
    assert fleet.summaries() == []
    fleet.clock.advance(86_400)
    fleet.outcomes["b"] = Outcome.FAILED
    assert fleet.run(LOOKS)["status"] == "SUCCEEDED", "it is an answer"
    assert fleet.only_summary()["headline"] == "NOT READY any more: b, readiness of 2 clusters, 1 not ready"
    fleet.clock.advance(86_400)
    assert fleet.run(LOOKS)["status"] == "SUCCEEDED"
    assert len(fleet.summaries()) == 1
    fleet.clock.advance(86_400)
    fleet.outcomes["b"] = Outcome.PLANNED
    fleet.run(LOOKS)
    assert fleet.summaries()[1]["readyAgain"] == ["b"]
    assert fleet.begun == ["a", "b"] * 4


def test_a_look_after_the_schedule_has_nothing_left_to_look_at(fleet: FleetHarness) -> None:
    """And a map over no items is one that succeeds."""
    fleet.register("a", "b")
    fleet.run({"trigger": "schedule"})
    assert fleet.run(LOOKS)["status"] == "SUCCEEDED"
    assert sorted(fleet.begun) == ["a", "b"]
    assert len(fleet.summaries()) == 1, "that of the schedule"


def test_a_look_before_the_first_cluster_is_registered_succeeds(fleet: FleetHarness) -> None:
    assert fleet.run(LOOKS)["status"] == "SUCCEEDED"
    assert fleet.summaries() == []


def test_the_canary_goes_first_and_alone(fleet: FleetHarness) -> None:
    fleet.register("a", "b", "c")
    assert fleet.run({"canary": "c"})["status"] == "SUCCEEDED"
    assert fleet.begun == ["c", "a", "b"]
    assert fleet.counted() == {"Rotated": 3}


def test_a_failed_canary_ends_the_run_and_nothing_else_is_begun(fleet: FleetHarness) -> None:
    fleet.register("a", "b", "c")
    fleet.outcomes["c"] = Outcome.OUTCOME_UNKNOWN
    ended = fleet.run({"canary": "c"})
    assert (ended["status"], ended["error"]) == ("FAILED", "FleetIncomplete")
    assert fleet.begun == ["c"]
    assert fleet.counted() == {"OutcomeUnknown": 1, "NotBegun": 2}


def test_a_wrong_input_is_reported_by_the_name_of_the_member(fleet: FleetHarness) -> None:
    ended = fleet.run({"cluster": "a"})
    assert (ended["status"], ended["error"]) == ("FAILED", "RequestInvalid")
    assert ended["cause"].startswith("cluster: unknown member; known are clusters")
    assert fleet.only_summary()["error"] == "RequestInvalid"


def test_a_fleet_of_nobody_is_reported_as_a_failure(fleet: FleetHarness) -> None:
    ended = fleet.run({"trigger": "schedule"})
    assert (ended["status"], ended["error"]) == ("FAILED", "ClusterNotRegistered")
    assert fleet.only_summary()["headline"] == "fleet run FAILED: ClusterNotRegistered"


def test_a_broken_registration_is_named_and_does_not_stop_the_rest(fleet: FleetHarness) -> None:
    fleet.register("a", "b/c")
    fleet.register("d", age="soon")
    ended = fleet.run({"trigger": "schedule"})
    assert (ended["status"], ended["error"]) == ("FAILED", "FleetIncomplete")
    assert fleet.begun == ["a"]
    assert [one["cluster"] for one in fleet.only_summary()["attention"]] == ["b/c", "d"]


def test_a_cluster_registered_or_lost_while_the_run_is_under_way_changes_nothing_in_it(fleet: FleetHarness) -> None:
    fleet.register("a", "b")

    def meanwhile() -> None:
        fleet.register("c")
        fleet.clients["secretsmanager"].delete_secret(SecretId="element-rekey/b", RecoveryWindowInDays=7)

    fleet.before[ROTATE] = meanwhile
    fleet.run()
    assert fleet.begun == ["a", "b"]


def test_a_selection_whose_answer_was_lost_is_repeated_and_starts_no_rotation_twice(fleet: FleetHarness) -> None:
    fleet.register("a", "b")
    plain, answers = fleet._call, []  # noqa: SLF001 - stands in for Lambda

    def lossy(name: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        answers.append((name, plain(name, event)))
        if len(answers) == 1:
            raise FunctionFailed("Sandbox.Timedout", "Task timed out")
        return answers[-1][1]

    with patch.object(fleet, "_call", lossy):
        assert fleet.run()["status"] == "SUCCEEDED"
    assert [name for name, _ in answers] == [SELECT, SELECT, SUMMARIZE]
    assert answers[0] == answers[1]
    assert fleet.begun == ["a", "b"]


def test_a_rotation_begun_by_an_earlier_attempt_is_not_begun_again(fleet: FleetHarness) -> None:
    fleet.register("a", "b")
    with answer_lost(fleet, "a"):
        assert fleet.run({"toleratedFailures": 0})["status"] == "SUCCEEDED"
    assert fleet.begun == ["a", "b"]
    assert fleet.counted() == {"Rotated": 2}


@contextmanager
def answer_lost(fleet: FleetHarness, cluster: str, statuses: tuple[str, ...] = ()) -> Iterator[None]:
    """The rotation of a cluster begins and the answer to StartExecution gets lost, so that it is asked for again."""
    plain = fleet._rotate  # noqa: SLF001 - stands in for Step Functions

    def lossy(nested: dict[str, Any]) -> dict[str, Any]:
        first = nested["Input"]["cluster"] == cluster and not fleet.names[nested["Name"]]
        if not first:
            return plain(nested)
        if statuses:
            fleet.statuses[nested["Name"]] = list(statuses)
        with suppress(FunctionFailed):
            plain(nested)
        raise FunctionFailed("StepFunctions.SdkClientException", "The answer was lost.")

    with patch.object(fleet, "_rotate", lossy):
        yield


@pytest.mark.parametrize("statuses", [("FAILED",), ("RUNNING", "RUNNING", "FAILED"), ("TIMED_OUT",), ("ABORTED",)])
def test_a_rotation_whose_begin_was_not_heard_of_counts_like_any_other_when_it_fails(
    fleet: FleetHarness, statuses: tuple[str, ...]
) -> None:
    fleet.register("a", "b")
    fleet.outcomes["a"] = Outcome.FAILED
    with answer_lost(fleet, "a", statuses):
        assert fleet.run({"toleratedFailures": 0})["status"] == "FAILED"
    assert fleet.begun == ["a"]
    assert fleet.counted() == {"Failed": 1, "NotBegun": 1}


def test_a_rotation_that_can_not_even_be_started_counts(fleet: FleetHarness) -> None:
    fleet.register("a", "b")

    def denied(nested: dict[str, Any]) -> dict[str, Any]:
        fleet.names[nested["Name"]] += 1
        raise FunctionFailed("StepFunctions.AccessDeniedException", "Not allowed.")

    with patch.object(fleet, "_rotate", denied):
        fleet.run({"toleratedFailures": 0})
    assert len(fleet.names) == 1


def test_a_canary_whose_begin_was_not_heard_of_is_waited_for_and_then_the_others_follow(fleet: FleetHarness) -> None:
    fleet.register("a", "b")
    with answer_lost(fleet, "b", ("RUNNING", "SUCCEEDED")):
        assert fleet.run({"canary": "b"})["status"] == "SUCCEEDED"
    assert fleet.begun == ["b", "a"]
    assert fleet.counted() == {"Rotated": 2}


@pytest.mark.parametrize("statuses", [("FAILED",), ("RUNNING", "ABORTED")])
def test_a_canary_whose_begin_was_not_heard_of_ends_the_run_when_it_fails(
    fleet: FleetHarness, statuses: tuple[str, ...]
) -> None:
    fleet.register("a", "b")
    fleet.outcomes["b"] = Outcome.OUTCOME_UNKNOWN
    with answer_lost(fleet, "b", statuses):
        assert fleet.run({"canary": "b"})["status"] == "FAILED"
    assert fleet.begun == ["b"]


def test_what_was_refused_before_anything_was_begun_does_not_use_up_what_a_schedule_tolerates(
    fleet: FleetHarness,
) -> None:
    """One wrong password must not keep the fleet from its rotations."""
    names = [f"cluster-{number}" for number in range(5)]
    fleet.register(*names)
    fleet.outcomes = dict.fromkeys(names[:3], Outcome.FAILED)
    fleet.refused = set(names[:3])
    assert fleet.run({"trigger": "schedule"})["status"] == "FAILED"
    assert sorted(fleet.begun) == names
    assert fleet.counted() == {"Rotated": 2, "Failed": 3}


@pytest.mark.parametrize("outcome", [one for one in Outcome if not one.succeeded and one is not Outcome.FAILED])
def test_whatever_may_have_changed_a_cluster_counts(fleet: FleetHarness, outcome: Outcome) -> None:
    fleet.register("a", "b")
    fleet.outcomes["a"] = outcome
    fleet.refused = {"a"}
    fleet.run({"toleratedFailures": 0})
    assert fleet.begun == ["a"]


def test_a_summary_that_could_not_be_published_is_said_in_so_many_words(fleet: FleetHarness) -> None:
    fleet.register("a")
    topic = fleet.functions[SUMMARIZE].PORTS.topic
    with patch.object(type(topic), "publish_summary", side_effect=AwsCallFailed("SNS is away.")):
        ended = fleet.run()
    assert (ended["status"], ended["error"]) == ("FAILED", "SummaryNotPublished")
    assert fleet.summaries() == []


def test_two_runs_at_once_keep_their_rotations_apart(fleet: FleetHarness) -> None:
    """A schedule and an alarm: each has its own rotation of a cluster; the lock and the demand do the rest."""
    fleet.register("a", "b")
    alarm = json.loads((ROOT / "events" / "alarm-one-cluster.json").read_text())
    alarm["detail"]["alarmName"] = "element-key-compromise-a"
    arns = [fleet.start({"trigger": "schedule"}), fleet.start(alarm)]
    fleet.clock.run()
    assert {fleet.described(arn)["status"] for arn in arns} == {"SUCCEEDED"}
    assert Counter(fleet.begun) == {"a": 2, "b": 1}
    assert set(fleet.names.values()) == {1}
    assert sorted(one["trigger"] for one in fleet.summaries()) == ["alarm", "schedule"]


def test_a_run_stopped_in_the_middle_is_summarized_from_its_event(fleet: FleetHarness) -> None:
    fleet.register("a", "b", "c")
    arn = fleet.start({"reason": "change CHG-1001"})
    fleet.before[ROTATE] = lambda: abort(arn, fleet.clients["stepfunctions"])
    fleet.clock.run()
    assert fleet.described(arn)["status"] == "ABORTED"
    event = json.loads((ROOT / "events" / "fleet-stopped.json").read_text())
    event["detail"] |= {"executionArn": arn, "input": '{"reason": "change CHG-1001"}'}
    fleet.invoke(function_arn(SUMMARIZE), event)
    summaries = fleet.only_summary()
    assert summaries["error"] == "ExecutionAborted"
    assert summaries["clusters"] == 3
    assert summaries["executionArn"] == arn


def test_a_schedule_gives_each_cluster_a_moment_within_the_spread(fleet: FleetHarness) -> None:
    names = [f"cluster-{number}" for number in range(4)]
    fleet.register(*names)
    fleet.run({"trigger": "schedule"})
    summary = fleet.only_summary()
    run = fleet.record_of(summary)
    moments = [one.not_before for one in run.selected]
    assert moments == sorted(moments)
    spread = timedelta(minutes=default("SpreadMinutes"))
    assert all(timedelta() <= moment - _started(fleet) <= spread for moment in moments)
    assert len(fleet.begun) == 4


def _started(fleet: FleetHarness) -> datetime:
    return datetime.fromisoformat(fleet.only_summary()["startedAt"])


def test_how_many_were_begun_and_how_many_failed_is_counted_beside_the_record_of_the_run(fleet: FleetHarness) -> None:
    """The record is large, and DynamoDB charges each count for the whole item it is in."""
    fleet.register("a", "b", "c")
    fleet.outcomes["b"] = Outcome.FAILED
    arn = fleet.run()["executionArn"]
    items = {one["pk"]["S"]: one for one in fleet.clients["dynamodb"].scan(TableName="Table")["Items"]}
    expires = round((BEGIN + timedelta(days=60)).timestamp())
    counter = f"COUNT#{arn}#{fleet.only_summary()['startedAt']}"
    assert items[counter] == {
        "pk": {"S": counter},
        "begun": {"N": "3"},
        "failures": {"N": "1"},
        "expiresAt": {"N": str(expires)},
    }
    assert not {"begun", "failures"} & items[f"FLEET#{arn}"].keys()


def test_what_the_template_gives_the_functions_of_a_fleet_are_its_parameters() -> None:
    both = [properties(name)["Environment"]["Variables"] for name in (SELECT, SUMMARIZE)]
    assert {value["!Ref"] for given in both for value in given.values()} - {ROTATE} <= set(TEMPLATE["Parameters"])
    assert both[0].keys() & both[1].keys() == {"COMPROMISE_ALARM_PREFIX"}

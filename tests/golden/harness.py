"""The harness in which the golden files are made: both machines, all five functions, clusters, table, topic, one clock.

The definitions run on moto's interpreter; the handlers use the real ledger and registry on moto's table and secrets,
and the real client on simulated clusters, without sockets. The topic keeps each call it gets. It writes down what
goes into each invocation and what comes of it. Given what an earlier release wrote down, it has each invocation begin
from that: with the event and the items as stored.

All that the golden tests take from the harness of the other tests is imported here.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from botocore.exceptions import ClientError
from moto.core.exceptions import JsonRESTError
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.responses import DynamoHandler
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_dynamodb

from local.simulator import ClusterSpec, Fault, SimulatedCluster
from tests.golden.application import DynamoLedger, Ports, SecretsRegistry, SnsTopic, encode
from tests.reliability.wire import fingerprint, without_sockets
from tests.template import ACCOUNT, PUBLISH, REGION, default, properties
from tests.workflow.clock import BEGIN, VirtualClock
from tests.workflow.functions import ENVIRONMENT
from tests.workflow.harness import SETTINGS, WorkflowHarness, aws_client, harness_on_moto
from tests.workflow.interpreter import FunctionFailed, aws_in_memory
from tests.workflow.test_rotate_fleet import MACHINE, ROTATE, SELECT, SUMMARIZE
from tests.workflow.test_rotate_fleet import definition as fleet_definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "BEGIN",
    "PASSWORD",
    "ClusterSpec",
    "Fault",
    "GoldenHarness",
    "Scenario",
    "ledger_over",
    "played",
    "table_alone",
    "table_before",
]

TABLE = "Table"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:Topic"
PASSWORD = "correct-horse-battery-staple"


@dataclass(frozen=True)
class Scenario:
    """What is played, on which clusters, and for how many days the table keeps its records (0: for ever)."""

    play: Callable[[GoldenHarness], None]
    clusters: tuple[ClusterSpec, ...]
    history_days: int = 0


class Table:
    """The table as moto holds it, read and written in the form in which DynamoDB stores an item."""

    def __init__(self) -> None:
        known = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        aws_client("dynamodb").create_table(TableName=TABLE, **{name: properties("Table")[name] for name in known})
        self._table: Any = dynamodb_backends[ACCOUNT][REGION].tables[TABLE]

    def item(self, pk: str) -> dict[str, Any] | None:
        """One item; None where there is none."""
        return self.items().get(pk)

    def items(self) -> dict[str, dict[str, Any]]:
        """All items, by their keys."""
        found = (_plain(item.to_json()["Attributes"]) for item in self._table.items.values())
        return {item["pk"]["S"]: item for item in found}

    def load(self, items: Mapping[str, Any]) -> None:
        """Have these items in it and no other."""
        self._table.items.clear()
        for item in items.values():
            self._table.put_item(item)


class DynamoDB:
    """A DynamoDB client over moto's own code, without HTTP in between, that tells of the key of each item written."""

    def __init__(self, table: Table, tell: Callable[[str], None]) -> None:
        self._table = table
        self._tell = tell

    def get_item(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - DynamoDB's
        """The item as it is stored."""
        found = self._table.item(given["Key"]["pk"]["S"])
        return {"Item": found} if found else {}

    def batch_get_item(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - DynamoDB's
        """The items as they are stored."""
        found = (self._table.item(key["pk"]["S"]) for key in given["RequestItems"][TABLE]["Keys"])
        return {"Responses": {TABLE: [item for item in found if item]}}

    def put_item(self, **given: Any) -> None:  # noqa: ANN401 - DynamoDB's
        self._write("put_item", given, given["Item"])

    def update_item(self, **given: Any) -> None:  # noqa: ANN401 - DynamoDB's
        self._write("update_item", given, given["Key"])

    def delete_item(self, **given: Any) -> None:  # noqa: ANN401 - DynamoDB's
        self._write("delete_item", given, given["Key"])

    def transact_write_items(self, **given: Any) -> None:  # noqa: ANN401 - DynamoDB's
        puts = (write["Put"]["Item"] for write in given["TransactItems"] if "Put" in write)
        self._write("transact_write_items", given, *puts)

    def _write(self, operation: str, given: dict[str, Any], *items: dict[str, Any]) -> None:
        handler = DynamoHandler()
        handler.current_account, handler.region = ACCOUNT, REGION
        handler.body = _plain(given)
        try:
            getattr(handler, operation)()
        except JsonRESTError as error:
            code = error.error_type.rpartition("#")[2]
            raise ClientError({"Error": {"Code": code, "Message": error.message}}, operation) from None
        for item in items:
            self._tell(item["pk"]["S"])


class Subscriber:
    """An SNS client that keeps each call; deaf for as many calls as it is recorded to be."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.deaf = 0

    def publish(self, **given: Any) -> None:  # noqa: ANN401 - SNS's
        """Take a call, or refuse it."""
        if self.deaf:
            self.deaf -= 1
            raise ClientError({"Error": {"Code": "InternalError", "Message": "SNS is away"}}, "Publish")
        self.calls.append(given)


class GoldenHarness(WorkflowHarness):
    """See the module. Made by ``played``."""

    def __init__(
        self,
        clock: VirtualClock,
        clusters: dict[str, SimulatedCluster],
        scenario: Scenario,
        recorded: Any,  # noqa: ANN401 - JSON
    ) -> None:
        super().__init__(clock)
        self.clusters = clusters
        self.steps: list[dict[str, Any]] = []
        """What was written down, an entry for each invocation."""
        self.subscriber = Subscriber()
        self._told = recorded
        self._started: list[str] = []
        self._written: list[dict[str, Any]] = []
        self._known: dict[str, Any] = {}
        self.table = Table()
        self.fleet_arn: str = self.states.create_state_machine(
            name="RotateFleet", definition=fleet_definition(), roleArn=f"arn:aws:iam::{ACCOUNT}:role/RotateFleetRole"
        )["stateMachineArn"]
        self.ports = Ports(
            clusters=SecretsRegistry(aws_client("secretsmanager"), default("SecretPrefix"), clock),
            ledger=ledger_over(self.table, scenario, self._wrote),
            topic=SnsTopic(cast("Any", self.subscriber), TOPIC),
            clock=clock,
            settings=SETTINGS,
        )
        for name, cluster in clusters.items():
            self._register(name, cluster)

    # -- what a scenario does -------------------------------------------------------------------------------------

    @property
    def cluster(self) -> SimulatedCluster:
        """The first cluster."""
        return next(iter(self.clusters.values()))

    def tag(self, name: str, max_key_age_days: str) -> None:
        """Give a cluster a maximum key age of its own."""
        tags = [{"Key": "element-rekey:max-key-age-days", "Value": max_key_age_days}]
        aws_client("secretsmanager").tag_resource(SecretId=f"{default('SecretPrefix')}/{name}", Tags=tags)

    def _register(self, name: str, cluster: SimulatedCluster) -> None:
        secret = {
            "mvip": name,
            "username": cluster.username,
            "password": PASSWORD,
            "certificateFingerprint": fingerprint(cluster),
        }
        aws_client("secretsmanager").create_secret(
            Name=f"{default('SecretPrefix')}/{name}", SecretString=json.dumps(secret)
        )

    def start(self, given: Any) -> str:  # noqa: ANN401 - JSON
        """Start a rotation."""
        arn = super().start(given)
        self._started.append(arn)
        return arn

    def run(self, given: Any) -> None:  # noqa: ANN401 - JSON
        """Run a rotation to its end."""
        self.start(given)
        self.clock.run()

    def start_fleet(self, given: Any) -> str:  # noqa: ANN401 - JSON
        """Start a fleet run."""
        return self._start(self.fleet_arn, f"run-{next(self._names)}", given)

    def run_fleet(self, given: Any) -> None:  # noqa: ANN401 - JSON
        """Run a fleet to its end."""
        self.start_fleet(given)
        self.clock.run()

    def _start(self, machine: str, name: str, given: Any) -> str:  # noqa: ANN401 - JSON
        started = self.states.start_execution(stateMachineArn=machine, name=name, input=json.dumps(given))
        self._started.append(started["executionArn"])
        return str(started["executionArn"])

    # -- what Step Functions, Lambda and EventBridge do -----------------------------------------------------------

    def invoke(self, arn: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """Also a nested execution, which moto cannot do, and the rule on the status of fleet runs."""
        if arn.rpartition(":")[2] == ROTATE:
            return self._nest(event)
        is_fleets = arn == PUBLISH and event["detail"]["stateMachineArn"] == self.fleet_arn
        return super().invoke(SUMMARIZE if is_fleets else arn, event)

    def _nest(self, nested: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Start a rotation and wait for its end."""
        arn = self._start(self.machine_arn, nested["Name"], nested["Input"])
        while self.status(arn) == "RUNNING":
            self.clock.sleep(1)
        ended = self.states.describe_execution(executionArn=arn)
        if ended["status"] != "SUCCEEDED":
            raise FunctionFailed(ended["error"], ended["cause"])
        return {}

    def status_event(self, arn: str, status: str) -> dict[str, Any]:
        """With the machine it is of."""
        event = super().status_event(arn, status)
        event["detail"]["stateMachineArn"] = self.states.describe_execution(executionArn=arn)["stateMachineArn"]
        return event

    # -- what is written down -------------------------------------------------------------------------------------

    def run_function(self, function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """Call a function as usual, and write down what went in and what came of it."""
        step: dict[str, Any] = {"function": function, "at": encode(self.clock()), "event": _plain(event)}
        step["found"] = self._found()
        event = self._as_told(event)
        asked = {name: len(cluster.requests) for name, cluster in self.clusters.items()}
        published = len(self.subscriber.calls)
        self._written = []
        try:
            step["answer"] = answer = super().run_function(function, event)
        except FunctionFailed as failure:
            step["error"] = failure.answer
            raise
        finally:
            step["written"] = self._written
            step["asked"] = [
                f"{name} {request.version} {request.method} {json.dumps(request.params, sort_keys=True)}"
                for name, cluster in self.clusters.items()
                for request in cluster.requests[asked[name] :]
            ]
            step["published"] = [_publication(call) for call in self.subscriber.calls[published:]]
            self.steps.append(step)
        return answer

    def _as_told(self, event: Any) -> Any:  # noqa: ANN401 - JSON
        """The stored event of this invocation, with the table as it was stored; those that came where none are."""
        number = len(self.steps)
        if self._told is None or number >= len(self._told["steps"]):
            return event
        self._known = table_before(self._told, number)
        self.table.load(self._known)
        return _plain(self._told["steps"][number]["event"])

    def _found(self) -> list[dict[str, Any]]:
        """What somebody else changed in the table since the last invocation: the state machine counts in there."""
        items = self.table.items()
        changed = [{"put": item} for pk, item in sorted(items.items()) if self._known.get(pk) != item]
        gone = [{"deleted": pk} for pk in sorted(self._known.keys() - items.keys())]
        self._known = items
        return [*changed, *gone]

    def _wrote(self, pk: str) -> None:
        item = self.table.item(pk)
        if item is None:
            self._known.pop(pk, None)
            self._written.append({"deleted": pk})
        else:
            self._known[pk] = item
            self._written.append({"put": item})

    def recorded(self) -> dict[str, Any]:
        """Everything, as it is stored."""
        executions = []
        for arn in self._started:
            known = self.states.describe_execution(executionArn=arn)
            ended = {name: known[name] for name in ("name", "status", "error", "cause") if known.get(name)}
            ended["machine"] = known["stateMachineArn"].rpartition(":")[2]
            ended["input"] = json.loads(known["input"])
            ended["output"] = json.loads(known["output"]) if known.get("output") else None
            executions.append(ended)
        recorded = {"steps": self.steps, "unheard": self.dead_letters, "executions": executions}
        return cast("dict[str, Any]", _plain(recorded))


def table_before(recorded: Any, number: int) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The items in the table when the invocation of this number began, as they are stored."""
    items: dict[str, Any] = {}
    for index, step in enumerate(recorded["steps"][: number + 1]):
        for change in [*step["found"], *(step["written"] if index < number else ())]:
            if "put" in change:
                items[change["put"]["pk"]["S"]] = change["put"]
            else:
                items.pop(change["deleted"], None)
    return items


def _publication(call: dict[str, Any]) -> dict[str, Any]:
    """A call of SNS in lines that a person can compare; put together again they are the very text that was sent."""
    message = json.loads(call["Message"])
    lines = {"default": message.pop("default").split(", "), "email": message.pop("email").split("\n")}
    return {**call, "Message": {**message, **lines}}


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _environment() -> dict[str, str]:
    """What the template gives the functions of the fleet beside what it gives all."""
    given = {**properties(SELECT)["Environment"]["Variables"], **properties(SUMMARIZE)["Environment"]["Variables"]}
    values = {
        name: MACHINE if value["!Ref"] == ROTATE else str(default(value["!Ref"])) for name, value in given.items()
    }
    return values | {"URGENT_MAX_CONCURRENCY": "1"}  # of the items of a map, virtual time knows one at a time


def _client_for(service: str, **_wanted: str) -> Any:  # noqa: ANN401 - a client
    return aws_client(service)


@contextmanager
def _harness(scenario: Scenario, recorded: Any) -> Iterator[GoldenHarness]:  # noqa: ANN401 - JSON
    clock = VirtualClock()
    clusters = {
        spec.name: SimulatedCluster(replace(spec, clock=clock, password=PASSWORD)) for spec in scenario.clusters
    }
    with ExitStack() as held:
        held.enter_context(patch.dict("os.environ", _environment()))
        held.enter_context(without_sockets(clusters, clock.advance))
        # The fleet machine counts in the table, and moto would make a client each time: slower than all else.
        held.enter_context(patch.object(state_task_service_dynamodb, "boto_client_for", _client_for))
        yield cast(
            "GoldenHarness",
            held.enter_context(harness_on_moto(clock, lambda: GoldenHarness(clock, clusters, scenario, recorded))),
        )


def played(scenario: Scenario, recorded: Any = None) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """What came of a scenario; each invocation begins from what a release ``recorded`` of it, where one is given."""
    with _harness(scenario, recorded) as here:
        scenario.play(here)
        here.clock.run()
        return here.recorded()


@contextmanager
def table_alone() -> Iterator[Table]:
    """A table as in a scenario, and nothing else."""
    with patch.dict("os.environ", ENVIRONMENT | {"MOTO_ACCOUNT_ID": ACCOUNT}), aws_in_memory():
        yield Table()


def ledger_over(table: Table, scenario: Scenario, tell: Callable[[str], None] = lambda _pk: None) -> DynamoLedger:
    """The ledger of a scenario."""
    keep = timedelta(days=scenario.history_days) or None
    return DynamoLedger(cast("Any", DynamoDB(table, tell)), TABLE, keep)

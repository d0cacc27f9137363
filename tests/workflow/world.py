"""Everything around the application, in one process: state machine, functions, table, topic, secrets, clusters.

The state machine's real definition runs on moto's interpreter, the real handlers use the real adapters on moto's
DynamoDB, Secrets Manager and SNS, and talk real TLS to simulated clusters. One virtual clock drives them all.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
from moto import mock_aws

from element_rekey import directory
from element_rekey.directory import SecretsDirectory
from element_rekey.edge import LEASE
from element_rekey.element_api import ElementApi
from element_rekey.ledger import DynamoLedger
from element_rekey.model import Lock, Rotation
from element_rekey.ports import Ports, Settings
from element_rekey.topic import SnsTopic
from element_rekey.transport import Timeouts
from local.simulator import ClusterSpec, RunningCluster, Simulator
from tests.workflow.clock import VirtualTime
from tests.workflow.functions import ENVIRONMENT, PUBLISH, call
from tests.workflow.interpreter import CONFIG, FunctionFailed, abort, time_out, virtual_interpreter
from tests.workflow.template import ACCOUNT, REGION, default, definition, properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUICK = Timeouts(connect=0.5, read=0.08, total=0.12)
"""In place of the client's own limits: its time-outs are the one thing here that takes real time."""

SETTINGS = Settings(
    deadline=timedelta(minutes=int(default("DeadlineMinutes"))),
    settling=timedelta(seconds=int(default("SettlingSeconds"))),
    lease=LEASE,
)
_ENDED_BADLY = frozenset(properties("InterruptedExecutionRule")["EventPattern"]["detail"]["status"])
_ASYNC_RETRIES = int(properties("PublishOutcomeFunction")["EventInvokeConfig"]["MaximumRetryAttempts"])
_ASYNC_WAITS = (60.0, 120.0)  # Lambda's own, between the attempts of an asynchronous invocation


@dataclass(frozen=True)
class Execution:
    """How an execution stands."""

    arn: str
    status: str
    error: str
    cause: str
    output: Any
    history: list[str] = field(repr=False)  # the types of its events
    states: list[str] = field(repr=False)  # the names of the states entered


class World:
    """See the module. Made by ``world``."""

    def __init__(self, time: VirtualTime, simulator: Simulator) -> None:
        self.time = time
        self.simulator = simulator
        self.clients = {name: _client(name) for name in _SERVICES}
        self.calls: Counter[str] = Counter()
        self.failures: list[tuple[str, str, str]] = []
        """Each invocation that ended with an error: function, name of the error, message."""
        self.unheard: list[Any] = []
        """Events of the rule that no invocation could handle: what the dead-letter queue would hold."""
        self.spoil: Callable[[str, int], None] = lambda _function, _number: None
        """Called before each invocation, with how many there were of that function; may raise in its place."""
        self.run_function: Callable[[str, Any], Any] = self._run_function
        self._names = itertools.count(1)
        self._told: list[dict[str, Any]] = []
        self._make_resources()
        self.ports = self.real_ports()

    # -- the application's side -----------------------------------------------------------------------------------

    def real_ports(self) -> Ports:
        """The adapters as ``edge`` puts them together, on the virtual clock."""
        return Ports(
            clusters=SecretsDirectory(self.clients["secretsmanager"], default("SecretPrefix"), self.time),
            ledger=DynamoLedger(self.clients["dynamodb"], "Table"),
            topic=SnsTopic(self.clients["sns"], self.topic_arn),
            clock=self.time,
            settings=SETTINGS,
        )

    def settle(self, **changes: timedelta) -> None:
        """Change the operator's settings."""
        self.ports = replace(self.ports, settings=replace(self.ports.settings, **changes))

    def register(self, name: str, registration: dict[str, str]) -> None:
        """Create or replace a cluster's secret."""
        secrets, text = self.clients["secretsmanager"], json.dumps(registration)
        secret = f"{default('SecretPrefix')}/{name}"
        if any(known["Name"] == secret for known in secrets.list_secrets()["SecretList"]):
            secrets.put_secret_value(SecretId=secret, SecretString=text)
        else:
            secrets.create_secret(Name=secret, SecretString=text)

    # -- executions -----------------------------------------------------------------------------------------------

    def start(self, given: Any) -> str:  # noqa: ANN401 - JSON
        """Start an execution with this input; it makes no step before ``run``."""
        started = self.clients["stepfunctions"].start_execution(
            stateMachineArn=self.machine_arn, name=f"execution-{next(self._names)}", input=json.dumps(given)
        )
        arn: str = started["executionArn"]
        return arn

    def rotate(self, given: Any = None) -> Execution:  # noqa: ANN401 - JSON
        """Run one execution to its end, and whatever follows from it."""
        arn = self.start({"cluster": "prod-a"} if given is None else given)
        self.time.run()
        return self.execution(arn)

    def stop(self, arn: str) -> None:
        """Stop an execution by hand; its status-change event is told at once, as EventBridge does."""
        if self.execution(arn).status == "RUNNING":
            abort(arn, self.clients["stepfunctions"])
            self._tell_status(arn, "ABORTED")

    def time_out(self, arn: str) -> None:
        """Let an execution's own time limit pass."""
        if self.execution(arn).status == "RUNNING":
            time_out(arn, ACCOUNT, REGION)
            self._tell_status(arn, "TIMED_OUT")

    def execution(self, arn: str) -> Execution:
        """How an execution stands now."""
        known = self.clients["stepfunctions"].describe_execution(executionArn=arn)
        events = self.clients["stepfunctions"].get_execution_history(executionArn=arn)["events"]
        entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
        return Execution(
            arn=arn,
            status=known["status"],
            error=known.get("error", ""),
            cause=known.get("cause", ""),
            output=json.loads(known["output"]) if known.get("output") else None,
            history=[event["type"] for event in events],
            states=entered,
        )

    # -- what came of it ------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> RunningCluster:
        """The first cluster."""
        return next(iter(self.simulator))

    def told(self) -> list[dict[str, Any]]:
        """Every notification published so far, oldest first, as a subscriber got it."""
        queue = self.clients["sqs"]
        while messages := queue.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self._told.append(json.loads(json.loads(message["Body"])["Message"]))
                queue.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return self._told

    def told_once(self) -> dict[str, Any]:
        """The one notification there is."""
        (notification,) = self.told()
        return notification

    def lock(self, cluster: str = "prod-a") -> Lock | None:
        """Who holds a cluster's lock."""
        key = {"pk": {"S": f"LOCK#{cluster}"}}
        if "Item" not in self.clients["dynamodb"].get_item(TableName="Table", Key=key):
            return None
        nobody = Lock("nobody", self.time())
        held = self.ports.ledger.take_lock(cluster, nobody, self.time())
        if held == nobody:  # it had run out; put things back
            self.ports.ledger.release_lock(cluster, "nobody")
            return None
        return held

    def record(self, arn: str) -> Rotation:
        """An execution's record."""
        record = self.ports.ledger.rotation(arn)
        assert record
        return record

    # -- Lambda and EventBridge -----------------------------------------------------------------------------------

    def invoke(self, arn: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """What Lambda does when the state machine invokes a function."""
        function = arn.rpartition(":")[2]
        self.calls[function] += 1
        try:
            self.spoil(function, self.calls[function])
            return self.run_function(function, event)
        except FunctionFailed as failure:
            self.failures.append((function, failure.answer["errorType"], failure.answer["errorMessage"]))
            raise

    def _run_function(self, function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        return call(function, event, self.ports)

    def ended(self, arn: str) -> None:
        """An execution ended; the rule of the template passes on those that ended badly."""
        status = self.execution(arn).status
        if status == "FAILED":  # the others were told when they were made to happen
            self._tell_status(arn, status)

    def _tell_status(self, arn: str, status: str) -> None:
        if status in _ENDED_BADLY:
            self.time.after(0, lambda: self.deliver(self.status_event(arn, status)))

    def status_event(self, arn: str, status: str) -> dict[str, Any]:
        """Step Functions' event on a change of status."""
        known = self.clients["stepfunctions"].describe_execution(executionArn=arn)
        detail = {
            "executionArn": arn,
            "stateMachineArn": self.machine_arn,
            "name": known["name"],
            "status": status,
            "startDate": round(known["startDate"].timestamp() * 1000),
            "stopDate": round(self.time().timestamp() * 1000),
            "input": known["input"],
            "output": None,
            "inputDetails": {"included": True},
            "outputDetails": None,
            "error": known.get("error"),
            "cause": known.get("cause"),
        }
        return {
            "version": "0",
            "id": "315c1398-40ff-a850-213b-158f73e60175",
            "detail-type": "Step Functions Execution Status Change",
            "source": "aws.states",
            "account": ACCOUNT,
            "time": f"{self.time():%Y-%m-%dT%H:%M:%SZ}",
            "region": REGION,
            "resources": [arn],
            "detail": detail,
        }

    def deliver(self, event: dict[str, Any], attempt: int = 0) -> None:
        """Invoke publish_outcome with an event, as Lambda does: again after errors, and then it is a dead letter."""

        def attempt_it() -> None:
            try:
                self.invoke(PUBLISH, json.loads(json.dumps(event)))
            except (FunctionFailed, Exception):  # noqa: BLE001 - whatever it was, Lambda goes on like this
                if attempt < _ASYNC_RETRIES:
                    self.time.after(_ASYNC_WAITS[attempt], lambda: self.deliver(event, attempt + 1))
                else:
                    self.unheard.append(event)

        self.time.begin(attempt_it)

    # -- AWS ------------------------------------------------------------------------------------------------------

    def _make_resources(self) -> None:
        table = properties("Table")
        known = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        self.clients["dynamodb"].create_table(TableName="Table", **{name: table[name] for name in known})
        self.topic_arn = self.clients["sns"].create_topic(Name="Topic")["TopicArn"]
        self.queue_url = self.clients["sqs"].create_queue(QueueName="subscriber")["QueueUrl"]
        queue_arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:subscriber"
        self.clients["sns"].subscribe(TopicArn=self.topic_arn, Protocol="sqs", Endpoint=queue_arn)
        made = self.clients["stepfunctions"].create_state_machine(
            name="RotateMasterKey", definition=definition(), roleArn=f"arn:aws:iam::{ACCOUNT}:role/RotateMasterKeyRole"
        )
        self.machine_arn: str = made["stateMachineArn"]
        for running in self.simulator:
            self.register(running.name, running.registration())


@lru_cache
def _client(service: str) -> Any:  # noqa: ANN401 - one of many
    return boto3.client(service, region_name=REGION)


_SERVICES = ("dynamodb", "sns", "sqs", "secretsmanager", "stepfunctions")


@contextmanager
def world(*specs: ClusterSpec, timeouts: Timeouts = QUICK) -> Iterator[World]:
    """A world with these clusters, one usual one if none is given; their clock is the world's."""
    time = VirtualTime()
    clusters = [replace(spec, clock=time) for spec in specs or (ClusterSpec(rekey_seconds=600.0),)]
    with ExitStack() as held:
        held.enter_context(patch.dict("os.environ", ENVIRONMENT | {"MOTO_ACCOUNT_ID": ACCOUNT}))
        held.enter_context(mock_aws(config=CONFIG))
        held.enter_context(patch.object(directory, "ElementApi", partial(ElementApi, timeouts=timeouts)))
        made = World(time, held.enter_context(Simulator(clusters)))
        held.enter_context(virtual_interpreter(time, made))
        held.enter_context(warnings.catch_warnings())
        yield made

"""Everything around the application, in one process: state machine, functions, table, topic, secrets, clusters.

The state machine's real definition runs on moto's interpreter, the real handlers use the real adapters on moto's
DynamoDB, Secrets Manager and SNS, and talk real TLS to simulated clusters. One virtual clock drives them all.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from element_rekey.aws.ledger import DynamoLedger
from element_rekey.aws.registry import SecretsRegistry
from element_rekey.aws.topic import SnsTopic
from element_rekey.ports import Ports
from element_rekey.records import Lock, Rotation
from local.simulator import ClusterSpec, RunningCluster, Simulator
from tests.template import ACCOUNT, REGION, default, properties
from tests.workflow.clock import VirtualClock
from tests.workflow.harness import PASSWORD, SETTINGS, WorkflowHarness, aws_client, harness_on_moto

if TYPE_CHECKING:
    from collections.abc import Iterator


class FullHarness(WorkflowHarness):
    """See the module. Made by ``full_harness``."""

    def __init__(self, clock: VirtualClock, simulator: Simulator) -> None:
        super().__init__(clock)
        self.simulator = simulator
        self.clients = {name: aws_client(name) for name in ("dynamodb", "sns", "sqs", "secretsmanager")}
        self._notifications: list[dict[str, Any]] = []
        self._make_resources()
        self.ports = self.real_ports()

    # -- the application's side -----------------------------------------------------------------------------------

    def real_ports(self) -> Ports:
        """The adapters as ``edge`` puts them together, on the virtual clock."""
        return Ports(
            clusters=SecretsRegistry(self.clients["secretsmanager"], default("SecretPrefix"), self.clock),
            ledger=DynamoLedger(self.clients["dynamodb"], "Table"),
            topic=SnsTopic(self.clients["sns"], self.topic_arn),
            clock=self.clock,
            settings=SETTINGS,
        )

    def register(self, name: str, registration: dict[str, str]) -> None:
        """Create or replace a cluster's secret."""
        secrets, text = self.clients["secretsmanager"], json.dumps(registration)
        secret = f"{default('SecretPrefix')}/{name}"
        if any(known["Name"] == secret for known in secrets.list_secrets()["SecretList"]):
            secrets.put_secret_value(SecretId=secret, SecretString=text)
        else:
            secrets.create_secret(Name=secret, SecretString=text)

    # -- what came of it ------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> RunningCluster:
        """The first cluster."""
        return next(iter(self.simulator))

    def notifications(self) -> list[dict[str, Any]]:
        """Every notification published so far, oldest first, as a subscriber got it."""
        queue = self.clients["sqs"]
        while messages := queue.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self._notifications.append(json.loads(json.loads(message["Body"])["Message"]))
                queue.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return self._notifications

    def only_notification(self) -> dict[str, Any]:
        """The one notification there is."""
        (notification,) = self.notifications()
        return notification

    def lock(self, cluster: str = "prod-a") -> Lock | None:
        """Who holds a cluster's lock."""
        key = {"pk": {"S": f"LOCK#{cluster}"}}
        if "Item" not in self.clients["dynamodb"].get_item(TableName="Table", Key=key):
            return None
        nobody = Lock("nobody", self.clock())
        held = self.ports.ledger.take_lock(cluster, nobody, self.clock())
        if held == nobody:  # it had run out; put things back
            self.ports.ledger.release_lock(cluster, "nobody")
            return None
        return held

    def record(self, arn: str) -> Rotation:
        """An execution's record."""
        return self.ports.ledger.rotations([arn])[arn]

    # -- AWS ------------------------------------------------------------------------------------------------------

    def _make_resources(self) -> None:
        table = properties("Table")
        known = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        self.clients["dynamodb"].create_table(TableName="Table", **{name: table[name] for name in known})
        self.topic_arn = self.clients["sns"].create_topic(Name="Topic")["TopicArn"]
        self.queue_url = self.clients["sqs"].create_queue(QueueName="subscriber")["QueueUrl"]
        queue_arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:subscriber"
        self.clients["sns"].subscribe(TopicArn=self.topic_arn, Protocol="sqs", Endpoint=queue_arn)
        for running in self.simulator:
            self.register(running.name, running.registration())


@contextmanager
def full_harness(*specs: ClusterSpec) -> Iterator[FullHarness]:
    """A harness with these clusters, one usual one if none is given; they share its virtual clock."""
    clock = VirtualClock()
    clusters = [replace(spec, clock=clock, password=PASSWORD) for spec in specs or (ClusterSpec(rekey_seconds=600.0),)]
    with Simulator(clusters) as simulator, harness_on_moto(clock, lambda: FullHarness(clock, simulator)) as made:
        registry = cast("SecretsRegistry", made.ports.clusters)
        try:
            yield cast("FullHarness", made)
        finally:
            registry.close()  # or the connections would be found by whichever test runs when they are collected

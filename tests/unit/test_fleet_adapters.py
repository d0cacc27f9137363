"""What a fleet run needs of Secrets Manager and DynamoDB, on moto."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from element_rekey.aws.ledger import DynamoLedger
from element_rekey.aws.registry import SecretsRegistry
from element_rekey.codec import encode
from element_rekey.errors import AwsCallFailed, LedgerConflict
from element_rekey.records import Execution, Failure, FleetRequest, FleetRun, NotSelected, Registered, Selected
from tests.fakes import NOW, FakeClock
from tests.template import properties
from tests.unit.samples import DAY, rotated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

REGION = "eu-central-1"
ARN = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:one"
ONCE = Config(retries={"total_max_attempts": 1})


def unreachable(**_: object) -> None:
    raise EndpointConnectionError(endpoint_url="https://somewhere.amazonaws.com")


# -- registrations ----------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets() -> Iterator[SecretsManagerClient]:
    with mock_aws():
        yield boto3.client("secretsmanager", region_name=REGION, config=ONCE)


def register(client: SecretsManagerClient, name: str, **tags: str) -> None:
    listed = [{"Key": key.replace("__", ":").replace("_", "-"), "Value": value} for key, value in tags.items()]
    client.create_secret(Name=name, SecretString="not looked at", Tags=listed)  # type: ignore[arg-type]  # as made


def directory(client: SecretsManagerClient) -> SecretsRegistry:
    return SecretsRegistry(client, "element-rekey", FakeClock())


def test_every_secret_under_the_prefix_is_a_registration(secrets: SecretsManagerClient) -> None:
    register(secrets, "element-rekey/prod-a", element_rekey__max_key_age_days="30", team="storage")
    register(secrets, "element-rekey/prod-b")
    register(secrets, "element-rekey/deep/er")
    register(secrets, "element-rekey-test/prod-c")
    register(secrets, "other/element-rekey/prod-d")
    assert sorted(directory(secrets).registered(), key=lambda one: one.cluster) == [
        Registered("deep/er"),
        Registered("prod-a", (("element-rekey:max-key-age-days", "30"), ("team", "storage"))),
        Registered("prod-b"),
    ]


def test_a_secret_marked_for_deletion_is_no_registration(secrets: SecretsManagerClient) -> None:
    register(secrets, "element-rekey/prod-a")
    register(secrets, "element-rekey/prod-b")
    secrets.delete_secret(SecretId="element-rekey/prod-a", RecoveryWindowInDays=7)
    assert directory(secrets).registered() == (Registered("prod-b"),)


def test_all_pages_are_read_and_no_secret_is_opened(secrets: SecretsManagerClient) -> None:
    names = [f"cluster-{number:03}" for number in range(230)]
    for name in names:
        register(secrets, f"element-rekey/{name}")
    called: list[str] = []
    secrets.meta.events.register("before-call.secrets-manager", lambda model, **_: called.append(model.name))
    assert sorted(one.cluster for one in directory(secrets).registered()) == names
    assert called == ["ListSecrets"] * 3


def test_a_name_that_only_looks_alike_is_left_out(secrets: SecretsManagerClient) -> None:
    """Whatever a page holds, what does not begin with the prefix is nobody's registration."""
    listed = {"SecretList": [{"Name": "Element-Rekey/prod-a"}, {"Name": "element-rekey/prod-b"}]}
    secrets.meta.events.register("before-call.secrets-manager.ListSecrets", lambda **_: (OK, listed))  # type: ignore[arg-type]
    assert directory(secrets).registered() == (Registered("prod-b"),)


class OK:
    """The HTTP side of a made-up answer."""

    status_code = 200


def test_a_listing_that_fails_is_a_call_that_failed(secrets: SecretsManagerClient) -> None:
    secrets.meta.events.register("before-send.secrets-manager.ListSecrets", unreachable)
    with pytest.raises(AwsCallFailed, match=r"Secrets Manager did not list element-rekey/\*"):
        directory(secrets).registered()


def test_a_listing_that_is_denied_is_a_call_that_failed(secrets: SecretsManagerClient) -> None:
    def denied(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "ListSecrets")

    secrets.meta.events.register("before-send.secrets-manager.ListSecrets", denied)
    with pytest.raises(AwsCallFailed, match="AccessDeniedException"):
        directory(secrets).registered()


# -- the ledger -------------------------------------------------------------------------------------------------------


@pytest.fixture
def table() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client("dynamodb", region_name=REGION, config=ONCE)
        known = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        client.create_table(TableName="Table", **{name: properties("Table")[name] for name in known})
        yield client


RUN = FleetRun(
    Execution(ARN, NOW),
    FleetRequest(clusters=("a", "b"), reason="change", key_created_after=NOW),
    selected=(Selected("a", "a-1", NOW, 86_400),),
    not_selected=(NotSelected("b", "ClusterNotRegistered", "There is no secret of this name."),),
    failure=Failure("FleetIncomplete", "b", "Look."),
)


def item(client: DynamoDBClient, pk: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get_item(TableName="Table", Key={"pk": {"S": pk}}).get("Item", {})
    return found


def test_a_fleet_run_is_found_as_it_was_saved(table: DynamoDBClient) -> None:
    ledger = DynamoLedger(table, "Table")
    assert ledger.fleet_run(ARN) is None
    saved = ledger.save_fleet_run(RUN)
    assert saved == replace(RUN, version=1)
    assert ledger.fleet_run(ARN) == saved
    assert ledger.save_fleet_run(saved).version == 2


def test_a_fleet_run_that_somebody_else_wrote_is_not_written_over(table: DynamoDBClient) -> None:
    ledger = DynamoLedger(table, "Table")
    first = ledger.save_fleet_run(RUN)
    ledger.save_fleet_run(first)
    for stale in (RUN, first):
        with pytest.raises(LedgerConflict, match="was written by another invocation"):
            ledger.save_fleet_run(stale)


def test_what_the_state_machine_counts_on_the_item_stands_in_nobodys_way(table: DynamoDBClient) -> None:
    ledger = DynamoLedger(table, "Table")
    saved = ledger.save_fleet_run(RUN)
    table.update_item(
        TableName="Table",
        Key={"pk": {"S": f"FLEET#{ARN}"}},
        UpdateExpression="ADD begun :one, failures :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    assert ledger.fleet_run(ARN) == saved
    ledger.save_fleet_run(saved)


@pytest.mark.parametrize("keep", [None, 30 * DAY])
def test_records_expire_when_the_operator_says_so_and_never_else(table: DynamoDBClient, keep: timedelta | None) -> None:
    ledger = DynamoLedger(table, "Table", keep)
    ledger.save_fleet_run(RUN)
    ledger.save(rotated(execution=Execution("rotation", NOW)))
    for pk in (f"FLEET#{ARN}", "ROTATION#rotation"):
        expected = {"N": str(int((NOW + keep).timestamp()))} if keep else None
        assert item(table, pk).get("expiresAt") == expected


def test_a_fleet_run_is_in_neither_index(table: DynamoDBClient) -> None:
    DynamoLedger(table, "Table").save_fleet_run(RUN)
    for index in properties("Table")["GlobalSecondaryIndexes"]:
        assert table.scan(TableName="Table", IndexName=index["IndexName"])["Items"] == []


def test_many_rotations_are_read_in_as_few_calls_as_there_can_be(table: DynamoDBClient) -> None:
    ledger = DynamoLedger(table, "Table")
    known = [ledger.save(rotated(execution=Execution(f"rotation-{number}", NOW))) for number in range(205)]
    called: list[int] = []
    table.meta.events.register(
        "provide-client-params.dynamodb.BatchGetItem",
        lambda params, **_: called.append(len(params["RequestItems"]["Table"]["Keys"])),
    )
    asked = [*(one.execution.id for one in known), "not-begun"]
    assert ledger.rotations(asked) == {one.execution.id: one for one in known}
    assert called == [100, 100, 6]
    assert ledger.rotations([]) == {}


def test_what_dynamodb_leaves_unprocessed_is_asked_for_again(table: DynamoDBClient) -> None:
    ledger = DynamoLedger(table, "Table")
    known = [ledger.save(rotated(execution=Execution(f"rotation-{number}", NOW))) for number in range(5)]
    asked: list[int] = []

    def only_two_at_a_time(params: dict[str, Any], context: dict[str, Any], **_: object) -> dict[str, Any]:
        keys = params["RequestItems"]["Table"]["Keys"]
        asked.append(len(keys))
        context["left"] = keys[2:]
        return {"RequestItems": {"Table": {"Keys": keys[:2], "ConsistentRead": True}}}

    def say_so(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        parsed["UnprocessedKeys"] = {"Table": {"Keys": context["left"]}} if context["left"] else {}

    table.meta.events.register("provide-client-params.dynamodb.BatchGetItem", only_two_at_a_time)  # type: ignore[arg-type]
    table.meta.events.register("after-call.dynamodb.BatchGetItem", say_so)
    found = ledger.rotations([one.execution.id for one in known])
    assert found == {one.execution.id: one for one in known}
    assert asked == [5, 3, 1]


def test_a_read_that_fails_is_a_call_that_failed(table: DynamoDBClient) -> None:
    table.meta.events.register("before-send.dynamodb", unreachable)
    ledger = DynamoLedger(table, "Table")
    with pytest.raises(AwsCallFailed, match="DynamoDB did not read"):
        ledger.rotations(["one"])
    with pytest.raises(AwsCallFailed, match="DynamoDB did not read"):
        ledger.fleet_run(ARN)
    with pytest.raises(AwsCallFailed, match="DynamoDB did not write"):
        ledger.save_fleet_run(RUN)


def test_a_record_of_a_later_version_is_still_understood(table: DynamoDBClient) -> None:
    ledger = DynamoLedger(table, "Table")
    ledger.save_fleet_run(RUN)
    table.update_item(
        TableName="Table",
        Key={"pk": {"S": f"FLEET#{ARN}"}},
        UpdateExpression="SET somethingNew = :one",
        ExpressionAttributeValues={":one": {"S": "one"}},
    )
    assert json.dumps(encode(ledger.fleet_run(ARN))) == json.dumps(encode(replace(RUN, version=1)))

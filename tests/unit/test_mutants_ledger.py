"""What changes to the ledger's code went unnoticed by its contract: docs/mutation.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from element_rekey.aws.ledger import DynamoLedger
from element_rekey.errors import AwsCallFailed, LedgerConflict
from tests.fakes import NOW
from tests.unit.samples import ARN, rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

TABLE = "element-rekey"
KEY = {"pk": {"S": "LOCK#prod-a"}}


@pytest.fixture
def client() -> DynamoDBClient:
    made: DynamoDBClient = boto3.client("dynamodb", region_name="eu-central-1")
    return made


@pytest.fixture
def stubber(client: DynamoDBClient) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def condition(**more: str) -> dict[str, Any]:
    """DynamoDB refuses values that no expression uses; moto takes them."""
    values = {":owner": {"S": ARN}} | {f":{name}": {"S": value} for name, value in more.items()}
    return {
        "TableName": TABLE,
        "Key": KEY,
        "ConditionExpression": "#owner = :owner",
        "ExpressionAttributeNames": {"#owner": "owner"},
        "ExpressionAttributeValues": values,
    }


def test_freeing_a_lock_sends_no_value_that_its_condition_does_not_use(
    client: DynamoDBClient, stubber: Stubber
) -> None:
    stubber.add_response("delete_item", {}, condition())
    DynamoLedger(client, TABLE).release_lock("prod-a", ARN)


def test_keeping_a_lock_sends_the_moment_until_which(client: DynamoDBClient, stubber: Stubber) -> None:
    update = {"UpdateExpression": "SET leaseUntil = :until"}
    stubber.add_response("update_item", {}, condition(until="2026-11-23T03:00:00.000Z") | update)
    DynamoLedger(client, TABLE).release_lock("prod-a", ARN, NOW)


@pytest.mark.parametrize(
    ("operation", "use", "words"),
    [
        ("put_item", lambda ledger: ledger.save(rotation()), "write"),
        ("get_item", lambda ledger: ledger.rotation(ARN), "read"),
        ("batch_get_item", lambda ledger: ledger.rotations([ARN]), "read"),
        ("transact_write_items", lambda ledger: ledger.save_intent(rotation(), NOW), "write the intent"),
        ("delete_item", lambda ledger: ledger.release_lock("prod-a", ARN), "free the lock"),
    ],
)
def test_what_failed_is_reported_in_words(
    client: DynamoDBClient, stubber: Stubber, operation: str, use: Callable[[DynamoLedger], object], words: str
) -> None:
    stubber.add_client_error(operation, "InternalServerError", "Not now.")
    with pytest.raises(AwsCallFailed, match=f"DynamoDB did not {words}: An error"):
        use(DynamoLedger(client, TABLE))


def test_a_lost_lock_names_the_cluster_whose_rekey_was_not_sent(client: DynamoDBClient, stubber: Stubber) -> None:
    stubber.add_client_error("transact_write_items", "TransactionCanceledException")
    what = r": The lock or the record changed hands before the rekey was sent\."
    with pytest.raises(LedgerConflict, match=what) as caught:
        DynamoLedger(client, TABLE).save_intent(rotation(), NOW)
    assert caught.value.cluster == rotation().cluster
    assert caught.value.cluster


def test_an_item_written_by_somebody_else_is_named(client: DynamoDBClient, stubber: Stubber) -> None:
    stubber.add_client_error("put_item", "ConditionalCheckFailedException")
    with pytest.raises(LedgerConflict, match=f"ROTATION#{ARN} "):
        DynamoLedger(client, TABLE).save(rotation())

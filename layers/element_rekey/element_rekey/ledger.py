"""The ledger: one DynamoDB table with a lock and a memory per cluster, and a record per rotation.

``pk`` says what an item is: ``LOCK#<cluster>``, ``CLUSTER#<cluster>`` or ``ROTATION#<execution ARN>``. Records carry
``cluster``, ``month`` and ``startedAt`` at their top for the indexes ByCluster and ByMonth; they are the audit history.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

from .codec import decode, encode
from .errors import AwsCallFailed, LedgerConflict
from .model import ClusterMemory, Lock, Rotation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mypy_boto3_dynamodb import DynamoDBClient

_CONFLICTS = frozenset(
    {"ConditionalCheckFailedException", "TransactionCanceledException", "TransactionConflictException"}
)


class DynamoLedger:
    """``ports.Ledger`` over a DynamoDB table. Every method raises AwsCallFailed."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        """Use ``table`` through ``client``."""
        self._client = client
        self._table = table

    def take_lock(self, cluster: str, lock: Lock, now: datetime) -> Lock:
        """Take or renew a lock that is free, ours, or expired; returns who holds it after (``PutItem``)."""
        item = {"pk": f"LOCK#{cluster}", **encode(lock)}
        condition = "attribute_not_exists(pk) OR #owner = :owner OR leaseUntil <= :now"
        try:
            self._put(item, condition, {":owner": lock.owner, ":now": encode(now)}, {"#owner": "owner"})
        except LedgerConflict:
            held = self._get(f"LOCK#{cluster}")
            if held is None:
                raise  # freed in between: look again
            return decode(Lock, held, strict=False)
        return lock

    def release_lock(self, cluster: str, owner: str, keep_until: datetime | None = None) -> None:
        """Free the lock if ``owner`` holds it, at once or at ``keep_until`` (``DeleteItem``, ``UpdateItem``)."""
        key = _plain({"pk": f"LOCK#{cluster}"})
        values = {":owner": owner} | ({":until": encode(keep_until)} if keep_until else {})
        mine: dict[str, Any] = {
            "TableName": self._table,
            "Key": key,
            "ConditionExpression": "#owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": _plain(values),
        }
        try:
            if keep_until:
                self._client.update_item(UpdateExpression="SET leaseUntil = :until", **mine)
            else:
                self._client.delete_item(**mine)
        except (ClientError, BotoCoreError) as error:
            if not _is_conflict(error):
                raise _failed("free the lock", error) from error

    def memory(self, cluster: str) -> ClusterMemory | None:
        """What is remembered of a cluster (``GetItem``)."""
        item = self._get(f"CLUSTER#{cluster}")
        return None if item is None else decode(ClusterMemory, item, strict=False)

    def remember(self, cluster: str, memory: ClusterMemory) -> None:
        """Replace what is remembered of a cluster (``PutItem``)."""
        self._put({"pk": f"CLUSTER#{cluster}", **encode(memory)})

    def rotation(self, execution_id: str) -> Rotation | None:
        """The record of an execution (``GetItem``)."""
        item = self._get(f"ROTATION#{execution_id}")
        return None if item is None else decode(Rotation, item, strict=False)

    def save(self, rotation: Rotation) -> Rotation:
        """Write a record over the version it was read at (``PutItem``). Raises LedgerConflict."""
        saved, item, condition, values = _next_version(rotation)
        self._put(item, condition, values)
        return saved

    def save_intent(self, rotation: Rotation, now: datetime) -> Rotation:
        """As ``save``, only while the execution holds the lock at ``now`` (``TransactWriteItems``)."""
        saved, item, condition, values = _next_version(rotation)
        put: Any = {"TableName": self._table, "Item": _plain(item), "ConditionExpression": condition}
        check: Any = {
            "TableName": self._table,
            "Key": _plain({"pk": f"LOCK#{rotation.cluster}"}),
            "ConditionExpression": "#owner = :owner AND leaseUntil > :now",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": _plain({":owner": rotation.execution.id, ":now": encode(now)}),
        }
        if values:
            put["ExpressionAttributeValues"] = _plain(values)
        try:
            self._client.transact_write_items(TransactItems=[{"ConditionCheck": check}, {"Put": put}])
        except (ClientError, BotoCoreError) as error:
            if _is_conflict(error):
                what = "The lock or the record changed hands before the rekey was sent."
                raise LedgerConflict(what, cluster=rotation.cluster) from error
            raise _failed("write the intent", error) from error
        return saved

    def _get(self, pk: str) -> Mapping[str, Any] | None:
        try:
            answer = self._client.get_item(TableName=self._table, Key=_plain({"pk": pk}), ConsistentRead=True)
        except (ClientError, BotoCoreError) as error:
            raise _failed("read", error) from error
        item = answer.get("Item")
        return None if item is None else {name: TypeDeserializer().deserialize(value) for name, value in item.items()}

    def _put(
        self,
        item: Mapping[str, Any],
        condition: str = "",
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        arguments: dict[str, Any] = {"TableName": self._table, "Item": _plain(item)}
        if condition:
            arguments["ConditionExpression"] = condition
        if values:
            arguments["ExpressionAttributeValues"] = _plain(values)
        if names:
            arguments["ExpressionAttributeNames"] = names
        try:
            self._client.put_item(**arguments)
        except (ClientError, BotoCoreError) as error:
            if _is_conflict(error):
                raise LedgerConflict(f"Item {item['pk']} was written by another invocation.") from error
            raise _failed("write", error) from error


def _next_version(rotation: Rotation) -> tuple[Rotation, dict[str, Any], str, dict[str, Any]]:
    """The record as it will be, its item, and the condition under which it may be written."""
    saved = replace(rotation, version=rotation.version + 1)
    started = saved.execution.started_at
    item = {
        "pk": f"ROTATION#{saved.execution.id}",
        "month": f"{started:%Y-%m}",
        "startedAt": encode(started),
        **encode(saved),
    }
    if not saved.cluster:  # an index takes no empty string
        del item["cluster"]
    if rotation.version == 0:
        return saved, item, "attribute_not_exists(pk)", {}
    return saved, item, "version = :version", {":version": rotation.version}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


def _is_conflict(error: ClientError | BotoCoreError) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _CONFLICTS


def _failed(doing: str, error: ClientError | BotoCoreError) -> AwsCallFailed:
    return AwsCallFailed(f"DynamoDB did not {doing}: {error}")

"""The ledger: one DynamoDB table with a lock and a memory per cluster, and a record per rotation.

``pk`` says what an item is: ``LOCK#<cluster>``, ``CLUSTER#<cluster>``, ``READINESS#<cluster>``,
``ROTATION#<execution ARN>`` or ``FLEET#<execution ARN>``. ``UUID#<uuid>`` names the one registration that a cluster
belongs to, so that lock and memory under its name are those of the cluster. Where the name of an execution was used
again, the earlier record has its start behind that. Rotations carry ``cluster``, ``month`` and ``startedAt`` at their
top for the indexes ByCluster and ByMonth, fleet runs the latter two; they are the audit history. In
``COUNT#<execution ARN>#<start>`` the fleet's state machine counts.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

from element_rekey.codec import decode, encode
from element_rekey.errors import AwsCallFailed, LedgerConflict
from element_rekey.records import Claim, ClusterMemory, FleetRun, Lock, Readiness, Record, Rotation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from mypy_boto3_dynamodb import DynamoDBClient

    from element_rekey.records import Execution

_BATCH = 100  # what BatchGetItem takes
_CONFLICTS = frozenset(
    {"ConditionalCheckFailedException", "TransactionCanceledException", "TransactionConflictException"}
)


class DynamoLedger:
    """``ports.Ledger`` over a DynamoDB table. Every method raises AwsCallFailed."""

    def __init__(self, client: DynamoDBClient, table: str, keep: timedelta | None = None) -> None:
        """Use ``table`` through ``client``; records expire ``keep`` after their execution began, or never."""
        self._client = client
        self._table = table
        self._keep = keep

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
            if not _is_somebody_elses(error):
                raise _failed("free the lock", error) from error

    def memory(self, cluster: str) -> ClusterMemory | None:
        """What is remembered of a cluster (``GetItem``)."""
        item = self._get(f"CLUSTER#{cluster}")
        return None if item is None else decode(ClusterMemory, item, strict=False)

    def memories(self, clusters: Sequence[str]) -> Mapping[str, ClusterMemory]:
        """What is remembered of many clusters, by their names (``BatchGetItem``)."""
        items = self._batch(f"CLUSTER#{cluster}" for cluster in clusters)
        return {item["pk"].removeprefix("CLUSTER#"): decode(ClusterMemory, item, strict=False) for item in items}

    def remember(self, cluster: str, memory: ClusterMemory) -> ClusterMemory:
        """Write a memory over the version it was read at (``PutItem``). Raises LedgerConflict."""
        written, put = self._memory_put(cluster, memory)
        self._write(put)
        return written

    def _memory_put(self, cluster: str, memory: ClusterMemory) -> tuple[ClusterMemory, dict[str, Any]]:
        written = replace(memory, version=memory.version + 1)
        condition, values = _memory_unchanged(memory.version)
        return written, self._put_of({"pk": f"CLUSTER#{cluster}", **encode(written)}, condition, values)

    def owner(self, uuid: str) -> str | None:
        """The registration a cluster belongs to (``GetItem``)."""
        item = self._get(f"UUID#{uuid}")
        return None if item is None else decode(Claim, item, strict=False).registered_as

    def claim(self, uuid: str, cluster: str) -> str:
        """Let a cluster belong to a registration, if it belongs to none (``PutItem``); returns whose it is after."""
        try:
            self._put(*_claim(uuid, cluster, "attribute_not_exists(pk) OR registeredAs = :from", cluster))
        except LedgerConflict:
            owner = self.owner(uuid)
            if owner is None:
                raise
            return owner
        return cluster

    def move(self, uuid: str, owner: str, cluster: str, version: int, now: datetime) -> ClusterMemory | None:
        """Let a cluster belong to another registration, with what is remembered of it (``TransactWriteItems``).

        Raises LedgerConflict.
        """
        is_free: Any = {
            "TableName": self._table,
            "Key": _plain({"pk": f"LOCK#{owner}"}),
            "ConditionExpression": "attribute_not_exists(pk) OR leaseUntil <= :now",
            "ExpressionAttributeValues": _plain({":now": encode(now)}),
        }
        others: list[Any] = [{"ConditionCheck": is_free}]
        memory, moved = self.memory(owner), None
        if memory and memory.uuid == uuid:
            moved, put = self._memory_put(cluster, replace(memory, version=version, claimed=True))
            condition, values = _memory_unchanged(memory.version)
            gone: dict[str, Any] = {
                "TableName": self._table,
                "Key": _plain({"pk": f"CLUSTER#{owner}"}),
                "ConditionExpression": condition,
            }
            others += [
                {"Put": put},
                {"Delete": gone | ({"ExpressionAttributeValues": _plain(values)} if values else {})},
            ]
        try:
            self._write(self._put_of(*_claim(uuid, cluster, "registeredAs = :from", owner)), *others)
        except LedgerConflict as error:
            what = f"Cluster {uuid} is registered as {owner}, where an execution is at work, or was a moment ago."
            raise LedgerConflict(what, cluster=cluster) from error
        return moved

    def save_seen(
        self, rotation: Rotation, memory: ClusterMemory, settled: Rotation | None
    ) -> tuple[Rotation, ClusterMemory]:
        """Write a record, the memory of its cluster, and the record it settled, all or none (``TransactWriteItems``).

        Raises LedgerConflict.
        """
        saved = replace(rotation, version=rotation.version + 1)
        written, put = self._memory_put(rotation.cluster, memory)
        others = [{"Put": put}]
        if settled:
            item = self._rotation_item(replace(settled, version=settled.version + 1))
            others.append({"Put": self._put_of(item, *_unchanged_since(settled.version))})
        self._write_record(rotation, self._rotation_item(saved), *others)
        return saved, written

    def readiness(self, clusters: Sequence[str]) -> Mapping[str, Readiness]:
        """What the last look says of the readiness of many clusters, by their names (``BatchGetItem``)."""
        items = self._batch(f"READINESS#{cluster}" for cluster in clusters)
        return {item["pk"].removeprefix("READINESS#"): decode(Readiness, item, strict=False) for item in items}

    def save_readiness(self, cluster: str, readiness: Readiness) -> None:
        """Write what a look says, unless a later look was written already (``PutItem``)."""
        item = {"pk": f"READINESS#{cluster}", **encode(readiness)}
        with suppress(LedgerConflict):
            self._put(item, "attribute_not_exists(pk) OR lookedAt < :at", {":at": item["lookedAt"]})

    def rotation(self, execution: Execution) -> Rotation | None:
        """The record of an execution (``GetItem``); not that of an earlier one by the same name."""
        item = self._get(f"ROTATION#{execution.id}")
        rotation = None if item is None else decode(Rotation, item, strict=False)
        return rotation if rotation and rotation.execution.is_same_as(execution) else None

    def rotations(self, execution_ids: Sequence[str]) -> Mapping[str, Rotation]:
        """The records of many executions, by their ids (``BatchGetItem``)."""
        items = self._batch(f"ROTATION#{execution_id}" for execution_id in execution_ids)
        found = (decode(Rotation, item, strict=False) for item in items)
        return {rotation.execution.id: rotation for rotation in found}

    def save(self, rotation: Rotation) -> Rotation:
        """Write a record over the version it was read at (``PutItem``). Raises LedgerConflict."""
        saved = replace(rotation, version=rotation.version + 1)
        self._write_record(rotation, self._rotation_item(saved))
        return saved

    def fleet_run(self, execution: Execution) -> FleetRun | None:
        """The record of a fleet run (``GetItem``); not that of an earlier one by the same name."""
        item = self._get(f"FLEET#{execution.id}")
        run = None if item is None else decode(FleetRun, item, strict=False)
        return run if run and run.execution.is_same_as(execution) else None

    def save_fleet_run(self, run: FleetRun) -> FleetRun:
        """Write a record over the version it was read at (``PutItem``). Raises LedgerConflict."""
        saved = replace(run, version=run.version + 1)
        item = {
            "pk": f"FLEET#{run.execution.id}",
            **_of_the_month(run.execution),
            **self._expiry(run.execution),
            **encode(saved),
        }
        self._write_record(run, item)
        return saved

    def save_intent(self, rotation: Rotation, now: datetime) -> Rotation:
        """As ``save``, only while the execution holds the lock at ``now`` (``TransactWriteItems``).

        And only while the cluster belongs to no other registration: that the memory says so can be out of date.
        """
        saved = replace(rotation, version=rotation.version + 1)
        holds_the_lock: Any = {
            "TableName": self._table,
            "Key": _plain({"pk": f"LOCK#{rotation.cluster}"}),
            "ConditionExpression": "#owner = :owner AND leaseUntil > :now",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": _plain({":owner": rotation.execution.id, ":now": encode(now)}),
        }
        is_its_own: Any = {
            "TableName": self._table,
            "Key": _plain({"pk": f"UUID#{rotation.cluster_uuid}"}),
            "ConditionExpression": "attribute_not_exists(pk) OR registeredAs = :cluster",
            "ExpressionAttributeValues": _plain({":cluster": rotation.cluster}),
        }
        checks: list[Any] = [{"ConditionCheck": holds_the_lock}, {"ConditionCheck": is_its_own}]
        try:
            self._write_record(rotation, self._rotation_item(saved), *checks)
        except LedgerConflict as error:
            what = "The lock, the record or the cluster changed hands before the rekey was sent."
            raise LedgerConflict(what, cluster=rotation.cluster) from error
        return saved

    def fleet_runs(self, execution_ids: Sequence[str]) -> Mapping[str, FleetRun]:
        """The records of many fleet runs, by their ids (``BatchGetItem``)."""
        items = self._batch(f"FLEET#{execution_id}" for execution_id in execution_ids)
        found = (decode(FleetRun, item, strict=False) for item in items)
        return {run.execution.id: run for run in found}

    def locks(self, clusters: Sequence[str]) -> Mapping[str, Lock]:
        """Who holds which cluster, or held it until its lease ran out, by their names (``BatchGetItem``)."""
        items = self._batch(f"LOCK#{cluster}" for cluster in clusters)
        return {item["pk"].removeprefix("LOCK#"): decode(Lock, item, strict=False) for item in items}

    def rotations_of(self, cluster: str, page: int = _BATCH) -> Iterator[Rotation]:
        """Every rotation of a cluster, the newest first, ``page`` of them in a call (``Query`` on ByCluster)."""
        items = self._history("ByCluster", "cluster", cluster, page)
        return (decode(Rotation, item, strict=False) for item in items if item["pk"].startswith("ROTATION#"))

    def rotations_in(self, month: str) -> Iterator[Rotation]:
        """Every rotation begun in a month, such as ``2026-11``, the newest first (``Query`` on ByMonth)."""
        items = self._history("ByMonth", "month", month, _BATCH)
        return (decode(Rotation, item, strict=False) for item in items if item["pk"].startswith("ROTATION#"))

    def fleet_runs_in(self, month: str) -> Iterator[FleetRun]:
        """Every fleet run begun in a month, the newest first (``Query`` on ByMonth)."""
        items = self._history("ByMonth", "month", month, _BATCH)
        return (decode(FleetRun, item, strict=False) for item in items if item["pk"].startswith("FLEET#"))

    def _history(self, index: str, key: str, value: str, page: int) -> Iterator[Mapping[str, Any]]:
        """The records an index holds under one value; it may be a second behind them."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=index,
            KeyConditionExpression="#key = :value",
            ExpressionAttributeNames={"#key": key},
            ExpressionAttributeValues={":value": {"S": value}},
            ScanIndexForward=False,
            PaginationConfig={"PageSize": page},
        )
        try:
            for found in pages:
                yield from map(_parsed, found["Items"])
        except (ClientError, BotoCoreError) as error:
            raise _failed("read", error) from error

    def _rotation_item(self, rotation: Rotation) -> dict[str, Any]:
        """A record with the attributes of the indexes at its top."""
        item = {
            "pk": f"ROTATION#{rotation.execution.id}",
            **_of_the_month(rotation.execution),
            **self._expiry(rotation.execution),
            **encode(rotation),
        }
        if not rotation.cluster:  # an index takes no empty string
            del item["cluster"]
        return item

    def _expiry(self, execution: Execution) -> dict[str, int]:
        """The attribute by which DynamoDB deletes an item, in seconds since 1970."""
        return {"expiresAt": round((execution.started_at + self._keep).timestamp())} if self._keep else {}

    def _get(self, pk: str) -> Mapping[str, Any] | None:
        try:
            answer = self._client.get_item(TableName=self._table, Key=_plain({"pk": pk}), ConsistentRead=True)
        except (ClientError, BotoCoreError) as error:
            raise _failed("read", error) from error
        item = answer.get("Item")
        return None if item is None else _parsed(item)

    def _batch(self, pks: Iterable[str]) -> Iterator[Mapping[str, Any]]:
        """Many items, those there are, in any order."""
        todo = [_plain({"pk": pk}) for pk in pks]
        while todo:
            request: Any = {self._table: {"Keys": todo[:_BATCH], "ConsistentRead": True}}
            try:
                answer = self._client.batch_get_item(RequestItems=request)
            except (ClientError, BotoCoreError) as error:
                raise _failed("read", error) from error
            yield from map(_parsed, answer["Responses"].get(self._table, []))
            unprocessed: Any = answer.get("UnprocessedKeys", {})
            todo = [*unprocessed.get(self._table, {}).get("Keys", []), *todo[_BATCH:]]

    def _write_record(self, record: Record, item: Mapping[str, Any], *checks: Any) -> None:  # noqa: ANN401 - of boto3
        """Write a record over the version it was read at, if the checks hold, too. Raises LedgerConflict.

        The record of an earlier execution by the same name is moved aside, to a key with its start: it stays history.
        """
        put = self._put_of(item, *_unchanged_since(record.version))
        try:
            self._write(put, *checks)
        except LedgerConflict:
            earlier = None if record.version else self._get(item["pk"])
            if earlier is None or decode(Record, earlier, strict=False).execution.is_same_as(record.execution):
                raise
            aside = {**earlier, "pk": f"{item['pk']}#{earlier['execution']['startedAt']}"}
            move: Any = {"Put": self._put_of(aside, "attribute_not_exists(pk)")}
            over = self._put_of(item, *_unchanged_since(int(earlier["version"])))
            self._write(over, *checks, move)

    def _put(
        self,
        item: Mapping[str, Any],
        condition: str,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._write(self._put_of(item, condition, values, names))

    def _put_of(
        self,
        item: Mapping[str, Any],
        condition: str,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        put: dict[str, Any] = {"TableName": self._table, "Item": _plain(item), "ConditionExpression": condition}
        if values:
            put["ExpressionAttributeValues"] = _plain(values)
        if names:
            put["ExpressionAttributeNames"] = names
        return put

    def _write(self, put: dict[str, Any], *others: Any) -> None:  # noqa: ANN401 - of boto3
        """Put an item, together with other writes and checks, if there are any. Raises LedgerConflict."""
        try:
            if others:
                self._client.transact_write_items(TransactItems=[*others, {"Put": cast("Any", put)}])
            else:
                self._client.put_item(**put)
        except (ClientError, BotoCoreError) as error:
            if _is_conflict(error):
                raise LedgerConflict(f"Item {put['Item']['pk']['S']} was written by another invocation.") from error
            raise _failed("write", error) from error


def _of_the_month(execution: Execution) -> dict[str, Any]:
    """The attributes by which ByMonth finds a record."""
    return {"month": f"{execution.started_at:%Y-%m}", "startedAt": encode(execution.started_at)}


def _unchanged_since(version: int) -> tuple[str, dict[str, Any]]:
    """The condition under which a record read at ``version`` may be written, and its values."""
    if version == 0:
        return "attribute_not_exists(pk)", {}
    return "version = :version", {":version": version}


def _memory_unchanged(version: int) -> tuple[str, dict[str, Any]]:
    """The same of a memory; one that 0.1.0 wrote has no version."""
    condition, values = _unchanged_since(version)
    return condition if version else "attribute_not_exists(version)", values


def _claim(uuid: str, cluster: str, condition: str, owner: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The item that says which registration a cluster belongs to, its condition, and the values in that."""
    return {"pk": f"UUID#{uuid}", **encode(Claim(cluster))}, condition, {":from": owner}


def _parsed(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


def _is_somebody_elses(error: ClientError | BotoCoreError) -> bool:
    """Whether the condition did not hold; a transaction in the way may be our own, and says nothing."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _is_conflict(error: ClientError | BotoCoreError) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in _CONFLICTS


def _failed(doing: str, error: ClientError | BotoCoreError) -> AwsCallFailed:
    return AwsCallFailed(f"DynamoDB did not {doing}: {error}")

"""One contract for the ledger, held by DynamoLedger (on moto's DynamoDB) and by the fake that other tests use."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import ANY, Stubber
from moto import mock_aws

from element_rekey.aws.ledger import DynamoLedger
from element_rekey.codec import encode
from element_rekey.errors import AwsCallFailed, LedgerConflict
from element_rekey.outcomes import Outcome
from element_rekey.records import (
    ClusterMemory,
    EarlierKey,
    Execution,
    Failure,
    FleetRequest,
    FleetRun,
    Lock,
    NotSelected,
    Readiness,
    Rotation,
    Selected,
)
from tests.fakes import NOW, FakeLedger
from tests.template import properties
from tests.unit.samples import (
    ARN,
    DAY,
    HOUR,
    MINUTE,
    OTHER_ARN,
    UUID,
    execution,
    failed,
    following,
    intent,
    rotated,
    rotation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

    from element_rekey.ports import Ledger


TABLE = "element-rekey"
MILLISECOND = timedelta(milliseconds=1)
PARTS = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


@pytest.fixture(scope="module")
def table() -> Iterator[DynamoDBClient]:
    """The template's own table; making a client takes longer than all that is done with it."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        client.create_table(TableName=TABLE, **{part: properties("Table")[part] for part in PARTS})
        yield client


@pytest.fixture
def dynamo(table: DynamoDBClient) -> DynamoDBClient:
    """The table, empty."""
    for pk in items(table):
        table.delete_item(TableName=TABLE, Key={"pk": {"S": pk}})
    return table


@pytest.fixture(params=["FakeLedger", "DynamoLedger"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "FakeLedger":
        return FakeLedger()
    return DynamoLedger(request.getfixturevalue("dynamo"), TABLE)


def items(client: DynamoDBClient) -> dict[str, dict[str, Any]]:
    found = client.scan(TableName=TABLE)["Items"]
    plain = [{name: TypeDeserializer().deserialize(value) for name, value in item.items()} for item in found]
    return {item["pk"]: item for item in plain}


MINE = Lock(ARN, NOW + HOUR)
THEIRS = Lock(OTHER_ARN, NOW + HOUR)
RUN = FleetRun(
    execution(),
    FleetRequest(clusters=("a", "b"), reason="audit"),
    selected=(Selected("a", "a-123", NOW, 7_776_000), Selected("b", "b-456", NOW)),
    not_selected=(NotSelected("c", "ClusterNotRegistered", "There is no secret of this name."),),
)


KEY = {"pk": {"S": "LOCK#prod-a"}}


@pytest.fixture
def dynamodb() -> DynamoDBClient:
    made: DynamoDBClient = boto3.client("dynamodb", region_name="eu-central-1")
    return made


@pytest.fixture
def stubber(dynamodb: DynamoDBClient) -> Iterator[Stubber]:
    with Stubber(dynamodb) as stubber:
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


REGION = "eu-central-1"
FLEET_ARN = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:one"
ONCE = Config(retries={"total_max_attempts": 1})


def unreachable(**_: object) -> None:
    raise EndpointConnectionError(endpoint_url="https://somewhere.amazonaws.com")


# --- the lock ---


def test_a_free_lock_is_taken(ledger: Ledger) -> None:
    assert ledger.take_lock("a", MINE, NOW) == MINE


def test_a_lock_of_ours_is_renewed(ledger: Ledger) -> None:
    ledger.take_lock("a", MINE, NOW)
    longer = replace(MINE, lease_until=NOW + 2 * HOUR)
    assert ledger.take_lock("a", longer, NOW) == longer
    assert ledger.take_lock("a", THEIRS, NOW + HOUR) == longer, "the renewal counts"


def test_a_lock_somebody_else_holds_is_reported_and_left(ledger: Ledger) -> None:
    ledger.take_lock("a", THEIRS, NOW)
    assert ledger.take_lock("a", MINE, NOW + HOUR - MILLISECOND) == THEIRS
    assert ledger.take_lock("a", MINE, NOW + HOUR - MILLISECOND) == THEIRS


def test_a_lock_whose_lease_ran_out_is_taken_over(ledger: Ledger) -> None:
    ledger.take_lock("a", THEIRS, NOW)
    later = Lock(ARN, NOW + 2 * HOUR)
    assert ledger.take_lock("a", later, NOW + HOUR) == later
    assert ledger.take_lock("a", THEIRS, NOW + HOUR) == later


def test_the_locks_of_two_clusters_have_nothing_to_do_with_each_other(ledger: Ledger) -> None:
    ledger.take_lock("a", THEIRS, NOW)
    assert ledger.take_lock("b", MINE, NOW) == MINE


def test_a_freed_lock_can_be_taken(ledger: Ledger) -> None:
    ledger.take_lock("a", THEIRS, NOW)
    ledger.release_lock("a", OTHER_ARN)
    assert ledger.take_lock("a", MINE, NOW) == MINE


def test_a_lock_can_be_kept_until_a_moment(ledger: Ledger) -> None:
    ledger.take_lock("a", THEIRS, NOW)
    ledger.release_lock("a", OTHER_ARN, NOW + MINUTE)
    assert ledger.take_lock("a", MINE, NOW + MINUTE - MILLISECOND) == Lock(OTHER_ARN, NOW + MINUTE)
    assert ledger.take_lock("a", MINE, NOW + MINUTE) == MINE


@pytest.mark.parametrize("keep_until", [None, NOW - HOUR])
def test_nobody_frees_or_shortens_somebody_elses_lock(ledger: Ledger, keep_until: datetime | None) -> None:
    ledger.take_lock("a", THEIRS, NOW)
    ledger.release_lock("a", ARN, keep_until)
    assert ledger.take_lock("a", MINE, NOW) == THEIRS


@pytest.mark.parametrize("keep_until", [None, NOW + HOUR])
def test_freeing_a_lock_that_is_not_there_takes_none(ledger: Ledger, keep_until: datetime | None) -> None:
    ledger.release_lock("a", ARN, keep_until)
    assert ledger.take_lock("a", THEIRS, NOW) == THEIRS


# --- what is remembered ---


def test_a_cluster_never_seen_is_not_remembered(ledger: Ledger) -> None:
    assert ledger.memory("a") is None


FULL_MEMORY = ClusterMemory(
    UUID,
    "key-1",
    NOW,
    NOW + HOUR,
    NOW + MINUTE,
    NOW - MINUTE,
    earlier_keys=(EarlierKey("key-0"), EarlierKey("key-x", NOW - DAY, NOW - HOUR)),
    reported_error_of=7,
    rekey_of=Execution(OTHER_ARN, NOW - DAY),
)


@pytest.mark.parametrize("memory", [ClusterMemory(UUID), FULL_MEMORY])
def test_what_is_remembered_is_replaced_as_a_whole(ledger: Ledger, memory: ClusterMemory) -> None:
    first = ledger.remember("a", ClusterMemory("old", "key-0", NOW - DAY, NOW - HOUR, reported_error_of=3))
    assert ledger.remember("a", replace(memory, version=first.version)) == replace(memory, version=2)
    assert ledger.memory("a") == replace(memory, version=2)
    assert ledger.memory("b") is None


def test_a_memory_is_written_over_the_version_it_was_read_at(ledger: Ledger) -> None:
    """A function that lags behind would turn the memory back, and undo the acceptance of a replaced cluster."""
    first = ledger.remember("a", ClusterMemory(UUID, "key-0"))
    second = ledger.remember("a", replace(first, key_id="key-1"))
    for late in (first, replace(first, uuid="another"), ClusterMemory(UUID), ClusterMemory("another")):
        with pytest.raises(LedgerConflict):
            ledger.remember("a", late)
    assert ledger.memory("a") == second


def test_many_memories_are_read_at_once(ledger: Ledger) -> None:
    names = [f"cluster-{number}" for number in range(103)]
    for name in names[1:]:
        ledger.remember(name, replace(FULL_MEMORY, key_id=name))
    found = ledger.memories(names)
    assert sorted(found) == sorted(names[1:])
    assert all(found[name] == replace(FULL_MEMORY, key_id=name, version=1) for name in found)
    assert ledger.memories([]) == {}


# --- whose a cluster is ---


def test_a_cluster_belongs_to_the_registration_that_claims_it_first(ledger: Ledger) -> None:
    assert ledger.owner(UUID) is None
    assert ledger.claim(UUID, "prod-a") == "prod-a"
    assert ledger.claim(UUID, "prod-a") == "prod-a"
    assert ledger.claim(UUID, "prod-b") == "prod-a"
    assert ledger.claim("another", "prod-b") == "prod-b"
    assert ledger.owner(UUID) == "prod-a"


def test_an_intent_is_written_for_a_cluster_of_ones_own_only(ledger: Ledger) -> None:
    ledger.take_lock("prod-a", Lock(ARN, NOW + HOUR), NOW)
    ledger.claim("uuid", "prod-b")
    with pytest.raises(LedgerConflict, match="changed hands"):
        ledger.save_intent(rotation(intent=intent(), cluster_uuid="uuid"), NOW)
    assert ledger.rotation(execution()) is None
    ledger.move("uuid", "prod-b", "prod-a", 0, NOW)
    assert ledger.save_intent(rotation(intent=intent(), cluster_uuid="uuid"), NOW).version == 1


@pytest.mark.parametrize("version", [0, 1])
def test_a_cluster_that_is_moved_takes_what_is_remembered_of_it_along(ledger: Ledger, version: int) -> None:
    ledger.claim(UUID, "prod-a")
    memory = ledger.remember("prod-a", replace(FULL_MEMORY, claimed=True))
    if version:
        ledger.remember("prod-b", ClusterMemory("another", "key-9"))
    moved = ledger.move(UUID, "prod-a", "prod-b", version, NOW)
    assert moved == ledger.memory("prod-b") == replace(memory, version=version + 1)
    assert ledger.memory("prod-a") is None
    assert ledger.owner(UUID) == "prod-b"


@pytest.mark.parametrize("remembered", [None, ClusterMemory("another", "key-9")])
def test_a_cluster_that_its_registration_does_not_remember_is_moved_alone(
    ledger: Ledger, remembered: ClusterMemory | None
) -> None:
    ledger.claim(UUID, "prod-a")
    kept = ledger.remember("prod-a", remembered) if remembered else None
    assert ledger.move(UUID, "prod-a", "prod-b", 0, NOW) is None
    assert (ledger.owner(UUID), ledger.memory("prod-a"), ledger.memory("prod-b")) == ("prod-b", kept, None)


@pytest.mark.parametrize("why", ["locked", "moved meanwhile", "remembered meanwhile"])
def test_a_cluster_is_not_moved_from_under_somebody_at_work(ledger: Ledger, why: str) -> None:
    ledger.claim(UUID, "prod-a")
    kept = ledger.remember("prod-a", FULL_MEMORY)
    version = 0
    if why == "locked":
        ledger.take_lock("prod-a", Lock(OTHER_ARN, NOW + MILLISECOND), NOW - HOUR)
    elif why == "moved meanwhile":
        ledger.move(UUID, "prod-a", "prod-c", 0, NOW)
    else:
        ledger.remember("prod-b", ClusterMemory("another"))
    before = ledger.owner(UUID), ledger.memory("prod-a"), ledger.memory("prod-b"), ledger.memory("prod-c")
    with pytest.raises(LedgerConflict) as caught:
        ledger.move(UUID, "prod-a", "prod-b", version, NOW)
    assert caught.value.cluster == "prod-b" or why == "remembered meanwhile"
    after = ledger.owner(UUID), ledger.memory("prod-a"), ledger.memory("prod-b"), ledger.memory("prod-c")
    assert before == after
    assert kept.version == 1


def test_a_lock_that_has_run_out_keeps_no_cluster(ledger: Ledger) -> None:
    ledger.claim(UUID, "prod-a")
    ledger.take_lock("prod-a", Lock(OTHER_ARN, NOW), NOW - HOUR)
    ledger.move(UUID, "prod-a", "prod-b", 0, NOW)
    assert ledger.owner(UUID) == "prod-b"


def test_a_memory_of_the_first_release_is_moved_like_any_other(dynamo: DynamoDBClient) -> None:
    dynamo.put_item(TableName=TABLE, Item={"pk": {"S": "CLUSTER#prod-a"}, "uuid": {"S": UUID}, "keyID": {"S": "key-0"}})
    ledger = DynamoLedger(dynamo, TABLE)
    ledger.claim(UUID, "prod-a")
    assert ledger.move(UUID, "prod-a", "prod-b", 0, NOW) == ClusterMemory(UUID, "key-0", version=1, claimed=True)
    assert ledger.memory("prod-a") is None


def test_a_claim_that_vanished_while_it_was_looked_at_is_a_conflict(stubbed: Stubbed) -> None:
    ledger, stubber = stubbed
    stubber.add_client_error("put_item", "ConditionalCheckFailedException", "There was one.")
    stubber.add_response("get_item", {})
    with pytest.raises(LedgerConflict):
        ledger.claim(UUID, "prod-a")


# --- a key that is seen for the first time ---


def test_a_record_the_memory_and_the_record_it_settles_are_written_at_once(ledger: Ledger) -> None:
    earlier = ledger.save(rotation(execution=execution(NOW - DAY, OTHER_ARN)))
    record = ledger.save(rotation())
    memory = ledger.remember("prod-a", ClusterMemory(UUID, "key-0"))
    settled = replace(earlier, settled_by=record.execution)

    saved, written = ledger.save_seen(record, replace(memory, key_id="key-1"), settled)

    assert (saved.version, written.version) == (2, 2)
    assert ledger.rotation(execution()) == saved
    assert ledger.memory("prod-a") == written == ClusterMemory(UUID, "key-1", version=2)
    assert ledger.rotation(earlier.execution) == replace(settled, version=2)
    assert ledger.save_seen(saved, written, None) == (replace(saved, version=3), replace(written, version=3))


@pytest.mark.parametrize("late", ["record", "memory", "settled"])
def test_none_of_them_is_written_where_one_was_written_meanwhile(ledger: Ledger, late: str) -> None:
    earlier = ledger.save(rotation(execution=execution(NOW - DAY, OTHER_ARN)))
    record = ledger.save(rotation())
    memory = ledger.remember("prod-a", ClusterMemory(UUID, "key-0"))
    if late == "record":
        ledger.save(record)
    elif late == "memory":
        ledger.remember("prod-a", memory)
    else:
        ledger.save(earlier)
    before = ledger.rotation(execution()), ledger.memory("prod-a"), ledger.rotation(earlier.execution)
    with pytest.raises(LedgerConflict):
        ledger.save_seen(replace(record, polls=9), replace(memory, key_id="key-1"), replace(earlier, polls=9))
    assert (ledger.rotation(execution()), ledger.memory("prod-a"), ledger.rotation(earlier.execution)) == before


# --- a name that is used again ---


LATER = Execution(ARN, NOW + 91 * DAY)


def test_what_a_look_says_of_a_cluster_is_kept_until_a_later_one(ledger: Ledger) -> None:
    refused = Failure("ClusterFaultsBlock", "nodeOffline", "Clear the faults.")
    first, second = Readiness(NOW, NOW, refused), Readiness(NOW + HOUR, NOW + HOUR)
    assert ledger.readiness(["prod-a", "prod-b"]) == {}
    ledger.save_readiness("prod-a", first)
    ledger.save_readiness("prod-b", second)
    assert ledger.readiness(["prod-a", "prod-b", "prod-c"]) == {"prod-a": first, "prod-b": second}
    ledger.save_readiness("prod-a", second)
    ledger.save_readiness("prod-a", first)
    ledger.save_readiness("prod-a", Readiness(second.looked_at, NOW, refused))
    assert ledger.readiness(["prod-a"]) == {"prod-a": second}, "nothing older is written over it"


def test_a_rotation_whose_execution_has_the_name_of_an_earlier_one_has_a_record_of_its_own(ledger: Ledger) -> None:
    earlier = ledger.save(rotation(outcome=Outcome.ROTATED, ended_at=NOW))
    assert ledger.rotation(LATER) is None

    saved = ledger.save(rotation(execution=LATER))

    assert ledger.rotation(LATER) == saved
    assert ledger.rotation(earlier.execution) is None, "moved aside"
    assert ledger.save(replace(saved, polls=1)) == ledger.rotation(LATER)
    with pytest.raises(LedgerConflict):
        ledger.save(rotation(execution=LATER))


def test_an_intent_can_be_the_first_record_under_a_name_used_again(ledger: Ledger) -> None:
    ledger.save(rotation(outcome=Outcome.ROTATED, ended_at=NOW))
    with pytest.raises(LedgerConflict):
        ledger.save_intent(rotation(execution=LATER, intent=intent()), LATER.started_at)

    ledger.take_lock("prod-a", Lock(ARN, LATER.started_at + HOUR), LATER.started_at)
    saved = ledger.save_intent(rotation(execution=LATER, intent=intent()), LATER.started_at)

    assert ledger.rotation(LATER) == saved


def test_a_fleet_run_that_has_the_name_of_an_earlier_one_has_a_record_of_its_own(ledger: Ledger) -> None:
    ledger.save_fleet_run(replace(FleetRun(execution()), ended_at=NOW))
    assert ledger.fleet_run(LATER) is None
    saved = ledger.save_fleet_run(FleetRun(LATER))
    assert ledger.fleet_run(LATER) == saved


def test_the_start_of_an_execution_may_be_told_in_two_ways(ledger: Ledger) -> None:
    saved = ledger.save(rotation())
    assert ledger.rotation(Execution(ARN, NOW + timedelta(milliseconds=999))) == saved


def test_what_was_moved_aside_stays_in_the_history(dynamo: DynamoDBClient) -> None:
    ledger = DynamoLedger(dynamo, TABLE)
    ledger.save(rotation(outcome=Outcome.ROTATED))
    ledger.save(rotation(execution=LATER))
    found = dynamo.query(
        TableName=TABLE,
        IndexName="ByCluster",
        KeyConditionExpression="#c = :c",
        ExpressionAttributeNames={"#c": "cluster"},
        ExpressionAttributeValues={":c": {"S": "prod-a"}},
    )["Items"]
    assert [item["pk"]["S"] for item in found] == [f"ROTATION#{ARN}#2026-11-23T03:00:00.000Z", f"ROTATION#{ARN}"]
    assert [item.get("outcome") for item in found] == [{"S": "Rotated"}, None]


# --- the record of a rotation ---


def test_an_execution_without_a_record_has_none(ledger: Ledger) -> None:
    assert ledger.rotation(execution()) is None


@pytest.mark.parametrize(
    "record",
    [
        rotation(),
        rotation(intent=intent(), following=following()),
        rotation(intent=intent(baseline_async_result_id=6), following=following(async_handle=None)),
        rotated(notified_at=NOW, publishing_until=NOW + MINUTE),
        failed(),
        Rotation(execution()),
    ],
    ids=["fresh", "running", "result gone", "rotated", "failed", "of an input that named nothing"],
)
def test_a_record_is_read_back_as_it_was_written(ledger: Ledger, record: Rotation) -> None:
    saved = ledger.save(record)
    assert saved == replace(record, version=1)
    assert ledger.rotation(execution()) == saved
    assert ledger.rotation(execution(arn=OTHER_ARN)) is None


def test_times_are_kept_to_the_millisecond(ledger: Ledger) -> None:
    ledger.save(rotation(ended_at=NOW + timedelta(microseconds=1999)))
    kept = ledger.rotation(execution())
    assert kept
    assert kept.ended_at == NOW + MILLISECOND


def test_each_write_needs_the_version_it_read(ledger: Ledger) -> None:
    first = ledger.save(rotation())
    second = ledger.save(replace(first, polls=1))
    assert second.version == 2
    with pytest.raises(LedgerConflict):
        ledger.save(replace(first, polls=99))
    assert ledger.rotation(execution()) == second


def test_a_record_is_made_once(ledger: Ledger) -> None:
    ledger.save(rotation())
    with pytest.raises(LedgerConflict):
        ledger.save(rotation(polls=99))


def test_a_record_that_is_gone_is_not_written_over(ledger: Ledger) -> None:
    with pytest.raises(LedgerConflict):
        ledger.save(rotation(version=3))


def test_many_records_are_read_at_once(ledger: Ledger) -> None:
    arns = [f"{ARN}-{number}" for number in range(103)]
    for arn in arns[1:]:
        ledger.save(rotation(execution=execution(arn=arn)))
    found = ledger.rotations(arns)
    assert sorted(found) == sorted(arns[1:])
    assert all(found[arn].execution.id == arn for arn in found)
    assert ledger.rotations([]) == {}


# --- the intent ---


def test_an_intent_is_written_by_whoever_holds_the_lock(ledger: Ledger) -> None:
    ledger.take_lock("prod-a", MINE, NOW)
    first = ledger.save_intent(rotation(intent=intent()), NOW)
    second = ledger.save_intent(replace(first, intent=intent(attempts=2)), NOW)
    assert (first.version, second.version) == (1, 2)
    assert ledger.rotation(execution()) == second


def no_lock(_: Ledger) -> None:
    pass


def lock_of_somebody_else(ledger: Ledger) -> None:
    ledger.take_lock("prod-a", THEIRS, NOW)


def lock_of_another_cluster(ledger: Ledger) -> None:
    ledger.take_lock("prod-b", MINE, NOW)


def lease_ran_out(ledger: Ledger) -> None:
    ledger.take_lock("prod-a", Lock(ARN, NOW), NOW - HOUR)


def record_written_by_somebody_else(ledger: Ledger) -> None:
    ledger.take_lock("prod-a", MINE, NOW)
    ledger.save(rotation(polls=7))


@pytest.mark.parametrize(
    "before",
    [no_lock, lock_of_somebody_else, lock_of_another_cluster, lease_ran_out, record_written_by_somebody_else],
)
def test_no_intent_is_written_without_the_lock_or_over_a_newer_record(
    ledger: Ledger, before: Callable[[Ledger], None]
) -> None:
    before(ledger)
    kept = ledger.rotation(execution())
    with pytest.raises(LedgerConflict):
        ledger.save_intent(rotation(intent=intent()), NOW)
    assert ledger.rotation(execution()) == kept


# --- fleet runs ---


def test_a_fleet_run_is_read_back_as_it_was_written_and_written_over_its_version_only(ledger: Ledger) -> None:
    assert ledger.fleet_run(RUN.execution) is None
    first = ledger.save_fleet_run(RUN)
    assert first == replace(RUN, version=1)
    second = ledger.save_fleet_run(replace(first, ended_at=NOW + HOUR))
    with pytest.raises(LedgerConflict):
        ledger.save_fleet_run(replace(first, ended_at=NOW))
    assert ledger.fleet_run(RUN.execution) == second
    assert ledger.rotation(execution()) is None, "a rotation is something else"


# --- what only DynamoDB has ---


def test_a_record_carries_what_the_indexes_and_the_audit_need(dynamo: DynamoDBClient) -> None:
    DynamoLedger(dynamo, TABLE).save(rotated())
    item = items(dynamo)[f"ROTATION#{ARN}"]
    assert (item["cluster"], item["month"], item["startedAt"]) == ("prod-a", "2026-11", "2026-11-23T03:00:00.000Z")
    assert item["change"]["newKey"]["keyID"] == "key-1"
    assert "expiresAt" not in item, "kept for ever"


@pytest.mark.parametrize(
    ("index", "attribute", "value"), [("ByCluster", "cluster", "prod-a"), ("ByMonth", "month", "2026-11")]
)
def test_the_history_is_found_in_the_order_of_time(
    dynamo: DynamoDBClient, index: str, attribute: str, value: str
) -> None:
    ledger = DynamoLedger(dynamo, TABLE)
    for number, arn in enumerate(("c", "a", "b")):
        ledger.save(rotation(execution=execution(NOW + number * MINUTE, arn)))
    ledger.save(rotation(execution=execution(NOW - 60 * DAY, "long ago"), cluster="prod-b"))
    found = dynamo.query(
        TableName=TABLE,
        IndexName=index,
        KeyConditionExpression="#name = :value",
        ExpressionAttributeNames={"#name": attribute},
        ExpressionAttributeValues={":value": {"S": value}},
    )
    assert [item["pk"]["S"] for item in found["Items"]] == ["ROTATION#c", "ROTATION#a", "ROTATION#b"]


def test_fleet_runs_are_in_the_history_of_their_month(dynamo: DynamoDBClient) -> None:
    ledger = DynamoLedger(dynamo, TABLE)
    ledger.save_fleet_run(RUN)
    ledger.save(rotation(execution=execution(RUN.execution.started_at + MINUTE)))
    found = dynamo.query(
        TableName=TABLE,
        IndexName="ByMonth",
        KeyConditionExpression="#name = :value",
        ExpressionAttributeNames={"#name": "month"},
        ExpressionAttributeValues={":value": {"S": f"{RUN.execution.started_at:%Y-%m}"}},
    )
    assert [item["pk"]["S"].partition("#")[0] for item in found["Items"]] == ["FLEET", "ROTATION"]


def test_a_rotation_of_no_cluster_is_kept_outside_the_index_by_cluster(dynamo: DynamoDBClient) -> None:
    DynamoLedger(dynamo, TABLE).save(Rotation(execution()))
    assert "cluster" not in items(dynamo)[f"ROTATION#{ARN}"]


def test_records_expire_where_the_operator_says_so_and_locks_and_memories_never(dynamo: DynamoDBClient) -> None:
    ledger = DynamoLedger(dynamo, TABLE, timedelta(days=400))
    ledger.take_lock("prod-a", MINE, NOW)
    ledger.remember("prod-a", ClusterMemory(UUID))
    ledger.save_intent(rotation(intent=intent()), NOW)
    ledger.save_fleet_run(RUN)
    expiring = {
        pk: datetime.fromtimestamp(int(item["expiresAt"]), UTC)
        for pk, item in items(dynamo).items()
        if "expiresAt" in item
    }
    assert expiring == {f"ROTATION#{ARN}": NOW + 400 * DAY, f"FLEET#{ARN}": NOW + 400 * DAY}


def test_what_a_later_version_added_does_not_stop_this_one(dynamo: DynamoDBClient) -> None:
    ledger = DynamoLedger(dynamo, TABLE)
    ledger.save(rotation(intent=intent()))
    dynamo.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"ROTATION#{ARN}"}},
        UpdateExpression="SET later = :one, intent.later = :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    assert ledger.rotation(execution()) == rotation(intent=intent(), version=1)


# --- what AWS may answer ---


class Stubbed(NamedTuple):
    ledger: DynamoLedger
    stubber: Stubber


@pytest.fixture
def stubbed(table: DynamoDBClient) -> Iterator[Stubbed]:
    with Stubber(table) as stubber:
        yield Stubbed(DynamoLedger(table, TABLE), stubber)
        stubber.assert_no_pending_responses()


CALLS: dict[str, tuple[str, Callable[[DynamoLedger], object]]] = {
    "take_lock": ("put_item", lambda ledger: ledger.take_lock("a", MINE, NOW)),
    "release_lock": ("delete_item", lambda ledger: ledger.release_lock("a", ARN)),
    "keep the lock": ("update_item", lambda ledger: ledger.release_lock("a", ARN, NOW)),
    "memory": ("get_item", lambda ledger: ledger.memory("a")),
    "remember": ("put_item", lambda ledger: ledger.remember("a", ClusterMemory(UUID))),
    "owner": ("get_item", lambda ledger: ledger.owner(UUID)),
    "claim": ("put_item", lambda ledger: ledger.claim(UUID, "prod-a")),
    "save_seen": ("transact_write_items", lambda ledger: ledger.save_seen(rotation(), ClusterMemory(UUID), None)),
    "rotation": ("get_item", lambda ledger: ledger.rotation(execution())),
    "rotations": ("batch_get_item", lambda ledger: ledger.rotations([ARN])),
    "save": ("put_item", lambda ledger: ledger.save(rotation())),
    "save_intent": ("transact_write_items", lambda ledger: ledger.save_intent(rotation(), NOW)),
    "fleet_run": ("get_item", lambda ledger: ledger.fleet_run(RUN.execution)),
    "save_fleet_run": ("put_item", lambda ledger: ledger.save_fleet_run(RUN)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "AccessDeniedException", "InternalServerError"]
)
def test_an_answer_that_is_no_conflict_is_a_failed_call(stubbed: Stubbed, call: str, code: str) -> None:
    ledger, stubber = stubbed
    operation, use = CALLS[call]
    stubber.add_client_error(operation, code, "Not now.")
    with pytest.raises(AwsCallFailed, match=f"DynamoDB did not .*{code}"):
        use(ledger)


@pytest.mark.parametrize("call", CALLS)
def test_no_answer_is_a_failed_call(call: str) -> None:
    operation, use = CALLS[call]

    def silent(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://dynamodb")

    client = cast("DynamoDBClient", SimpleNamespace(**{operation: silent}))
    with pytest.raises(AwsCallFailed, match="DynamoDB did not"):
        use(DynamoLedger(client, TABLE))


@pytest.mark.parametrize(
    "code", ["ConditionalCheckFailedException", "TransactionCanceledException", "TransactionConflictException"]
)
@pytest.mark.parametrize("call", ["remember", "save", "save_seen", "save_intent", "save_fleet_run"])
def test_whoever_wrote_first_is_a_conflict(stubbed: Stubbed, call: str, code: str) -> None:
    ledger, stubber = stubbed
    operation, use = CALLS[call]
    stubber.add_client_error(operation, code, "Written meanwhile.")
    if call != "remember":
        stubber.add_response("get_item", {})  # the first record of an execution: is there one of an earlier execution?
    with pytest.raises(LedgerConflict):
        use(ledger)


FREEING = ["release_lock", "keep the lock"]


@pytest.mark.parametrize("call", FREEING)
def test_freeing_what_is_not_ours_is_done_with(stubbed: Stubbed, call: str) -> None:
    ledger, stubber = stubbed
    operation, use = CALLS[call]
    stubber.add_client_error(operation, "ConditionalCheckFailedException", "Not yours.")
    use(ledger)


@pytest.mark.parametrize("call", FREEING)
@pytest.mark.parametrize("code", ["TransactionConflictException", "TransactionCanceledException"])
def test_a_transaction_in_the_way_does_not_say_that_a_lock_is_not_ours(stubbed: Stubbed, call: str, code: str) -> None:
    """It may be the intent of a function of our own; the lock would stay until its lease ran out."""
    ledger, stubber = stubbed
    operation, use = CALLS[call]
    stubber.add_client_error(operation, code, "Transaction is ongoing for the item.")
    with pytest.raises(AwsCallFailed, match="DynamoDB did not free the lock"):
        use(ledger)


def test_a_memory_of_an_earlier_version_is_understood(dynamo: DynamoDBClient) -> None:
    dynamo.put_item(TableName=TABLE, Item={"pk": {"S": "CLUSTER#a"}, "uuid": {"S": UUID}, "keyID": {"S": "key-1"}})
    assert DynamoLedger(dynamo, TABLE).memory("a") == ClusterMemory(UUID, "key-1")


def test_a_lock_that_was_freed_while_we_looked_at_it_is_a_conflict(stubbed: Stubbed) -> None:
    ledger, stubber = stubbed
    stubber.add_client_error("put_item", "ConditionalCheckFailedException")
    stubber.add_response("get_item", {})
    with pytest.raises(LedgerConflict):
        ledger.take_lock("a", MINE, NOW)


def test_every_read_is_a_consistent_one(stubbed: Stubbed) -> None:
    ledger, stubber = stubbed
    stubber.add_response("get_item", {}, {"TableName": TABLE, "Key": ANY, "ConsistentRead": True})
    assert ledger.rotation(execution()) is None
    stubber.add_response(
        "batch_get_item", {"Responses": {}}, {"RequestItems": {TABLE: {"Keys": ANY, "ConsistentRead": True}}}
    )
    assert ledger.rotations([ARN]) == {}


def test_records_left_unread_by_a_batch_are_asked_for_again(stubbed: Stubbed) -> None:
    ledger, stubber = stubbed
    pk = {"pk": {"S": f"ROTATION#{ARN}"}}
    record = {"execution": {"M": {"id": {"S": ARN}, "startedAt": {"S": "2026-11-23T03:00:00Z"}}}}
    stubber.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": {TABLE: {"Keys": [pk]}}})
    stubber.add_response("batch_get_item", {"Responses": {TABLE: [pk | record]}})
    assert ledger.rotations([ARN]) == {ARN: Rotation(execution())}


def test_an_error_says_what_dynamodb_said() -> None:
    error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "Not you."}}, "GetItem")

    def refused(**_: object) -> None:
        raise error

    ledger = DynamoLedger(cast("DynamoDBClient", SimpleNamespace(get_item=refused)), TABLE)
    with pytest.raises(AwsCallFailed, match="Not you") as caught:
        ledger.memory("a")
    assert caught.value.__cause__ is error


def test_the_fake_keeps_what_json_can_carry() -> None:
    ledger = FakeLedger()
    ledger.save(rotated())
    ledger.take_lock("prod-a", MINE, NOW)
    assert json.loads(json.dumps(ledger.items)) == ledger.items
    assert ledger.lock("prod-a") == MINE
    assert ledger.lock("prod-b") is None


# --- what is sent, and how an error is worded ---


def test_freeing_a_lock_sends_no_value_that_its_condition_does_not_use(
    dynamodb: DynamoDBClient, stubber: Stubber
) -> None:
    stubber.add_response("delete_item", {}, condition())
    DynamoLedger(dynamodb, TABLE).release_lock("prod-a", ARN)


def test_keeping_a_lock_sends_the_moment_until_which(dynamodb: DynamoDBClient, stubber: Stubber) -> None:
    update = {"UpdateExpression": "SET leaseUntil = :until"}
    stubber.add_response("update_item", {}, condition(until="2026-11-23T03:00:00.000Z") | update)
    DynamoLedger(dynamodb, TABLE).release_lock("prod-a", ARN, NOW)


@pytest.mark.parametrize(
    ("operation", "use", "words"),
    [
        ("put_item", lambda ledger: ledger.save(rotation()), "write"),
        ("get_item", lambda ledger: ledger.rotation(execution()), "read"),
        ("batch_get_item", lambda ledger: ledger.rotations([ARN]), "read"),
        ("transact_write_items", lambda ledger: ledger.save_intent(rotation(), NOW), "write"),
        ("delete_item", lambda ledger: ledger.release_lock("prod-a", ARN), "free the lock"),
    ],
)
def test_what_failed_is_reported_in_words(
    dynamodb: DynamoDBClient, stubber: Stubber, operation: str, use: Callable[[DynamoLedger], object], words: str
) -> None:
    stubber.add_client_error(operation, "InternalServerError", "Not now.")
    with pytest.raises(AwsCallFailed, match=f"DynamoDB did not {words}: An error"):
        use(DynamoLedger(dynamodb, TABLE))


def test_a_lost_lock_names_the_cluster_whose_rekey_was_not_sent(dynamodb: DynamoDBClient, stubber: Stubber) -> None:
    stubber.add_client_error("transact_write_items", "TransactionCanceledException")
    what = r": The lock, the record or the cluster changed hands before the rekey was sent\."
    with pytest.raises(LedgerConflict, match=what) as caught:
        DynamoLedger(dynamodb, TABLE).save_intent(rotation(version=1), NOW)
    assert caught.value.cluster == rotation().cluster
    assert caught.value.cluster


def test_an_item_written_by_somebody_else_is_named(dynamodb: DynamoDBClient, stubber: Stubber) -> None:
    stubber.add_client_error("put_item", "ConditionalCheckFailedException")
    with pytest.raises(LedgerConflict, match=f"ROTATION#{ARN} "):
        DynamoLedger(dynamodb, TABLE).save(rotation(version=1))


# --- fleet runs and batches ---


@pytest.fixture
def client(dynamo: DynamoDBClient) -> DynamoDBClient:
    """A client of one's own for the empty table, for whoever hooks into its calls."""
    assert dynamo
    made: DynamoDBClient = boto3.client("dynamodb", region_name=REGION, config=ONCE)
    return made


FLEET_RUN = FleetRun(
    Execution(FLEET_ARN, NOW),
    FleetRequest(clusters=("a", "b"), reason="change", key_created_after=NOW),
    selected=(Selected("a", "a-1", NOW, 86_400),),
    not_selected=(NotSelected("b", "ClusterNotRegistered", "There is no secret of this name."),),
    failure=Failure("FleetIncomplete", "b", "Look."),
)


def item(client: DynamoDBClient, pk: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get_item(TableName=TABLE, Key={"pk": {"S": pk}}).get("Item", {})
    return found


def test_a_fleet_run_is_found_as_it_was_saved(client: DynamoDBClient) -> None:
    ledger = DynamoLedger(client, TABLE)
    assert ledger.fleet_run(FLEET_RUN.execution) is None
    saved = ledger.save_fleet_run(FLEET_RUN)
    assert saved == replace(FLEET_RUN, version=1)
    assert ledger.fleet_run(FLEET_RUN.execution) == saved
    assert ledger.save_fleet_run(saved).version == 2


def test_a_fleet_run_that_somebody_else_wrote_is_not_written_over(client: DynamoDBClient) -> None:
    ledger = DynamoLedger(client, TABLE)
    first = ledger.save_fleet_run(FLEET_RUN)
    ledger.save_fleet_run(first)
    for stale in (FLEET_RUN, first):
        with pytest.raises(LedgerConflict, match="was written by another invocation"):
            ledger.save_fleet_run(stale)


def test_what_the_state_machine_counts_on_the_item_stands_in_nobodys_way(client: DynamoDBClient) -> None:
    ledger = DynamoLedger(client, TABLE)
    saved = ledger.save_fleet_run(FLEET_RUN)
    client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"FLEET#{FLEET_ARN}"}},
        UpdateExpression="ADD begun :one, failures :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    assert ledger.fleet_run(FLEET_RUN.execution) == saved
    ledger.save_fleet_run(saved)


@pytest.mark.parametrize("keep", [None, 30 * DAY])
def test_records_expire_when_the_operator_says_so_and_never_else(
    client: DynamoDBClient, keep: timedelta | None
) -> None:
    ledger = DynamoLedger(client, TABLE, keep)
    ledger.save_fleet_run(FLEET_RUN)
    ledger.save(rotated(execution=Execution("rotation", NOW)))
    for pk in (f"FLEET#{FLEET_ARN}", "ROTATION#rotation"):
        expected = {"N": str(int((NOW + keep).timestamp()))} if keep else None
        assert item(client, pk).get("expiresAt") == expected


def test_a_fleet_run_is_in_the_index_by_month_alone(client: DynamoDBClient) -> None:
    DynamoLedger(client, TABLE).save_fleet_run(FLEET_RUN)
    found = {
        index["IndexName"]: len(client.scan(TableName=TABLE, IndexName=index["IndexName"])["Items"])
        for index in properties("Table")["GlobalSecondaryIndexes"]
    }
    assert found == {"ByCluster": 0, "ByMonth": 1}


def test_many_rotations_are_read_in_as_few_calls_as_there_can_be(client: DynamoDBClient) -> None:
    ledger = DynamoLedger(client, TABLE)
    known = [ledger.save(rotated(execution=Execution(f"rotation-{number}", NOW))) for number in range(205)]
    called: list[int] = []
    client.meta.events.register(
        "provide-client-params.dynamodb.BatchGetItem",
        lambda params, **_: called.append(len(params["RequestItems"][TABLE]["Keys"])),
    )
    asked = [*(one.execution.id for one in known), "not-begun"]
    assert ledger.rotations(asked) == {one.execution.id: one for one in known}
    assert called == [100, 100, 6]
    assert ledger.rotations([]) == {}


def test_what_dynamodb_leaves_unprocessed_is_asked_for_again(client: DynamoDBClient) -> None:
    ledger = DynamoLedger(client, TABLE)
    known = [ledger.save(rotated(execution=Execution(f"rotation-{number}", NOW))) for number in range(5)]
    asked: list[int] = []

    def only_two_at_a_time(params: dict[str, Any], context: dict[str, Any], **_: object) -> dict[str, Any]:
        keys = params["RequestItems"][TABLE]["Keys"]
        asked.append(len(keys))
        context["left"] = keys[2:]
        return {"RequestItems": {TABLE: {"Keys": keys[:2], "ConsistentRead": True}}}

    def say_so(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        parsed["UnprocessedKeys"] = {TABLE: {"Keys": context["left"]}} if context["left"] else {}

    client.meta.events.register("provide-client-params.dynamodb.BatchGetItem", only_two_at_a_time)  # type: ignore[arg-type]
    client.meta.events.register("after-call.dynamodb.BatchGetItem", say_so)
    found = ledger.rotations([one.execution.id for one in known])
    assert found == {one.execution.id: one for one in known}
    assert asked == [5, 3, 1]


def test_a_read_that_fails_is_a_call_that_failed(client: DynamoDBClient) -> None:
    client.meta.events.register("before-send.dynamodb", unreachable)
    ledger = DynamoLedger(client, TABLE)
    with pytest.raises(AwsCallFailed, match="DynamoDB did not read"):
        ledger.rotations(["one"])
    with pytest.raises(AwsCallFailed, match="DynamoDB did not read"):
        ledger.fleet_run(FLEET_RUN.execution)
    with pytest.raises(AwsCallFailed, match="DynamoDB did not write"):
        ledger.save_fleet_run(FLEET_RUN)


def test_a_record_of_a_later_version_is_still_understood(client: DynamoDBClient) -> None:
    ledger = DynamoLedger(client, TABLE)
    ledger.save_fleet_run(FLEET_RUN)
    client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"FLEET#{FLEET_ARN}"}},
        UpdateExpression="SET somethingNew = :one",
        ExpressionAttributeValues={":one": {"S": "one"}},
    )
    assert json.dumps(encode(ledger.fleet_run(FLEET_RUN.execution))) == json.dumps(
        encode(replace(FLEET_RUN, version=1))
    )


# --- what people read, and no function does ---


def test_many_locks_are_read_at_once(dynamo: DynamoDBClient) -> None:
    ledger = DynamoLedger(dynamo, TABLE)
    ledger.take_lock("prod-a", MINE, NOW)
    assert ledger.locks(["prod-a", "prod-b"]) == {"prod-a": MINE}


def test_many_fleet_runs_are_read_at_once(dynamo: DynamoDBClient) -> None:
    ledger = DynamoLedger(dynamo, TABLE)
    saved = ledger.save_fleet_run(RUN)
    assert ledger.fleet_runs([ARN, OTHER_ARN]) == {ARN: saved}


def test_the_history_is_read_by_cluster_and_by_month_the_newest_first(dynamo: DynamoDBClient) -> None:
    ledger = DynamoLedger(dynamo, TABLE)
    saved = [
        ledger.save(rotation(execution=execution(NOW + days * DAY, f"{ARN}-{days}"), cluster=cluster))
        for days, cluster in ((0, "prod-a"), (1, "prod-b"), (2, "prod-a"), (30, "prod-a"))
    ]
    assert list(ledger.rotations_of("prod-a", page=1)) == [saved[3], saved[2], saved[0]]
    assert list(ledger.rotations_in("2026-11")) == [saved[2], saved[1], saved[0]]
    assert list(ledger.rotations_in("2026-10")) == []


def test_other_records_of_an_index_are_no_rotations(dynamo: DynamoDBClient) -> None:
    item = {"pk": "FLEET#x", "month": "2026-11", "startedAt": encode(NOW)}
    dynamo.put_item(TableName=TABLE, Item={name: {"S": value} for name, value in item.items()})
    assert list(DynamoLedger(dynamo, TABLE).rotations_in("2026-11")) == []


def test_a_history_that_cannot_be_read_is_an_aws_call_that_failed(dynamo: DynamoDBClient) -> None:
    with pytest.raises(AwsCallFailed, match="DynamoDB did not read"):
        list(DynamoLedger(dynamo, "nobodys").rotations_of("prod-a"))

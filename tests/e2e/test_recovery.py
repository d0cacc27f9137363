"""A stack that is gone leaves its table: the next one takes it over, with the history and what is known of clusters."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.deployment import Deployment, deploy
from local.fleet import published
from local.simulator import ClusterSpec
from local.stack import local_parameters, running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

WAIT_SCALE = 0.05
PATIENCE_SECONDS = 30
LEASE = timedelta(seconds=4)
STRANGER = "a-cluster-that-was-there-before"


def delete_stack(deployment: Deployment) -> None:
    """Delete the stack, and wait until it is gone."""
    cloudformation = deployment.aws.cloudformation
    cloudformation.delete_stack(StackName=deployment.stack_name)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while deployment.stack_name in {
        one["StackName"]
        for one in cloudformation.list_stacks()["StackSummaries"]
        if one["StackStatus"] != "DELETE_COMPLETE"
    }:
        assert time.monotonic() < deadline, "the stack was never deleted"
        time.sleep(0.05)


def rotate(deployment: Deployment, cluster: str) -> dict[str, Any]:
    """One rotation by hand; what was published of it."""
    *_, notification = published(deployment, deployment.start({"cluster": cluster, "reason": "CHG-1"}))
    return notification


def items(deployment: Deployment, kind: str) -> dict[str, Any]:
    found = deployment.aws.dynamodb.scan(TableName=deployment.table_name, ConsistentRead=True)["Items"]
    return {one["pk"]["S"]: one for one in found if one["pk"]["S"].startswith(f"{kind}#")}


@pytest.fixture(scope="module")
def recovered() -> Iterator[tuple[Deployment, dict[str, Any], dict[str, Any]]]:
    """The second stack, the records the first one left, and what the second one published of a rotation."""
    specs = [ClusterSpec(name=name, rekey_seconds=0.5, seed=name) for name in ("prod-a", "prod-b")]
    with running_stack(specs, WAIT_SCALE) as stack:
        first = stack.deployment
        assert rotate(first, "prod-a")["outcome"] == "Rotated"
        memory = items(first, "CLUSTER")["CLUSTER#prod-a"]
        strange = {**memory, "pk": {"S": "CLUSTER#prod-b"}, "uuid": {"S": STRANGER}}
        first.aws.dynamodb.put_item(TableName=first.table_name, Item=strange)
        before = items(first, "ROTATION")
        until = (datetime.now(UTC) + LEASE).isoformat()
        lock = {"pk": {"S": "LOCK#prod-a"}, "owner": {"S": "one-that-died"}, "leaseUntil": {"S": until}}
        first.aws.dynamodb.put_item(TableName=first.table_name, Item=lock)
        delete_stack(first)
        assert first.table_name in first.aws.dynamodb.list_tables()["TableNames"]
        taken_over = {**local_parameters(WAIT_SCALE), "ExistingTableName": first.table_name}
        second = deploy(first.aws, taken_over)
        notification = rotate(second, "prod-a")
        assert notification["endedAt"] > until, "it did not wait for whoever held the cluster"
        yield second, before, notification


def test_no_other_table_is_made(recovered: tuple[Deployment, dict[str, Any], dict[str, Any]]) -> None:
    deployment, _, _ = recovered
    pages = deployment.aws.cloudformation.list_stack_resources(StackName=deployment.stack_name)
    assert "AWS::DynamoDB::Table" not in {one["ResourceType"] for one in pages["StackResourceSummaries"]}
    assert deployment.aws.dynamodb.list_tables()["TableNames"] == [deployment.table_name]


def test_the_history_is_kept_and_goes_on(recovered: tuple[Deployment, dict[str, Any], dict[str, Any]]) -> None:
    """The functions' own roles read and write it: this engine enforces them."""
    deployment, before, notification = recovered
    assert notification["outcome"] == "Rotated"
    after = items(deployment, "ROTATION")
    assert before.items() <= after.items()
    assert set(after) - set(before) == {f"ROTATION#{notification['executionArn']}"}


def test_another_cluster_at_a_known_address_is_refused(
    recovered: tuple[Deployment, dict[str, Any], dict[str, Any]],
) -> None:
    deployment, _, _ = recovered
    assert rotate(deployment, "prod-b")["error"] == "ClusterIdentityChanged"

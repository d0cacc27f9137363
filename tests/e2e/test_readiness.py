"""The daily look at the whole fleet on the engine, with the roles of the template, begun by its own schedule."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.simulator import ClusterSpec
from local.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.deployment import Deployment
    from local.stack import Stack

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

PATIENCE_SECONDS = 60
LOOKS = {"trigger": "readiness", "dryRun": True}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Looked at as soon as everything is there: one cluster is well, the password of the other was changed in March."""
    specs = [ClusterSpec(name=name, seed=name) for name in ("prod-a", "prod-b")]
    soon = datetime.now(UTC) + timedelta(seconds=8)
    looks = {"ReadinessState": "ENABLED", "ReadinessExpression": f"at({soon:%Y-%m-%dT%H:%M:%S})"}
    with running_stack(specs, 0.05, register=False, parameters=looks) as running:
        for cluster in running.simulator:
            registration = cluster.registration()
            if cluster.name == "prod-b":
                registration["password"] = "that of February"
            running.deployment.register(cluster.name, registration)
        assert datetime.now(UTC) < soon, "too slow for the schedule"
        yield running


def wait_for_end(deployment: Deployment, already: set[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The output of the next fleet run, and everything that was published until a moment after its end."""
    machine = deployment.state_machine_arns["RotateFleet"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert time.monotonic() < deadline, "no run ended"
        listed = deployment.aws.stepfunctions.list_executions(stateMachineArn=machine)["executions"]
        ended = [one for one in listed if one["executionArn"] not in already and one["status"] != "RUNNING"]
        if ended:
            break
        time.sleep(0.1)
    already.add(ended[0]["executionArn"])
    run = deployment.aws.stepfunctions.describe_execution(executionArn=ended[0]["executionArn"])
    assert run["status"] == "SUCCEEDED", run
    return json.loads(run["output"]), [*deployment.receive(), *deployment.receive()]


def test_people_hear_of_a_cluster_that_is_not_ready_once_and_of_one_that_is_again(stack: Stack) -> None:
    deployment, runs = stack.deployment, set[str]()
    output, published = wait_for_end(deployment, runs)
    assert output["headline"] == "NOT READY any more: prod-b, readiness of 2 clusters, 1 not ready"
    assert published == [output], "nothing of the single looks"
    (news,) = output["becameNotReady"]
    assert (news["cluster"], news["error"]) == ("prod-b", "CredentialsRefused")

    deployment.start(LOOKS, "RotateFleet")
    output, published = wait_for_end(deployment, runs)
    assert (output["clustersNotReady"], published) == (1, []), "it is no news any more"
    assert [one["cluster"] for one in output["wouldBeRefused"]] == ["prod-b"], "and the other was looked at today"

    deployment.aws.secretsmanager.put_secret_value(
        SecretId=f"{deployment.secret_prefix}/prod-b", SecretString=json.dumps(stack.simulator["prod-b"].registration())
    )
    deployment.start(LOOKS | {"clusters": ["prod-b"]}, "RotateFleet")
    output, published = wait_for_end(deployment, runs)
    assert (output["clustersNotReady"], output["readyAgain"]) == (0, ["prod-b"])
    assert published == [output]

    assert [len(one.cluster.rekeys) for one in stack.simulator] == [0, 0]
    items = deployment.aws.dynamodb.scan(TableName=deployment.table_name)["Items"]
    kinds = {one["pk"]["S"].partition("#")[0] for one in items}
    assert kinds == {"FLEET", "COUNT", "ROTATION", "READINESS"}, "no lock is taken, and nothing remembered"

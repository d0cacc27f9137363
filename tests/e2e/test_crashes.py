"""Functions killed in the middle of a call, on the engine: its Retry begins a new process, nothing is done twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.fleet import published
from local.simulator import ClusterSpec, Fault
from local.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator import RunningCluster
    from local.stack import Stack

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
STALL_SECONDS = 60.0  # longer than anybody waits: the function dies in it
PATIENCE_SECONDS = 30
CASES = {
    "rekey-applied": (REKEY, True, "StartRekey", 1),
    "rekey-not-applied": (REKEY, False, "StartRekey", 1),
    "poll": ("GetAsyncResult", True, "CheckStatus", 1),
}


def eventually(what: str, found: Any) -> Any:  # noqa: ANN401 - whatever is looked for
    """What ``found`` finds, once it does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def processes_of(stack: Stack, function: str) -> list[int]:
    """The processes that run a function, by the name the engine gave them in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = environment.read_bytes().split(b"\0")
            group = os.getpgid(int(environment.parent.name))
        except OSError:  # it ended meanwhile
            continue
        named = any(word.startswith(b"AWS_LAMBDA_FUNCTION_NAME=") and function.encode() in word for word in words)
        if named and group == stack.engine.pid:
            found.append(int(environment.parent.name))
    return found


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    faults = {
        name: (Fault(fault="stall", method=method, applied=applied, seconds=STALL_SECONDS),)
        for name, (method, applied, _, _) in CASES.items()
    }
    specs = [
        ClusterSpec(name=name, rekey_seconds=1.0, seed=name, faults=rules, tls="element")
        for name, rules in faults.items()
    ]
    with running_stack(specs, 0.05) as running:
        yield running


def kill_in_the_call(stack: Stack, cluster: RunningCluster, method: str, function: str) -> None:
    """Wait until the cluster has got the call that it will not answer, then kill who made it."""
    eventually(f"{method} never came", lambda: cluster.cluster.calls[method])
    for process in eventually(f"{function} does not run", lambda: processes_of(stack, function)):
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("name", CASES)
def test_killed_function_is_repeated_and_nothing_is_done_twice(stack: Stack, name: str) -> None:
    method, _, function, rekeys = CASES[name]
    cluster, deployment = stack.simulator[name], stack.deployment
    before = cluster.cluster.current_key
    execution = deployment.start({"cluster": name})
    kill_in_the_call(stack, cluster, method, function)
    *_, notification = published(deployment, execution)
    assert (notification["executionArn"], notification["outcome"]) == (execution, "Rotated")
    assert len(cluster.cluster.rekeys) == rekeys
    assert notification["oldKey"]["keyID"] == before.key_id
    assert notification["newKey"]["keyID"] == cluster.cluster.current_key.key_id != before.key_id
    failed = [
        event["taskFailedEventDetails"]["error"]
        for event in deployment.history(execution)
        if event["type"] == "TaskFailed"
    ]
    assert failed, "the function was not killed"
    items = deployment.aws.dynamodb.scan(TableName=deployment.table_name)["Items"]
    assert [item["pk"]["S"] for item in items if item["pk"]["S"] == f"LOCK#{name}"] == []

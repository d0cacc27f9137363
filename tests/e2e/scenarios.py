"""Every scenario has a cluster of its own, so several run side by side on one engine; the tests look at the results."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from local.simulator import ClusterSpec, Fault
from local.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from local.deployment import Deployment
    from local.simulator import MasterKey, RunningCluster
    from local.stack import Stack

WAIT_SCALE = 0.05
REKEY_SECONDS = 2.0
SLOW = 8.0  # longer than a first poll can take on a busy machine
NEVER_OVER = 120.0
DEADLINE_SECONDS = 60
AT_A_TIME = 5
LOOK_SECONDS = 0.1
WRONG_PASSWORD = "not-the-password-of-any-cluster"
A_MINUTE_AGO = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
FINGERPRINT_OF_NOBODY = ":".join(["00"] * 32)


@dataclass(frozen=True)
class Scenario:
    """What is different about one cluster, its registration, and the request."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    registration: Mapping[str, Any] = field(default_factory=dict)
    registered: bool = True
    request: Mapping[str, Any] = field(default_factory=dict)
    stopped_while_running: bool = False


def failing(phase: str) -> Scenario:
    return Scenario(spec={"faults": (Fault(fault="phaseFailure", phase=phase),)})


SCENARIOS = {
    "slow": Scenario(spec={"rekey_seconds": SLOW}),
    "plain": Scenario(),
    "dry-run": Scenario(request={"dryRun": True}),
    "external": Scenario(request={"keyManagementType": "External", "keyProviderID": 15}),
    "from-external": Scenario(spec={"key_provider_id": 15}, request={"keyManagementType": "Internal"}),
    "issued": Scenario(spec={"tls": "modern"}),
    "pinned-twice": Scenario(registration={"certificateFingerprint": [FINGERPRINT_OF_NOBODY, "its own"]}),
    "answer-lost": Scenario(
        spec={"faults": (Fault(fault="resetAfterProcessing", method="RekeySoftwareEncryptionAtRestMasterKey"),)}
    ),
    "transient": Scenario(
        spec={"faults": (Fault(fault="rpcError", method="GetAsyncResult", name="xDBVersionMismatch", times=2),)}
    ),
    "moved": Scenario(spec={"faults": (Fault(fault="masterMove", method="GetClusterInfo", connections=2, skip=1),)}),
    "result-gone": Scenario(
        spec={"rekey_seconds": 0.1, "faults": (Fault(fault="handleVanished", method="GetAsyncResult"),)}
    ),
    "competitor": Scenario(
        spec={"faults": (Fault(fault="competingRekey", method="ListClusterFaults"),)},
        request={"keyCreatedAfter": A_MINUTE_AGO},  # a key's time has no fractions, the start of an execution has
    ),
    "fails-creating": failing("CreateNewMasterKey"),
    "fails-rewrapping": failing("RewrapDataEncryptionKeys"),
    "fails-decommissioning": failing("DecommissionOldMasterKey"),
    "wrong-password": Scenario(registration={"password": WRONG_PASSWORD}),
    "wrong-certificate": Scenario(registration={"certificateFingerprint": FINGERPRINT_OF_NOBODY}),
    "not-encrypted": Scenario(spec={"encryption_enabled": False}),
    "not-registered": Scenario(registered=False),
    "bad-request": Scenario(request={"dryrun": True}),
    "stopped": Scenario(spec={"rekey_seconds": NEVER_OVER}, stopped_while_running=True),
}


@dataclass(frozen=True)
class Run:
    """What became of one scenario."""

    description: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    published: tuple[Mapping[str, Any], ...]
    key_before: MasterKey
    key_after: MasterKey
    rekeys: int

    @property
    def states(self) -> list[str]:
        return [
            event["stateEnteredEventDetails"]["name"] for event in self.history if "stateEnteredEventDetails" in event
        ]

    @property
    def errors(self) -> list[str]:
        return [event["taskFailedEventDetails"]["error"] for event in self.history if event["type"] == "TaskFailed"]


@dataclass(frozen=True)
class Results:
    """All scenarios, ended."""

    stack: Stack
    runs: Mapping[str, Run]


@contextmanager
def run_scenarios() -> Iterator[Results]:
    """All scenarios, side by side, to their ends."""
    specs = [
        ClusterSpec(**{"name": name, "rekey_seconds": REKEY_SECONDS, "seed": name, "tls": "element", **scenario.spec})
        for name, scenario in SCENARIOS.items()
    ]
    with running_stack(specs, WAIT_SCALE, register=False) as stack:
        for name, scenario in SCENARIOS.items():
            if scenario.registered:
                stack.deployment.register(name, registration(stack.simulator[name], scenario.registration))
        before = {name: stack.simulator[name].cluster.current_key for name in SCENARIOS}
        executions: dict[str, str] = {}
        for name, scenario in SCENARIOS.items():
            wait_for_turn(stack.deployment, executions.values())
            executions[name] = stack.deployment.start({"cluster": name, **scenario.request})
            if scenario.stopped_while_running:
                stop_while_running(stack.deployment, executions[name])
        published = wait_for_all(stack.deployment, set(executions.values()))
        runs = {
            name: Run(
                stack.deployment.aws.stepfunctions.describe_execution(executionArn=execution),
                tuple(stack.deployment.history(execution)),
                tuple(notification for notification in published if notification["executionArn"] == execution),
                before[name],
                stack.simulator[name].cluster.current_key,
                len(stack.simulator[name].cluster.rekeys),
            )
            for name, execution in executions.items()
        }
        yield Results(stack, runs)


def registration(cluster: RunningCluster, different: Mapping[str, Any]) -> dict[str, Any]:
    registered: dict[str, Any] = {**cluster.registration(), **different}
    pins = registered.get("certificateFingerprint")
    if isinstance(pins, list):
        registered["certificateFingerprint"] = [
            cluster.certificate_fingerprint if pin == "its own" else pin for pin in pins
        ]
    return registered


def wait_for_turn(deployment: Deployment, executions: Iterable[str]) -> None:
    """Until few enough run: each one more at a time costs the start of three more Lambda processes."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while sum(deployment.status(one) == "RUNNING" for one in executions) >= AT_A_TIME:
        assert time.monotonic() < deadline, "an execution never ended"
        time.sleep(LOOK_SECONDS)


def stop_while_running(deployment: Deployment, execution: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(event["type"] == "WaitStateEntered" for event in deployment.history(execution)):
        assert time.monotonic() < deadline, "the execution never waited for its rekey"
        time.sleep(LOOK_SECONDS)
    deployment.aws.stepfunctions.stop_execution(executionArn=execution, error="Test", cause="stopped by a test")


def wait_for_all(deployment: Deployment, executions: set[str]) -> list[dict[str, Any]]:
    """Everything published, once each execution ended and was published."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    published: list[dict[str, Any]] = []
    while missing := executions - {notification["executionArn"] for notification in published} or {
        one for one in executions if deployment.status(one) == "RUNNING"
    }:
        assert time.monotonic() < deadline, f"not ended, or nothing published: {missing}"
        published.extend(deployment.receive())
    published.extend(deployment.receive(seconds=1))  # a second notification would be a defect: let it come
    return published

"""Reports of a compromise on the engine: by the stack's own bus, and by no other."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.aws import isolated_session
from local.fleet import published
from local.simulator import ClusterSpec
from local.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import Stack

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

EVENTS = Path(__file__).parents[2] / "events"
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    specs = [ClusterSpec(name=name, rekey_seconds=0.5, seed=name) for name in ("prod-a", "prod-b")]
    with running_stack(specs, 0.05) as running:
        yield running


def report(stack: Stack, bus: str, **detail: Any) -> None:  # noqa: ANN401 - JSON
    """Put a report on a bus, as a SIEM would: it says what happened, EventBridge says when."""
    event = json.loads((EVENTS / "compromise-reported-all.json").read_text())
    entry = {
        "EventBusName": bus,
        "Source": event["source"],
        "DetailType": event["detail-type"],
        "Detail": json.dumps(event["detail"] | detail),
    }
    events: Any = isolated_session().client("events", endpoint_url=stack.engine.endpoint_url)
    assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0


def fleet_runs(stack: Stack) -> list[str]:
    machine = stack.deployment.state_machine_arns["RotateFleet"]
    listed = stack.deployment.aws.stepfunctions.list_executions(stateMachineArn=machine)["executions"]
    return [one["executionArn"] for one in listed]


def next_run(stack: Stack, before: list[str]) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (new := [one for one in fleet_runs(stack) if one not in before]):
        assert time.monotonic() < deadline, "no run began"
        time.sleep(0.1)
    (run,) = new
    return run


def test_a_report_rotates_what_it_names_by_the_bus_of_the_stack_and_nothing_by_the_default_one(stack: Stack) -> None:
    """Both are put at the same time, the one that must do nothing first."""
    report(stack, "default", clusters=["prod-b"])
    report(stack, stack.deployment.outputs["ReportBusName"], clusters=["prod-a"])
    *_, summary = published(stack.deployment, next_run(stack, []))
    assert (summary["trigger"], summary["rotated"]) == ("alarm", ["prod-a"])
    assert len(fleet_runs(stack)) == 1
    assert [len(one.cluster.rekeys) for one in stack.simulator] == [1, 0]


def test_a_report_that_means_all_clusters_needs_the_operators_leave(stack: Stack) -> None:
    before = [len(one.cluster.rekeys) for one in stack.simulator]
    known = fleet_runs(stack)
    report(stack, stack.deployment.outputs["ReportBusName"])
    *_, summary = published(stack.deployment, next_run(stack, known))
    assert (summary["succeeded"], summary["error"]) == (False, "AllClustersNotAllowed")
    assert [len(one.cluster.rekeys) for one in stack.simulator] == before

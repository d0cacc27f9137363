"""The inputs a person copies from ``events/`` into the console, and the events AWS sends, are parsed as meant."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from element_rekey.cluster import KeyManagementType
from element_rekey.errors import ExecutionAborted
from element_rekey.inputs import parse_close_request, parse_request
from element_rekey.records import Execution, Failure, Request

EVENTS = Path(__file__).parents[2] / "events"
WHO = "j.doe@example.com"
PLAIN = Request("prod-a", reason="quarterly rotation, change 4711", requested_by=WHO)

REQUESTS: dict[str, Request] = {
    "rotate": PLAIN,
    "rotate-external": Request(
        "prod-a",
        reason="move the key to the key management server, change 4712",
        requested_by=WHO,
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
    ),
    "rotate-dry-run": Request("prod-a", dry_run=True),
    "rotate-forced": Request(
        "prod-a",
        reason="auditor asked for it during the cool-down, change 4713",
        requested_by=WHO,
        key_created_after=datetime(2026, 11, 23, 2, 30, tzinfo=UTC),
        cool_down_seconds=3600,
        force=True,
    ),
    "rotate-ignoring-faults": Request(
        "prod-a",
        reason="node 3 is out for repair until Friday, change 4714",
        requested_by=WHO,
        ignore_faults=("nodeOffline", "nodeMaintenanceMode"),
    ),
    "rotate-accept-replaced-cluster": Request(
        "prod-a",
        reason="prod-a was replaced by a new cluster behind the same address, change 4715",
        requested_by=WHO,
        accept_cluster_uuid="7c9be1e5-5f0a-4c0e-9b53-0b8b0c2a6f11",
    ),
}
CLOSE_REQUESTS: dict[str, tuple[str, str]] = {
    "execution-aborted": ("ExecutionAborted", "StoppedByHand: Stopped for maintenance of the key server."),
    "execution-timed-out": ("ExecutionTimedOut", "The execution ended as TIMED_OUT."),
    "execution-failed": (
        "ExecutionBroken",
        (
            "OutcomeNotPublished: The rotation ended but its outcome could not be published. See the log of "
            "publish_outcome and the dead-letter queue."
        ),
    ),
}


def golden(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((EVENTS / f"{name}.json").read_text())


def test_every_input_for_one_rotation_is_looked_at_here() -> None:
    found = {path.stem for path in EVENTS.glob("*.json") if path.stem.startswith(("rotate", "execution"))}
    assert found == REQUESTS.keys() | CLOSE_REQUESTS.keys()


@pytest.mark.parametrize("name", REQUESTS)
def test_an_input_asks_for_what_it_says(name: str) -> None:
    assert parse_request(golden(name)) == REQUESTS[name]


@pytest.mark.parametrize("name", CLOSE_REQUESTS)
def test_an_event_closes_the_execution_it_names(name: str) -> None:
    event = golden(name)
    closing = parse_close_request(event)
    started = datetime(2026, 11, 23, 3, 0, 0, 123_000, tzinfo=UTC)
    assert closing.execution == Execution(event["detail"]["executionArn"], started)
    assert (closing.cluster, closing.request) == ("prod-a", PLAIN)
    error, cause = CLOSE_REQUESTS[name]
    assert closing.failure == Failure(error, cause, ExecutionAborted.next_step)


@pytest.mark.parametrize("name", CLOSE_REQUESTS)
def test_an_event_is_one_the_template_listens_to(name: str) -> None:
    event = golden(name)
    assert event["source"] == "aws.states"
    assert event["detail-type"] == "Step Functions Execution Status Change"
    assert event["detail"]["status"] in {"FAILED", "TIMED_OUT", "ABORTED"}
    assert event["resources"] == [event["detail"]["executionArn"]]

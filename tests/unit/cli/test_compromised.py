"""``element-rekey compromised``: a report like any other, followed to its end."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.inputs import parse_fleet_request
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import Execution, FleetRun, Request, Rotation, Selected
from element_rekey_cli.exits import Exit
from tests.fakes import NOW
from tests.template import ROOT
from tests.unit.cli.harness import FLEET, USER, arn
from tests.unit.cli.scenario import remembered
from tests.unit.cli.schemas import assert_valid
from tests.unit.samples import change, key

if TYPE_CHECKING:
    from tests.unit.cli.harness import Harness

PREFIX = "element-key-compromise-"


@pytest.fixture
def fleet(harness: Harness) -> Harness:
    """Two clusters, each of which is rotated when that is asked for."""
    for cluster in ("prod-a", "prod-b"):
        harness.register(cluster)
        remembered(harness, cluster, "key-0", NOW)

    def begin(execution: str, given: dict[str, Any]) -> None:
        request = parse_fleet_request(given, PREFIX)
        assert request.clusters
        selected = tuple(Selected(one, f"{one}-x", NOW) for one in request.clusters)
        for one in selected:
            harness.ledger.save(
                Rotation(
                    Execution(arn(one.execution_name), NOW),
                    one.cluster,
                    Request(one.cluster, trigger=Trigger.ALARM),
                    current_key=key("key-1", NOW),
                    change=change(),
                    outcome=Outcome.ROTATED,
                    ended_at=NOW,
                )
            )
        harness.ledger.save_fleet_run(FleetRun(Execution(execution, NOW), request, selected=selected, ended_at=NOW))
        harness.steps.executions[execution]["status"] = "SUCCEEDED"

    harness.steps.on_start = begin
    return harness


def given(harness: Harness) -> dict[str, Any]:
    (one,) = harness.steps.executions.values()
    event: dict[str, Any] = json.loads(one["input"])
    return event


def test_a_report_is_followed_cluster_by_cluster(fleet: Harness) -> None:
    fleet.terminal = False
    ran = fleet.run("compromised", "prod-b", "prod-a", "--reason", "the SIEM saw it")
    assert ran.code == 0
    for words in ("  prod-a  Rotated", "  prod-b  Rotated", "2 clusters, 2 rotated, all well"):
        assert words in ran.out
    event = given(fleet)
    assert next(iter(fleet.steps.executions)) == arn("compromise-reported-2026-11-23-030000-000", FLEET)
    assert event["detail"] == {
        "clusters": ["prod-a", "prod-b"],
        "reason": "the SIEM saw it",
        "requestedBy": USER,
        "reportedAt": "2026-11-23T03:00:00.000Z",
    }


def test_it_is_the_event_that_the_bus_would_carry(fleet: Harness) -> None:
    fleet.run("compromised", "prod-a", "--reason", "x")
    event = given(fleet)
    example = json.loads((ROOT / "events" / "compromise-reported.json").read_text())
    assert (event["source"], event["detail-type"]) == (example["source"], example["detail-type"])
    assert_valid("key-compromise-reported.v1", event)
    assert parse_fleet_request(event, PREFIX).trigger is Trigger.ALARM


def test_a_report_can_be_of_an_earlier_moment(fleet: Harness) -> None:
    fleet.run("compromised", "prod-a", "--reason", "x", "--at", "2026-11-23T02:30:00Z")
    assert given(fleet)["detail"]["reportedAt"] == "2026-11-23T02:30:00.000Z"


def test_the_same_report_can_be_made_again_also_where_its_answer_was_lost(fleet: Harness) -> None:
    fleet.clock.now = NOW + timedelta(microseconds=1)
    fleet.steps.on_start = lost
    ran = fleet.run("compromised", "prod-a", "--reason", "x")
    assert ran.code == Exit.STOPPED
    reported = given(fleet)["detail"]["reportedAt"]
    assert reported == "2026-11-23T03:00:01.000Z", "not before the report"
    again = "If you are not sure that this report came through: the same again with --at 2026-11-23T03:00:01Z"
    assert again in ran.out
    fleet.steps.executions.clear()
    fleet.clock.advance(90)
    fleet.run("compromised", "prod-a", "--reason", "x", "--at", "2026-11-23T03:00:01Z")
    assert given(fleet)["detail"]["reportedAt"] == reported


def lost(*_: object) -> None:
    """Started, and nobody hears of it."""
    raise KeyboardInterrupt


def test_all_are_named_one_by_one(fleet: Harness) -> None:
    ran = fleet.run("compromised", "--all", "--reason", "x", "--json")
    assert given(fleet)["detail"]["clusters"] == ["prod-a", "prod-b"]
    assert_valid("fleet-summary.v1", ran.document)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--reason", "x"), 2, "Name the clusters, or say --all."),
        (("prod-a", "--all", "--reason", "x"), 2, "Name the clusters, or say --all."),
        (("prod-a", "--reason", ""), 2, "detail.reason: missing; a report needs one."),
        (("prod-x", "--reason", "x"), 4, "No cluster is registered as prod-x; nothing was started."),
    ],
)
def test_what_is_wrong_starts_nothing(fleet: Harness, arguments: tuple[str, ...], code: int, words: str) -> None:
    ran = fleet.run("compromised", *arguments)
    assert (ran.code, ran.err) == (code, f"element-rekey: {words}\n")
    assert fleet.steps.executions == {}


def test_without_any_cluster_there_is_nothing_to_report(harness: Harness) -> None:
    ran = harness.run("compromised", "--all", "--reason", "x")
    assert (ran.code, ran.err) == (4, "element-rekey: No cluster is registered.\n")

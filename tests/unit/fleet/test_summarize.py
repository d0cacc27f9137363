from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey.errors import AwsCallFailed
from element_rekey.fleet.select import select_clusters
from element_rekey.fleet.summarize import FleetPublished, cluster_results, summarize_fleet
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    Asked,
    CloseRequest,
    ClusterMemory,
    ClusterResult,
    Failure,
    FleetRequest,
)
from element_rekey.rules.selection import select
from element_rekey.summary import build_summary, outcome_counts
from tests.fakes import NOW, FakeClock, FakeTopic
from tests.unit.fleet_samples import EXECUTION, FLEET, MACHINE, SCHEDULED, finish, fleet_ports, registered
from tests.unit.samples import DAY, key, rotated

if TYPE_CHECKING:
    from element_rekey.ports import Ports


def topic_of(ports: Ports) -> FakeTopic:
    assert isinstance(ports.topic, FakeTopic)
    return ports.topic


def clock_of(ports: Ports) -> FakeClock:
    assert isinstance(ports.clock, FakeClock)
    return ports.clock


def test_cluster_results_are_read_from_the_ledger() -> None:
    ports = fleet_ports()
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a", "b", "c"))
    done = finish(ports, run.selected[0])
    under_way = finish(ports, run.selected[1], outcome=None, current_key=None)
    after = cluster_results(ports, MACHINE, run)
    assert [one.rotation for one in after] == [done, under_way, None]
    assert [one.outcome for one in after] == ["Rotated", "NotEnded", "NotBegun"]
    assert [one.succeeded for one in after] == [True, False, False]
    assert [one.key_made for one in after] == [NOW + timedelta(minutes=1), None, None]


def test_a_broken_cluster_early_in_a_wave_hides_no_overdue_key_behind_it() -> None:
    """Nothing more is begun after it; what is remembered of the others still says how old their keys are."""
    ports = fleet_ports(*registered("broken", "late", "seen", "unknown"))
    run = select_clusters(ports, FLEET, EXECUTION, SCHEDULED)
    for name, days in (("broken", 100), ("late", 400), ("seen", 500)):
        memory = ClusterMemory("uuid", f"key-of-{name}", key_known_since=NOW, key_created_time=NOW - days * DAY)
        ports.ledger.remember(name, memory)
    by_name = {one.cluster: one for one in run.selected}
    finish(ports, by_name["broken"], Outcome.FAILED, current_key=None)
    finish(ports, by_name["seen"], Outcome.ROTATED, current_key=key("new", NOW - DAY))
    published = summarize_fleet(ports, MACHINE, closing(request=SCHEDULED))
    summary = build_summary(published.run, published.results)
    assert summary.oldest_key_age_days == 400.0
    assert [(line.cluster, line.key_age_days) for line in summary.overdue_keys] == [("late", 400.0), ("broken", 100.0)]
    assert [line.cluster for line in summary.next_due] == ["seen"], "what was seen counts, not what was remembered"


def closing(failure: Failure | None = None, request: FleetRequest | None = None) -> CloseRequest[FleetRequest]:
    return CloseRequest(EXECUTION, request or FleetRequest(), failure)


def test_a_run_in_which_all_went_well_is_reported_once() -> None:
    ports = fleet_ports(*registered("a", "b"))
    run = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    for one, outcome in zip(run.selected, (Outcome.ROTATED, Outcome.NOT_DUE), strict=True):
        finish(ports, one, outcome)
    closed = summarize_fleet(ports, MACHINE, closing())
    assert closed.published_now
    assert closed.run.failure is None
    assert closed.run.ended_at == closed.run.notified_at == NOW
    assert outcome_counts(closed.run, closed.results) == {"Rotated": 1, "NotDue": 1}
    (summary,) = topic_of(ports).summaries
    assert summary == (replace(closed.run, notified_at=None, version=2), closed.results)
    again = summarize_fleet(ports, MACHINE, closing(Failure("ExecutionAborted", "late", "")))
    assert again == FleetPublished(closed.run, closed.results, published_now=False)
    assert len(topic_of(ports).summaries) == 1


@pytest.mark.parametrize("outcome", [one for one in Outcome if not one.succeeded])
def test_one_cluster_that_failed_makes_the_run_fail(outcome: Outcome) -> None:
    ports = fleet_ports(*registered("a", "b"))
    run = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    finish(ports, run.selected[0])
    finish(ports, run.selected[1], outcome)
    closed = summarize_fleet(ports, MACHINE, closing())
    assert closed.run.failure
    assert closed.run.failure.error == "FleetIncomplete"
    assert closed.run.failure.cause == "Not as they should be: b."


def test_a_cluster_that_was_refused_or_not_begun_makes_the_run_fail() -> None:
    ports = fleet_ports(*registered("a"))
    select_clusters(ports, FLEET, EXECUTION, FleetRequest(clusters=("a", "nowhere")))
    closed = summarize_fleet(ports, MACHINE, closing())
    assert closed.run.failure
    assert closed.run.failure.cause == "Not as they should be: a, nowhere."
    assert outcome_counts(closed.run, closed.results) == {"Refused": 1, "NotBegun": 1}


def test_an_error_that_was_caught_is_what_is_reported() -> None:
    ports = fleet_ports()
    caught = Failure("RequestInvalid", "clusters: unknown", "Correct it.")
    asked = Asked(Trigger.SCHEDULE, "daily")
    without_request: CloseRequest[FleetRequest] = CloseRequest(EXECUTION, None, caught, asked=asked)
    closed = summarize_fleet(ports, MACHINE, without_request)
    assert closed.run.failure == caught
    assert closed.run.request is None
    assert closed.run.asked == asked
    assert closed.results == ()


def test_a_run_that_is_stopped_says_what_is_still_under_way() -> None:
    ports = fleet_ports(*registered("a", "b", "c"))
    run = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    finish(ports, run.selected[0])
    finish(ports, run.selected[1], outcome=None)
    closed = summarize_fleet(ports, MACHINE, closing(Failure("ExecutionAborted", "Stopped by jane.", "Start again.")))
    assert closed.run.failure
    assert closed.run.failure.error == "ExecutionAborted"
    assert outcome_counts(closed.run, closed.results) == {"Rotated": 1, "NotEnded": 1, "NotBegun": 1}


def test_what_a_cluster_comes_to_after_the_run_was_closed_does_not_change_why_it_failed() -> None:
    ports = fleet_ports(*registered("a"))
    run = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    topic_of(ports).failures = 1
    with pytest.raises(AwsCallFailed):
        summarize_fleet(ports, MACHINE, closing())
    finish(ports, run.selected[0])
    closed = summarize_fleet(ports, MACHINE, closing())
    assert closed.run.failure
    assert closed.run.failure.cause == "Not as they should be: a."


def test_the_key_time_of_a_cluster_that_gives_none_is_unknown() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a"))
    assert ClusterResult(run.selected[0], rotated(current_key=key(made=None))).key_made is None

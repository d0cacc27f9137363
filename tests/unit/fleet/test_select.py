from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from element_rekey.cluster import KeyManagementType
from element_rekey.codec import encode
from element_rekey.errors import RequestInvalid
from element_rekey.fleet.select import select_clusters
from element_rekey.fleet.summarize import summarize_fleet
from element_rekey.records import CloseRequest, Execution, Failure, FleetRequest, Registered
from element_rekey.rules.selection import LARGEST_RECORD, LARGEST_STATE, map_input
from tests.fakes import NOW
from tests.unit.fleet_samples import (
    EXECUTION,
    FLEET,
    FLEET_ARN,
    MACHINE,
    SCHEDULED,
    Registrations,
    aged,
    fleet_ports,
    registered,
)


def longest(count: int) -> list[Registered]:
    """Clusters with the longest names there are, each with a maximum age of its own."""
    return [aged(f"{number:05}{'x' * 59}", 3650) for number in range(count)]


def largest(count: int) -> FleetRequest:
    text = "ä" * 512
    return replace(
        SCHEDULED,
        clusters=tuple(one.cluster for one in longest(count)),
        reason=text,
        requested_by=text,
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=2**31,
        ignore_faults=("f" * 64,) * 10,
    )


def test_a_thousand_clusters_with_the_longest_names_fit_into_a_state_and_a_record() -> None:
    ports = fleet_ports(*longest(1000))
    run = select_clusters(ports, FLEET, EXECUTION, largest(1000))
    assert len(run.selected) == 1000
    given = {"execution": encode(EXECUTION), **map_input(FLEET, run, largest(1000))}
    assert len(json.dumps(given, ensure_ascii=False).encode()) <= LARGEST_STATE + 300 < 262_144
    assert dynamo_size({"pk": f"FLEET#{FLEET_ARN}", **encode(run)}) < LARGEST_RECORD < 409_600


def dynamo_size(value: Any) -> int:  # noqa: ANN401 - JSON
    """The size of an item by the rules DynamoDB documents."""
    match value:
        case dict():
            return 3 + sum(1 + len(name.encode()) + dynamo_size(member) for name, member in value.items())
        case list():
            return 3 + sum(1 + dynamo_size(member) for member in value)
        case str():
            return len(value.encode())
        case _:
            return 21


def test_a_cluster_registered_a_moment_ago_is_found_where_an_alarm_names_it() -> None:
    """The list of all lags by up to five minutes; "not registered" would leave the key of an alarm as it is."""
    ports = fleet_ports(*registered("a", "b"))
    assert isinstance(ports.clusters, Registrations)
    ports.clusters.unlisted = {"b"}
    named = select_clusters(ports, FLEET, EXECUTION, FleetRequest(clusters=("b", "nowhere")))
    assert [one.cluster for one in named.selected] == ["b"]
    assert [one.cluster for one in named.not_selected] == ["nowhere"]
    everything = select_clusters(ports, FLEET, replace(EXECUTION, id="another"), FleetRequest())
    assert [one.cluster for one in everything.selected] == ["a"], "the next run finds it"


def test_more_than_a_state_carries_is_refused_by_name_before_anything_is_written() -> None:
    ports = fleet_ports(*longest(1100))
    with pytest.raises(RequestInvalid, match=r"clusters: 1100 make a state of \d+ bytes"):
        select_clusters(ports, FLEET, EXECUTION, SCHEDULED)
    assert ports.ledger.fleet_run(EXECUTION) is None


def test_more_than_a_record_carries_is_refused_by_name_before_anything_is_written() -> None:
    wrong = registered(*(f"{number:04}/{'x' * 480}" for number in range(1000)))
    ports = fleet_ports(*registered("a"), *wrong)
    with pytest.raises(RequestInvalid, match=r"clusters: their names make a record of \d+ bytes"):
        select_clusters(ports, FLEET, EXECUTION, SCHEDULED)
    assert ports.ledger.fleet_run(EXECUTION) is None


def test_a_repeated_step_finds_what_it_wrote_whatever_was_registered_since() -> None:
    ports = fleet_ports(*registered("a"))
    first = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    assert isinstance(ports.clusters, Registrations)
    ports.clusters.known += registered("b")
    assert select_clusters(ports, FLEET, EXECUTION, FleetRequest()) == first
    assert first.version == 1
    other = Execution(f"{FLEET_ARN}-two", NOW)
    assert [one.cluster for one in select_clusters(ports, FLEET, other, FleetRequest()).selected] == ["a", "b"]


def closing(failure: Failure | None = None, request: FleetRequest | None = None) -> CloseRequest[FleetRequest]:
    return CloseRequest(EXECUTION, request or FleetRequest(), failure)


def test_a_selection_that_comes_after_the_run_was_closed_begins_nothing() -> None:
    """The run was stopped while the selecting function was still at work."""
    ports = fleet_ports(*registered("a"))
    summarize_fleet(ports, MACHINE, closing(Failure("ExecutionAborted", "Stopped.", "Start again.")))
    late = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    assert late.selected == ()
    assert map_input(FLEET, late, FleetRequest())["items"] == []


def test_a_run_whose_name_was_used_before_selects_and_begins_its_own_rotations() -> None:
    """A name can be used again after 90 days: the earlier run's record, and its rotations, are not this one's."""
    ports = fleet_ports(*registered("a"))
    first = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    ports.ledger.save_fleet_run(replace(first, ended_at=NOW, notified_at=NOW))
    later = Execution(EXECUTION.id, EXECUTION.started_at + timedelta(days=91))

    second = select_clusters(ports, FLEET, later, FleetRequest(reason="compromised"))

    assert (second.execution, second.ended_at, second.notified_at) == (later, None, None)
    assert second.selected[0].execution_name != first.selected[0].execution_name
    assert ports.ledger.fleet_run(later) == second


def test_a_run_closed_before_its_clusters_were_selected_begins_nothing_when_it_is_redriven() -> None:
    ports, request = fleet_ports(*registered("a", "b")), FleetRequest(canary="a")
    summarize_fleet(ports, MACHINE, CloseRequest(EXECUTION, request, Failure("ExecutionAborted", "Stopped.", "")))
    run = select_clusters(ports, FLEET, EXECUTION, request)
    given = map_input(FLEET, run, request)
    assert given["items"] == []
    assert "canary" not in given

"""A daily look at the whole fleet: from the selection to what is published and kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from element_rekey.errors import AwsCallFailed
from element_rekey.fleet.select import select_clusters
from element_rekey.fleet.summarize import FleetPublished, summarize_fleet
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import CloseRequest, Execution, Failure, FleetReadiness, FleetRequest, Readiness
from element_rekey.rules.selection import map_input
from tests.fakes import NOW, FakeLedger, FakeTopic
from tests.unit.fleet_samples import EXECUTION, FLEET, MACHINE, SCHEDULED, aged, finish, fleet_ports, registered
from tests.unit.samples import DAY, HOUR, MINUTE, key

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.ports import Ports

LOOKS = FleetRequest(trigger=Trigger.READINESS, dry_run=True, max_concurrency=10)
NO_PROVIDER = Failure("KeyProviderUnusable", "There is no KMIP key provider 15.", "Mend it.")


def run_at(
    ports: Ports, begin: datetime, outcomes: dict[str, Outcome], request: FleetRequest = LOOKS
) -> FleetPublished:
    """A run that begins at ``begin`` and finds this; each cluster is looked at a minute after."""
    execution = Execution(EXECUTION.id, begin)
    run = select_clusters(ports, FLEET, execution, request)
    assert {one.cluster for one in run.selected} == outcomes.keys()
    for one in run.selected:
        failure = None if outcomes[one.cluster] is not Outcome.WOULD_BE_REFUSED else NO_PROVIDER
        finish(ports, one, outcomes[one.cluster], failure=failure, current_key=key(), ended_at=begin + MINUTE)
    return summarize_fleet(ports, MACHINE, CloseRequest(execution, request, None))


def told(ports: Ports) -> list[FleetReadiness]:
    assert isinstance(ports.topic, FakeTopic)
    found = [run.readiness for run, _ in ports.topic.summaries]
    return [one for one in found if one]


READY, REFUSED = {"a": Outcome.PLANNED}, {"a": Outcome.WOULD_BE_REFUSED}


def test_people_are_told_when_a_cluster_becomes_not_ready_and_when_it_is_ready_again_and_on_no_other_day() -> None:
    ports = fleet_ports(*registered("a"))
    days = [READY, READY, REFUSED, REFUSED, READY, READY]
    for day, outcomes in enumerate(days):
        published = run_at(ports, NOW + day * DAY, outcomes)
        assert published.published_now, "measured every day"
        assert published.run.failure is None, "it is an answer, and no failure of the run"
        assert published.run.readiness
        assert published.run.readiness.clusters_not_ready == (outcomes is REFUSED)
    became, again = told(ports)
    assert [one.cluster for one in became.became_not_ready] == ["a"]
    assert again.ready_again == ("a",)


def test_a_schedule_that_saw_a_cluster_in_the_night_has_looked_for_the_day() -> None:
    ports = fleet_ports(*registered("a", "b"))
    run_at(ports, NOW, {"a": Outcome.NOT_DUE, "b": Outcome.ROTATED}, SCHEDULED)
    morning = run_at(ports, NOW + 3 * HOUR, {})
    assert morning.run.looked_at_before == ("a", "b")
    assert morning.run.readiness == FleetReadiness(0)
    execution = Execution(EXECUTION.id, NOW + DAY)
    assert [one.cluster for one in select_clusters(ports, FLEET, execution, LOOKS).selected] == ["a", "b"]


def test_what_the_schedule_was_refused_for_is_told_by_it_and_looked_at_again() -> None:
    ports = fleet_ports(*registered("a", "b"))
    run = select_clusters(ports, FLEET, Execution(EXECUTION.id, NOW + DAY), SCHEDULED)
    for one in run.selected:
        finish(ports, one, Outcome.FAILED, failure=NO_PROVIDER, ended_at=NOW + DAY)
    summarize_fleet(ports, MACHINE, CloseRequest(run.execution, SCHEDULED, None))
    assert [one.cluster for one in told(ports)[-1].became_not_ready] == ["a", "b"]
    assert ports.ledger.readiness(["a"])["a"].failure == NO_PROVIDER
    assert run_at(ports, NOW + DAY + 3 * HOUR, {"a": Outcome.PLANNED, "b": Outcome.WOULD_BE_REFUSED})
    assert told(ports)[-1] == FleetReadiness(1, ready_again=("a",))


def test_whoever_names_a_cluster_wants_to_see_it_now() -> None:
    ports = fleet_ports(*registered("a", "b"))
    run_at(ports, NOW, {"a": Outcome.PLANNED, "b": Outcome.PLANNED})
    named = replace(LOOKS, clusters=("a",))
    assert run_at(ports, NOW + HOUR, READY, named).run.looked_at_before == ()


def test_a_fleet_in_which_nobody_is_registered_yet_is_no_failure_of_the_look() -> None:
    ports = fleet_ports()
    published = run_at(ports, NOW, {})
    assert published.run.failure is None
    assert published.run.readiness == FleetReadiness(0)
    assert told(ports) == []
    assert map_input(FLEET, published.run, LOOKS)["items"] == []


def test_a_run_that_breaks_is_told_of_and_judges_nobody() -> None:
    ports = fleet_ports(*registered("a"))
    execution = Execution(EXECUTION.id, NOW)
    broken = Failure("AwsCallFailed", "Secrets Manager did not list.", "Mend it.")
    published = summarize_fleet(ports, MACHINE, CloseRequest(execution, LOOKS, broken))
    assert published.run.readiness is None
    assert isinstance(ports.topic, FakeTopic)
    assert [run.failure for run, _ in ports.topic.summaries] == [broken]


def test_a_wrong_tag_is_found_before_the_schedule_stumbles_over_it() -> None:
    ports = fleet_ports(aged("a", "ninety"))
    assert run_at(ports, NOW, {}).run.failure is None
    assert [one.error for one in told(ports)[-1].became_not_ready] == ["RegistrationInvalid"]


def test_what_was_not_published_is_still_news_and_what_was_is_none_at_the_next_attempt() -> None:
    """The topic fails after the run was closed; then the table fails after the topic has taken it."""
    ports = fleet_ports(*registered("a"))
    execution = Execution(EXECUTION.id, NOW)
    run = select_clusters(ports, FLEET, execution, LOOKS)
    finish(ports, run.selected[0], Outcome.WOULD_BE_REFUSED, failure=NO_PROVIDER, ended_at=NOW + MINUTE)
    closing: CloseRequest[FleetRequest] = CloseRequest(execution, LOOKS, None)
    assert isinstance(ports.topic, FakeTopic)
    ports.topic.failures = 1
    with pytest.raises(AwsCallFailed):
        summarize_fleet(ports, MACHINE, closing)
    assert ports.ledger.readiness(["a"]) == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeLedger, "save_readiness", failing_once())
        with pytest.raises(AwsCallFailed):
            summarize_fleet(ports, MACHINE, closing)
    assert summarize_fleet(ports, MACHINE, closing).published_now
    assert len(told(ports)) == 2, "at least once, under one id"
    assert told(ports)[0] == told(ports)[1]
    assert ports.ledger.readiness(["a"]) == {"a": Readiness(NOW + MINUTE, NOW + MINUTE, NO_PROVIDER)}


def failing_once() -> object:
    def save(_ledger: FakeLedger, _cluster: str, _readiness: Readiness) -> None:
        raise AwsCallFailed("DynamoDB did not write.")

    return save

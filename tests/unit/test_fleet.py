from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.cluster import KeyManagementType
from element_rekey.codec import encode
from element_rekey.errors import ClusterNotRegistered, LedgerConflict, RequestInvalid
from element_rekey.fleet.select import select_clusters
from element_rekey.fleet.summarize import FleetPublished, cluster_results, summarize_fleet
from element_rekey.inputs import parse_request
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.ports import Ports
from element_rekey.records import (
    CLUSTER_NAME,
    CloseRequest,
    ClusterResult,
    Execution,
    Failure,
    FleetRequest,
    FleetRun,
    NotSelected,
    Registered,
    Request,
    Rotation,
    Selected,
)
from element_rekey.rules.closing import fleet_failure
from element_rekey.rules.demand import demand_of
from element_rekey.rules.selection import ANY_NUMBER, LARGEST_RECORD, LARGEST_STATE, TAG_MAX_KEY_AGE, map_input, select
from element_rekey.settings import FleetSettings
from element_rekey.summary import outcome_counts
from tests.fakes import NOW, SETTINGS, FakeClock, FakeCluster, FakeClusters, FakeLedger, FakeTopic
from tests.unit.samples import DAY, HOUR, key, rotated

MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey"
ARN = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:one"
EXECUTION = Execution(ARN, NOW)
FLEET = FleetSettings(
    max_key_age=90 * DAY,
    cool_down=HOUR,
    spread=timedelta(minutes=30),
    max_concurrency=1,
)
SCHEDULED = FleetRequest(trigger=Trigger.SCHEDULE)
EXECUTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")  # what Step Functions both takes and logs

names = st.from_regex(CLUSTER_NAME, fullmatch=True)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(tzinfo=NOW.tzinfo))  # noqa: DTZ001
executions = st.builds(Execution, st.uuids().map(lambda one: f"{ARN}-{one}"), moments)
fleets = st.lists(names, min_size=1, max_size=12, unique=True)


def registered(*clusters: str, **tags: str) -> list[Registered]:
    return [Registered(cluster, tuple(tags.items())) for cluster in clusters]


def aged(cluster: str, days: object) -> Registered:
    return Registered(cluster, ((TAG_MAX_KEY_AGE, str(days)),))


def by_name(run: FleetRun) -> dict[str, Selected]:
    return {one.cluster: one for one in run.selected}


# -- selecting --------------------------------------------------------------------------------------------------------


def test_without_names_every_registered_cluster_is_selected() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered("b", "a"))
    assert [one.cluster for one in run.selected] == ["a", "b"]
    assert run.not_selected == ()
    assert (run.execution, run.request) == (EXECUTION, FleetRequest())


def test_named_clusters_only_each_once() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(clusters=("b", "b")), registered("a", "b"))
    assert [one.cluster for one in run.selected] == ["b"]


def test_a_name_without_a_registration_is_refused_by_name_and_does_not_stop_the_others() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(clusters=("a", "nowhere")), registered("a"))
    assert [one.cluster for one in run.selected] == ["a"]
    assert run.not_selected == (NotSelected("nowhere", "ClusterNotRegistered", "There is no secret of this name."),)


@pytest.mark.parametrize("name", ["a/b", "-a", "x" * 65, "mit leer", "ä", ""])
def test_a_secret_whose_name_names_no_cluster_is_refused(name: str) -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a", name))
    assert run.not_selected == (
        NotSelected(name, "RegistrationInvalid", "The name of its secret is not a cluster's name."),
    )


@pytest.mark.parametrize(
    ("tag", "value", "cause"),
    [
        (TAG_MAX_KEY_AGE, "0", "expected a whole number of days from 1 to 3650"),
        (TAG_MAX_KEY_AGE, "3651", "expected a whole number of days from 1 to 3650"),
        (TAG_MAX_KEY_AGE, "", "expected a whole number"),
        (TAG_MAX_KEY_AGE, "-1", "expected a whole number"),
        (TAG_MAX_KEY_AGE, "30.5", "expected a whole number"),
        (TAG_MAX_KEY_AGE, "٣٠", "expected a whole number"),
        (TAG_MAX_KEY_AGE, "²", "expected a whole number"),
        ("element-rekey:max-key-age", "30", "is unknown; known is element-rekey:max-key-age-days"),
    ],
)
@pytest.mark.parametrize("further", [(), ((TAG_MAX_KEY_AGE, "30"),)], ids=["alone", "after a good one"])
def test_a_wrong_tag_is_refused_by_name_where_age_decides(
    tag: str, value: str, cause: str, further: tuple[tuple[str, str], ...]
) -> None:
    wrong = Registered("a", (*further, (tag, value)))
    run = select(FLEET, EXECUTION, SCHEDULED, [wrong, *registered("b")])
    (refused,) = run.not_selected
    assert (refused.cluster, refused.error) == ("a", "RegistrationInvalid")
    assert refused.cause.startswith(f"Tag {tag}")
    assert cause in refused.cause
    assert [one.cluster for one in run.selected] == ["b"]


@pytest.mark.parametrize("trigger", [Trigger.ALARM, Trigger.MANUAL])
def test_a_wrong_tag_stops_nobody_where_age_does_not_decide(trigger: Trigger) -> None:
    run = select(FLEET, EXECUTION, FleetRequest(trigger=trigger), [aged("a", "soon")])
    assert by_name(run)["a"].max_key_age_seconds is None


def test_tags_of_others_are_nobodys_business() -> None:
    run = select(FLEET, EXECUTION, SCHEDULED, [Registered("a", (("team", "storage"), ("cost-center", "7")))])
    assert by_name(run)["a"].max_key_age_seconds == 90 * 86_400


def test_the_tag_overrides_the_maximum_key_age() -> None:
    run = select(FLEET, EXECUTION, SCHEDULED, [aged("a", 30), *registered("b")])
    assert by_name(run)["a"].max_key_age_seconds == 30 * 86_400
    assert by_name(run)["b"].max_key_age_seconds == 90 * 86_400


def test_the_canary_comes_first_whatever_its_slot() -> None:
    for canary in ("a", "b", "c"):
        run = select(FLEET, EXECUTION, replace(SCHEDULED, canary=canary), registered("a", "b", "c"))
        assert run.selected[0].cluster == canary


@pytest.mark.parametrize("clusters", [("a",), ("a", "nowhere")], ids=["not asked for", "not registered"])
def test_a_canary_that_cannot_be_rotated_ends_the_run_before_it_begins(clusters: tuple[str, ...]) -> None:
    request = FleetRequest(clusters=clusters, canary="nowhere")
    with pytest.raises(RequestInvalid, match="canary: nowhere is not among the clusters of this run"):
        select(FLEET, EXECUTION, request, registered("a"))


def test_nothing_registered_is_not_all_well() -> None:
    with pytest.raises(ClusterNotRegistered, match="No cluster is registered"):
        select(FLEET, EXECUTION, FleetRequest(trigger=Trigger.ALARM), [])


@given(fleets, st.lists(names, max_size=6), st.sampled_from(Trigger), executions)
def test_every_cluster_is_selected_or_refused_never_both_never_lost(
    known: list[str], wanted: list[str], trigger: Trigger, execution: Execution
) -> None:
    wrong = [Registered(name, (("element-rekey:x", "1"),)) for name in known[::3]]
    right = registered(*(name for index, name in enumerate(known) if index % 3))
    request = FleetRequest(clusters=tuple(wanted) or None, trigger=trigger)
    run = select(FLEET, execution, request, [*wrong, *right])
    selected, refused = [one.cluster for one in run.selected], [one.cluster for one in run.not_selected]
    assert sorted(selected + refused) == sorted(set(wanted or known))
    assert set(selected) <= {one.cluster for one in right} | (
        set() if trigger is Trigger.SCHEDULE else {one.cluster for one in wrong}
    )


@given(fleets, executions, executions, st.integers(0, 1440))
def test_a_schedule_gives_each_cluster_its_own_place_in_every_run(
    known: list[str], one: Execution, other: Execution, minutes: int
) -> None:
    settings = replace(FLEET, spread=timedelta(minutes=minutes))
    first, second = (by_name(select(settings, run, SCHEDULED, registered(*known))) for run in (one, other))
    for name in known:
        offset = first[name].not_before - one.started_at
        assert timedelta() <= offset <= settings.spread
        assert offset == second[name].not_before - other.started_at
        alone = by_name(select(settings, one, SCHEDULED, registered(name)))
        assert alone[name] == first[name]


@given(fleets, executions, st.sampled_from([Trigger.MANUAL, Trigger.ALARM]))
def test_whoever_does_not_wait_for_the_schedule_begins_at_once(
    known: list[str], execution: Execution, trigger: Trigger
) -> None:
    run = select(FLEET, execution, FleetRequest(trigger=trigger), registered(*known))
    assert {one.not_before for one in run.selected} == {execution.started_at}


def test_the_spread_uses_all_of_its_time() -> None:
    run = select(FLEET, EXECUTION, SCHEDULED, registered(*(f"cluster-{number}" for number in range(1000))))
    offsets = [one.not_before - NOW for one in run.selected]
    assert offsets == sorted(offsets)
    tenths = [sum(offset // timedelta(minutes=3) == tenth for offset in offsets) for tenth in range(10)]
    assert min(tenths) > 60


@given(fleets, executions, executions)
def test_execution_names_are_valid_unique_and_the_same_when_repeated(
    known: list[str], one: Execution, other: Execution
) -> None:
    long = [f"{name}.{'x' * 64}"[:64] for name in known]
    run = select(FLEET, one, FleetRequest(), registered(*{*known, *long}))
    made = [selected.execution_name for selected in run.selected]
    assert all(EXECUTION_NAME.fullmatch(name) for name in made)
    assert len(set(made)) == len(made)
    assert select(FLEET, one, FleetRequest(), registered(*reversed([*{*known, *long}]))) == run
    if other.id != one.id:
        again = {name.execution_name for name in select(FLEET, other, FleetRequest(), registered(*known)).selected}
        assert not again & set(made)


# -- what the state machine gets --------------------------------------------------------------------------------------


def ordered(request: FleetRequest, *known: Registered, settings: FleetSettings = FLEET) -> dict[str, Any]:
    return map_input(settings, select(settings, EXECUTION, request, known), request)


def child(given: dict[str, Any], item: dict[str, Any]) -> Request:
    """What the state machine's JsonMerge makes of it, as the child parses it."""
    return parse_request(json.loads(json.dumps({**given["shared"], **item["request"]})))


@given(fleets, st.integers(1, 3650), st.integers(1, 3650), executions)
def test_a_schedule_demands_a_key_younger_than_the_maximum_age(
    known: list[str], days: int, other_days: int, execution: Execution
) -> None:
    settings = replace(FLEET, max_key_age=days * DAY)
    fleet = [aged(known[0], other_days), *registered(*known[1:])]
    given = map_input(settings, select(settings, execution, SCHEDULED, fleet), SCHEDULED)
    for item in given["items"]:
        request = child(given, item)
        allowed = other_days if request.cluster == known[0] else days
        started = execution.started_at.replace(microsecond=execution.started_at.microsecond // 1000 * 1000)
        made_after = demand_of(request, execution.started_at).made_after
        assert abs(made_after - (started - allowed * DAY)) < timedelta(milliseconds=1)
        assert request.trigger is Trigger.SCHEDULE
        assert request.cool_down_seconds == 0


def test_only_what_differs_travels_with_an_item() -> None:
    given = ordered(SCHEDULED, aged("a", 90), aged("b", 91), *registered("c"))
    requests = {item["request"]["cluster"]: item["request"] for item in given["items"]}
    assert requests["a"] == {"cluster": "a"}
    assert requests["b"]["keyCreatedAfter"] == encode(NOW - 91 * DAY)
    assert requests["c"] == {"cluster": "c"}


def test_an_alarm_demands_a_key_made_after_it_and_cools_down() -> None:
    since = NOW - timedelta(minutes=1)
    request = FleetRequest(trigger=Trigger.ALARM, reason="alarm", key_created_after=since)
    given = ordered(request, aged("a", 10))
    made = child(given, given["items"][0])
    assert made == Request("a", reason="alarm", trigger=Trigger.ALARM, key_created_after=since, cool_down_seconds=3600)


def test_a_person_gets_what_was_asked() -> None:
    request = FleetRequest(
        clusters=("a",),
        reason="change",
        requested_by="jane",
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
        dry_run=True,
        force=True,
        ignore_faults=("nodeOffline",),
    )
    given = ordered(request, *registered("a"))
    assert child(given, given["items"][0]) == Request(
        "a",
        reason="change",
        requested_by="jane",
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
        dry_run=True,
        force=True,
        ignore_faults=("nodeOffline",),
    )


@pytest.mark.parametrize(
    ("request_", "tolerated"),
    [
        (SCHEDULED, 0),
        (FleetRequest(trigger=Trigger.ALARM), ANY_NUMBER),
        (FleetRequest(), ANY_NUMBER),
        (FleetRequest(tolerated_failures=0), 0),
        (replace(SCHEDULED, tolerated_failures=7), 7),
    ],
)
def test_a_schedule_stops_at_the_first_failure_and_nobody_else_does(request_: FleetRequest, tolerated: int) -> None:
    assert ordered(request_, *registered("a"))["policy"]["toleratedFailures"] == tolerated


@pytest.mark.parametrize(
    ("request_", "tolerated"),
    [
        (SCHEDULED, 3),
        (FleetRequest(trigger=Trigger.ALARM), ANY_NUMBER),
        (FleetRequest(), ANY_NUMBER),
        (replace(SCHEDULED, tolerated_failures=0), 0),
    ],
)
def test_how_many_failures_a_schedule_tolerates_is_the_operators_unless_the_request_says(
    request_: FleetRequest, tolerated: int
) -> None:
    settings = replace(FLEET, tolerated_failures=3)
    assert ordered(request_, *registered("a"), settings=settings)["policy"]["toleratedFailures"] == tolerated


def test_how_many_at_a_time_is_the_operators_unless_the_request_says() -> None:
    settings = replace(FLEET, max_concurrency=5)
    assert ordered(FleetRequest(), *registered("a"), settings=settings)["policy"]["maxConcurrency"] == 5
    assert ordered(FleetRequest(max_concurrency=2), *registered("a"))["policy"]["maxConcurrency"] == 2


def test_the_canary_travels_apart() -> None:
    given = ordered(FleetRequest(canary="b"), *registered("a", "b", "c"))
    assert given["canary"]["request"]["cluster"] == "b"
    assert [item["request"]["cluster"] for item in given["items"]] == ["a", "c"]
    assert "canary" not in ordered(FleetRequest(), *registered("a"))


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
    assert dynamo_size({"pk": f"FLEET#{ARN}", **encode(run)}) < LARGEST_RECORD < 409_600


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


def test_more_than_a_state_carries_is_refused_by_name_before_anything_is_written() -> None:
    ports = fleet_ports(*longest(1100))
    with pytest.raises(RequestInvalid, match=r"clusters: 1100 make a state of \d+ bytes"):
        select_clusters(ports, FLEET, EXECUTION, SCHEDULED)
    assert ports.ledger.fleet_run(ARN) is None


def test_more_than_a_record_carries_is_refused_by_name_before_anything_is_written() -> None:
    wrong = registered(*(f"{number:04}/{'x' * 480}" for number in range(1000)))
    ports = fleet_ports(*registered("a"), *wrong)
    with pytest.raises(RequestInvalid, match=r"clusters: their names make a record of \d+ bytes"):
        select_clusters(ports, FLEET, EXECUTION, SCHEDULED)
    assert ports.ledger.fleet_run(ARN) is None


# -- beginning, standing, closing -------------------------------------------------------------------------------------


class Directory(FakeClusters):
    """Registrations that a test may change at any time."""

    def __init__(self, *known: Registered) -> None:
        super().__init__({one.cluster: FakeCluster(FakeClock()) for one in known})
        self.known = list(known)

    def registered(self) -> tuple[Registered, ...]:
        return tuple(self.known)


def fleet_ports(*known: Registered) -> Ports:
    return Ports(Directory(*known), FakeLedger(), FakeTopic(), FakeClock(), SETTINGS)


def topic_of(ports: Ports) -> FakeTopic:
    assert isinstance(ports.topic, FakeTopic)
    return ports.topic


def clock_of(ports: Ports) -> FakeClock:
    assert isinstance(ports.clock, FakeClock)
    return ports.clock


def finish(ports: Ports, selected: Selected, outcome: Outcome | None = Outcome.ROTATED, **changes: Any) -> Rotation:  # noqa: ANN401
    """What the rotation of a selected cluster leaves in the ledger."""
    arn = f"{MACHINE.replace(':stateMachine:', ':execution:')}:{selected.execution_name}"
    failure = None if outcome is None or outcome.succeeded else Failure("RekeyFailed", "It ended.", "Mend it.")
    record = rotated(execution=Execution(arn, NOW), cluster=selected.cluster, outcome=outcome, failure=failure)
    return ports.ledger.save(replace(record, **changes))


def test_a_repeated_step_finds_what_it_wrote_whatever_was_registered_since() -> None:
    ports = fleet_ports(*registered("a"))
    first = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    assert isinstance(ports.clusters, Directory)
    ports.clusters.known += registered("b")
    assert select_clusters(ports, FLEET, EXECUTION, FleetRequest()) == first
    assert first.version == 1
    other = Execution(f"{ARN}-two", NOW)
    assert [one.cluster for one in select_clusters(ports, FLEET, other, FleetRequest()).selected] == ["a", "b"]


def test_standings_are_read_from_the_ledger() -> None:
    ports = fleet_ports()
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a", "b", "c"))
    done = finish(ports, run.selected[0])
    under_way = finish(ports, run.selected[1], outcome=None, current_key=None)
    after = cluster_results(ports, MACHINE, run)
    assert [one.rotation for one in after] == [done, under_way, None]
    assert [one.outcome for one in after] == ["Rotated", "NotEnded", "NotBegun"]
    assert [one.succeeded for one in after] == [True, False, False]
    assert [one.key_made for one in after] == [NOW + timedelta(minutes=1), None, None]


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


def test_a_long_list_of_failures_is_cut_and_says_so() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered(*(f"c{number:02}" for number in range(13))))
    failure = fleet_failure(run, [ClusterResult(one, None) for one in run.selected])
    assert failure
    assert failure.cause.endswith("c08, c09 and 3 more.")


def test_an_error_that_was_caught_is_what_is_reported() -> None:
    ports = fleet_ports()
    caught = Failure("RequestInvalid", "clusters: unknown", "Correct it.")
    without_request: CloseRequest[FleetRequest] = CloseRequest(EXECUTION, None, caught)
    closed = summarize_fleet(ports, MACHINE, without_request)
    assert closed.run.failure == caught
    assert closed.run.request is None
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


def test_a_selection_that_comes_after_the_run_was_closed_begins_nothing() -> None:
    """The run was stopped while the selecting function was still at work."""
    ports = fleet_ports(*registered("a"))
    summarize_fleet(ports, MACHINE, closing(Failure("ExecutionAborted", "Stopped.", "Start again.")))
    late = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    assert late.selected == ()
    assert map_input(FLEET, late, FleetRequest())["items"] == []


def test_a_publication_that_failed_is_repeated_with_the_same_verdict_and_only_after_the_first_is_dead() -> None:
    ports = fleet_ports(*registered("a"))
    run = select_clusters(ports, FLEET, EXECUTION, FleetRequest())

    class Deaf(FakeTopic):
        def publish_summary(self, run: FleetRun, after: object) -> None:
            raise ConnectionError(run, after)

    with pytest.raises(ConnectionError):
        summarize_fleet(replace(ports, topic=Deaf()), MACHINE, closing())
    with pytest.raises(LedgerConflict, match="Another invocation is publishing this outcome"):
        summarize_fleet(ports, MACHINE, closing())
    clock_of(ports).now += SETTINGS.settling
    finish(ports, run.selected[0])
    closed = summarize_fleet(ports, MACHINE, closing())
    assert closed.run.ended_at == NOW
    assert closed.run.notified_at == NOW + SETTINGS.settling
    assert closed.run.failure
    assert closed.run.failure.cause == "Not as they should be: a."


def test_two_that_close_at_the_same_time_tell_once() -> None:
    ports = fleet_ports(*registered("a"))
    run = select_clusters(ports, FLEET, EXECUTION, FleetRequest())
    finish(ports, run.selected[0])

    class Slow(FakeTopic):
        def publish_summary(self, run: FleetRun, after: Any) -> None:  # noqa: ANN401
            with pytest.raises(LedgerConflict):
                summarize_fleet(ports, MACHINE, closing())
            super().publish_summary(run, after)

    topic = Slow()
    summarize_fleet(replace(ports, topic=topic), MACHINE, closing())
    assert len(topic.summaries) == 1
    assert topic_of(ports).summaries == []


def test_the_key_time_of_a_cluster_that_gives_none_is_unknown() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a"))
    assert ClusterResult(run.selected[0], rotated(current_key=key(made=None))).key_made is None

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.cluster import KeyManagementType
from element_rekey.codec import encode
from element_rekey.errors import ClusterNotRegistered, RequestInvalid
from element_rekey.inputs import parse_request
from element_rekey.outcomes import Trigger
from element_rekey.records import (
    CLUSTER_NAME,
    Execution,
    FleetRequest,
    FleetRun,
    NotSelected,
    Registered,
    Request,
    Selected,
)
from element_rekey.rules.demand import demand_of
from element_rekey.rules.selection import ANY_NUMBER, TAG_MAX_KEY_AGE, map_input, select
from tests.fakes import NOW
from tests.unit.fleet_samples import EXECUTION, FLEET, FLEET_ARN, SCHEDULED, aged, registered
from tests.unit.samples import DAY

if TYPE_CHECKING:
    from element_rekey.settings import FleetSettings

EXECUTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")  # what Step Functions both takes and logs
names = st.from_regex(CLUSTER_NAME, fullmatch=True)
starts = st.datetimes(datetime(2026, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(tzinfo=NOW.tzinfo))  # noqa: DTZ001
executions = st.builds(Execution, st.uuids().map(lambda one: f"{FLEET_ARN}-{one}"), starts)
fleets = st.lists(names, min_size=1, max_size=12, unique=True)


def by_name(run: FleetRun) -> dict[str, Selected]:
    return {one.cluster: one for one in run.selected}


# --- selecting ---


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


def test_an_alarm_for_a_cluster_that_is_not_there_is_an_error_of_its_own_and_does_not_stop_the_others() -> None:
    run = select(FLEET, EXECUTION, FleetRequest(clusters=("a", "mistyped"), trigger=Trigger.ALARM), registered("a"))
    assert [one.cluster for one in run.selected] == ["a"]
    cause = "No cluster is registered under this name: no key was replaced."
    assert run.not_selected == (NotSelected("mistyped", "AlarmTargetUnknown", cause),)


@pytest.mark.parametrize("name", ["a/b", "-a", "x" * 65, "mit leer", "ä", ""])
def test_a_secret_whose_name_names_no_cluster_is_refused(name: str) -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a", name))
    assert run.not_selected == (
        NotSelected(name, "RegistrationInvalid", "The name of its secret is not a cluster's name."),
    )


@pytest.mark.parametrize("name", ["all", "ALL", "All"])
def test_no_cluster_can_be_called_what_stands_for_all_of_them(name: str) -> None:
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a", name))
    cause = f"A cluster cannot be called {name}: an alarm of that name means every cluster."
    assert run.not_selected == (NotSelected(name, "RegistrationInvalid", cause),)


def test_no_cluster_can_be_called_as_the_alarms_that_start_a_rotation_are() -> None:
    """An alarm named after ``element-key-compromise-b`` would have the key of ``b`` replaced."""
    name = f"{FLEET.alarm_prefix}b"
    run = select(FLEET, EXECUTION, FleetRequest(), registered("a", "b", name, f"x-{name}"))
    (refused,) = run.not_selected
    assert (refused.cluster, refused.error) == (name, "RegistrationInvalid")
    assert refused.cause == (
        "Its name begins as those of the alarms that start a rotation do (element-key-compromise-): an alarm named "
        "after this cluster would be taken for one of another."
    )
    assert [one.cluster for one in run.selected] == ["a", "b", f"x-{name}"]


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


def test_the_daily_looks_keep_the_policy_in_force_and_ask_for_nothing_by_it() -> None:
    request = FleetRequest(trigger=Trigger.READINESS, dry_run=True)
    run = select(FLEET, EXECUTION, request, [aged("a", 30), *registered("b")])
    assert {name: one.max_key_age_seconds for name, one in by_name(run).items()} == {
        "a": 30 * 86_400,
        "b": 90 * 86_400,
    }
    assert all(item["request"].keys() == {"cluster"} for item in map_input(FLEET, run, request)["items"])


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


# --- what the state machine gets ---


def map_input_of(request: FleetRequest, *known: Registered, settings: FleetSettings = FLEET) -> dict[str, Any]:
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
    given = map_input_of(SCHEDULED, aged("a", 90), aged("b", 91), *registered("c"))
    requests = {item["request"]["cluster"]: item["request"] for item in given["items"]}
    assert requests["a"] == {"cluster": "a"}
    assert requests["b"]["keyCreatedAfter"] == encode(NOW - 91 * DAY)
    assert requests["c"] == {"cluster": "c"}


def test_an_alarm_demands_a_key_made_after_it_and_cools_down() -> None:
    since = NOW - timedelta(minutes=1)
    request = FleetRequest(trigger=Trigger.ALARM, reason="alarm", key_created_after=since)
    given = map_input_of(request, aged("a", 10))
    made = child(given, given["items"][0])
    assert made == Request("a", reason="alarm", trigger=Trigger.ALARM, key_created_after=since, cool_down_seconds=3600)


def test_what_a_person_asks_of_many_clusters_is_asked_once_at_the_start_of_the_run() -> None:
    """So whoever asks twice, or starts an interrupted run anew, has no cluster rotated twice."""
    given = map_input_of(FleetRequest(canary="b"), *registered("a", "b"))
    started = child(given, given["items"][0]), child(given, given["canary"])
    assert {request.key_created_after for request in started} == {EXECUTION.started_at}
    earlier = NOW - timedelta(hours=1)
    given = map_input_of(FleetRequest(key_created_after=earlier), *registered("a"))
    assert child(given, given["items"][0]).key_created_after == earlier


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
    given = map_input_of(request, *registered("a"))
    assert child(given, given["items"][0]) == Request(
        "a",
        key_created_after=NOW,
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
    assert map_input_of(request_, *registered("a"))["policy"]["toleratedFailures"] == tolerated


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
    assert map_input_of(request_, *registered("a"), settings=settings)["policy"]["toleratedFailures"] == tolerated


def test_how_many_at_a_time_is_the_operators_unless_the_request_says() -> None:
    settings = replace(FLEET, max_concurrency=5)
    assert map_input_of(FleetRequest(), *registered("a"), settings=settings)["policy"]["maxConcurrency"] == 5
    assert map_input_of(FleetRequest(max_concurrency=2), *registered("a"))["policy"]["maxConcurrency"] == 2


def test_an_emergency_does_not_wait_for_one_cluster_after_the_other() -> None:
    settings = replace(FLEET, max_concurrency=1, urgent_max_concurrency=500)
    alarm = FleetRequest(trigger=Trigger.ALARM)
    assert map_input_of(alarm, *registered("a"), settings=settings)["policy"]["maxConcurrency"] == 500
    assert map_input_of(SCHEDULED, *registered("a"), settings=settings)["policy"]["maxConcurrency"] == 1
    asked = replace(alarm, max_concurrency=2)
    assert map_input_of(asked, *registered("a"), settings=settings)["policy"]["maxConcurrency"] == 2


def test_a_dry_run_looks_at_every_cluster_whatever_fails() -> None:
    request = replace(SCHEDULED, dry_run=True, canary="b", tolerated_failures=0)
    given = map_input_of(request, *registered("a", "b", "c"))
    assert {item["request"]["cluster"] for item in given["items"]} == {"a", "b", "c"}
    assert "canary" not in given
    assert given["policy"]["toleratedFailures"] == ANY_NUMBER


def test_the_canary_travels_apart() -> None:
    given = map_input_of(FleetRequest(canary="b"), *registered("a", "b", "c"))
    assert given["canary"]["request"]["cluster"] == "b"
    assert [item["request"]["cluster"] for item in given["items"]] == ["a", "c"]
    assert "canary" not in map_input_of(FleetRequest(), *registered("a"))

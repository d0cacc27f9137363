"""How a cluster stands: every state, their order, and what of an incident is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    ClusterMemory,
    Failure,
    FleetRequest,
    FleetRun,
    Lock,
    NotSelected,
    Readiness,
    Request,
    Rotation,
    Selected,
)
from element_rekey_cli.standing import (
    JUST_OVER,
    REMEMBERED_NAMES,
    Attempt,
    Facts,
    Incident,
    Report,
    Running,
    Standing,
    State,
    incidents,
    report_of,
    stand,
    worst_first,
)
from tests.fakes import NOW
from tests.unit.samples import ARN, DAY, HOUR, MINUTE, OTHER_ARN, UUID, execution, external, failed, key, rotated

GRACE = 7 * DAY
AGE = 90 * DAY


def memory(age: timedelta, key_id: str = "key-1") -> ClusterMemory:
    made = NOW - age
    return ClusterMemory(UUID, key_id, made, NOW, made, made)


def facts(age: timedelta = 10 * DAY, **changes: Any) -> Facts:  # noqa: ANN401 - one argument for each member
    plain = Facts("prod-a", max_key_age=AGE, memory=memory(age), records=(rotated(current_key=key("key-1")),))
    return replace(plain, **changes)


def running(**changes: Any) -> Running:  # noqa: ANN401 - one argument for each member
    return replace(Running(execution(NOW - HOUR), "CreateNewMasterKey", NOW - MINUTE, 3, 7), **changes)


def dry(outcome: Outcome) -> Rotation:
    record = failed("UpgradePending", outcome) if outcome is Outcome.WOULD_BE_REFUSED else rotated(outcome=outcome)
    return replace(record, request=Request("prod-a", dry_run=True))


ATTEMPT = Attempt("ClusterUnavailable", "No answer.", 3, 9)
REPORT = Report(execution(NOW - HOUR, OTHER_ARN), NOW - HOUR, ("prod-a",), "the SIEM saw it", running=False)


def state(known: Facts, *reports: Report) -> State:
    return stand(known, reports, GRACE, NOW).state


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(), State.OK),
        (AGE - MINUTE, State.OK),
        (AGE, State.DUE),
        (AGE + GRACE - MINUTE, State.DUE),
        (AGE + GRACE, State.OVERDUE),
    ],
)
def test_age_makes_it_due_and_after_a_while_overdue(age: timedelta, expected: State) -> None:
    assert state(facts(age)) is expected


@pytest.mark.parametrize(
    ("changes", "expected", "why"),
    [
        ({"running": (running(),)}, State.ROTATING, ""),
        (
            {"running": (running(attempt=ATTEMPT),)},
            State.RETRYING,
            "Attempt 3 of 9 after ClusterUnavailable: No answer.",
        ),
        (
            {"running": (running(attempt=Attempt("Strange", "", 2, None)),)},
            State.RETRYING,
            "Attempt 2 after Strange",
        ),
        ({"records": (failed("RekeyOutcomeUnknown", Outcome.OUTCOME_UNKNOWN),)}, State.UNKNOWN, "RekeyOutcomeUnknown:"),
        ({"records": (failed("RotationOverdue", Outcome.OVERDUE),)}, State.UNKNOWN, "RotationOverdue:"),
        ({"records": (rotated(outcome=Outcome.ROTATED_WITH_ERROR, detail="x"),)}, State.UNKNOWN, "x"),
        ({"records": (failed("CredentialsRefused"),)}, State.NOT_READY, "CredentialsRefused:"),
        ({"records": (dry(Outcome.WOULD_BE_REFUSED), rotated())}, State.NOT_READY, "UpgradePending:"),
        ({"records": (dry(Outcome.PLANNED), failed())}, State.OK, ""),
        ({"memory": None, "records": ()}, State.NOT_READY, "Its key was never seen"),
        ({"problem": "RegistrationInvalid: Tag x is unknown."}, State.NOT_READY, "RegistrationInvalid: Tag x"),
        ({"max_key_age": None}, State.OK, ""),
    ],
)
def test_what_else_is_known_makes_its_state(changes: dict[str, Any], expected: State, why: str) -> None:
    standing = stand(facts(**changes), (), GRACE, NOW)
    assert standing.state is expected
    assert standing.why.startswith(why)
    assert bool(standing.why) is bool(why)


STAGED = Failure("UpgradePending", "Staged.", "Wait.")


def test_the_daily_look_counts_where_it_is_the_last() -> None:
    found = Readiness(NOW + HOUR, NOW - DAY, STAGED)
    known = facts(readiness=found)
    standing = stand(known, (), GRACE, NOW)
    assert (standing.state, standing.ready, standing.why) == (State.NOT_READY, False, "UpgradePending: Staged.")
    earlier = replace(found, looked_at=NOW - DAY)
    assert stand(replace(known, readiness=earlier), (), GRACE, NOW).state is State.OK
    assert stand(facts(records=(), readiness=replace(found, failure=None)), (), GRACE, NOW).ready is True
    unended = facts(records=(rotated(ended_at=None),), readiness=found)
    assert stand(unended, (), GRACE, NOW).ready is False


def test_what_is_not_due_and_not_fit_is_not_ready() -> None:
    known = facts(records=(rotated(outcome=Outcome.NOT_DUE, change=None, unfit=STAGED),))
    standing = stand(known, (), GRACE, NOW)
    assert (standing.state, standing.why) == (State.NOT_READY, "UpgradePending: Staged.")


def test_what_a_later_run_settled_is_not_unknown() -> None:
    lost = failed("RekeyOutcomeUnknown", Outcome.OUTCOME_UNKNOWN, settled_by=execution(NOW, OTHER_ARN))
    assert stand(facts(records=(lost,)), (), GRACE, NOW).state is State.OK


def test_a_dry_run_that_failed_without_a_word_is_told_by_its_outcome() -> None:
    known = facts(records=(rotated(outcome=Outcome.FAILED),))
    assert stand(known, (), GRACE, NOW).why == "Failed."


def test_an_overdue_key_says_why_nobody_replaced_it() -> None:
    late = facts(AGE + 9 * DAY, records=(failed("CredentialsRefused"),))
    assert stand(late, (), GRACE, NOW).why == (
        "The key was due 9 d ago, and the last look at it ended with CredentialsRefused: The rekey ended with "
        "xAssumed: out of entropy."
    )


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (facts(), State.UNMET_REPORT),
        (facts(timedelta()), State.OK),  # a key made after the report
        (facts(running=(running(),)), State.ROTATING),
        (facts(records=(failed("RekeyOutcomeUnknown", Outcome.OUTCOME_UNKNOWN),)), State.UNKNOWN),
        (facts(AGE + 9 * DAY), State.UNMET_REPORT),
        (facts(cluster="prod-b"), State.OK),  # another one was reported
        (Facts("prod-a", registered=False), State.UNMET_REPORT),
    ],
)
def test_a_report_is_unmet_until_the_key_is_newer(known: Facts, expected: State) -> None:
    assert state(known, REPORT) is expected


def test_an_unmet_report_says_what_was_tried_for_it() -> None:
    said = "Reported (the SIEM saw it, at 02:00:00), and its key is older than that."
    assert stand(facts(), (REPORT,), GRACE, NOW).why == f"{said} No rotation runs."
    tried = facts(records=(failed("UpgradePending", execution=execution(NOW - MINUTE)),))
    assert stand(tried, (REPORT,), GRACE, NOW).why.startswith(f"{said} The rotation ended with UpgradePending: ")
    stranger = Facts("prod-a", registered=False)
    assert "no cluster is registered under this name" in stand(stranger, (REPORT,), GRACE, NOW).why


def test_everything_known_is_told() -> None:
    known = facts(
        records=(rotated(current_key=external("key-1", 15)),),
        lock=Lock(ARN, NOW + MINUTE),
        running=(running(), running()),
    )
    standing = stand(known, (), GRACE, NOW)
    assert (standing.cluster_uuid, standing.key_id) == (UUID, "key-1")
    assert (standing.key_management_type, standing.key_provider_id) == ("External", 15)
    assert (standing.key_age_days, standing.due_in_days, standing.due_at) == (10, 80, NOW + 80 * DAY)
    assert standing.ready is True
    assert standing.lock
    assert standing.lock.execution_arn == ARN
    assert standing.running
    assert (standing.running.phase, standing.running.polls, standing.running.others) == ("CreateNewMasterKey", 3, 1)
    assert standing.last_outcome
    assert standing.last_outcome.outcome is Outcome.ROTATED
    assert standing.open


def test_a_lock_that_ran_out_is_nobodys() -> None:
    assert stand(facts(lock=Lock(ARN, NOW)), (), GRACE, NOW).lock is None


def test_a_key_seen_in_a_dry_run_only_is_told_too() -> None:
    looked = facts(memory=None, records=(replace(dry(Outcome.PLANNED), current_key=key("key-9", NOW - 3 * DAY)),))
    standing = stand(looked, (), GRACE, NOW)
    assert (standing.state, standing.key_id, standing.key_age_days) == (State.OK, "key-9", 3)
    unknown = facts(memory=None, records=(replace(dry(Outcome.PLANNED), current_key=key("key-9", None)),))
    assert stand(unknown, (), GRACE, NOW).key_made_at is None


def test_a_rotation_that_is_not_over_is_no_outcome() -> None:
    standing = stand(facts(records=(rotated(outcome=None, ended_at=None),)), (), GRACE, NOW)
    assert (standing.last_outcome, standing.ready) == (None, None)


def test_only_what_is_due_and_what_is_well_is_not_open() -> None:
    assert [one for one in State if not one.open] == [State.DUE, State.OK]


@given(st.permutations([(one, age) for one in State for age in (1.0, 5.0, None)]))
def test_the_worst_comes_first_whatever_the_order(shuffled: list[tuple[State, float | None]]) -> None:
    standings = [Standing(f"{one}-{age}", one, one.open, "", registered=True, due_in_days=age) for one, age in shuffled]
    sorted_ = worst_first(standings)
    assert [one.state for one in sorted_] == [one for one in State for _ in range(3)]
    assert [one.due_in_days for one in sorted_] == [None, 1.0, 5.0] * len(State)


# --- reports and incidents ---

RUN = FleetRun(
    execution(NOW - HOUR, OTHER_ARN),
    FleetRequest(trigger=Trigger.ALARM, reason="alarm x", key_created_after=NOW - 2 * HOUR),
    selected=(Selected("prod-b", "b", NOW), Selected("prod-a", "a", NOW)),
    not_selected=(NotSelected("prod-x", "AlarmTargetUnknown", "No."),),
)


def asked(**changes: Any) -> FleetRun:  # noqa: ANN401 - one argument for each member
    request = RUN.request
    assert request
    return replace(RUN, request=replace(request, **changes))


def test_an_urgent_run_is_a_report_on_what_it_selected_or_could_not() -> None:
    report = report_of(RUN, ("prod-a", "prod-b"), NOW, running=True)
    assert report == Report(RUN.execution, NOW - 2 * HOUR, ("prod-a", "prod-b", "prod-x"), "alarm x", running=True)


def test_a_run_that_selected_nothing_is_a_report_on_whom_it_named_or_on_all() -> None:
    named = report_of(asked(clusters=("prod-z",), key_created_after=None), ("prod-a",), NOW, running=False)
    assert named
    assert (named.clusters, named.since) == (("prod-z",), RUN.execution.started_at)
    ignored = replace(RUN, selected=(), not_selected=())
    everybody = report_of(ignored, ("prod-a",), NOW, running=False)
    assert everybody
    assert everybody.clusters == ("prod-a",)


@pytest.mark.parametrize("run", [asked(trigger=Trigger.MANUAL), asked(dry_run=True), replace(RUN, request=None)])
def test_what_is_not_urgent_is_no_report(run: FleetRun) -> None:
    assert report_of(run, ("prod-a",), NOW, running=True) is None


def test_a_name_that_is_nobodys_is_forgotten_after_a_week() -> None:
    old = report_of(RUN, ("prod-a",), RUN.execution.started_at + REMEMBERED_NAMES, running=False)
    assert old
    assert old.clusters == ("prod-a",)


def told(*reports: Report, **known: Facts) -> tuple[Incident, ...]:
    by_name = {name.replace("_", "-"): replace(one, cluster=name.replace("_", "-")) for name, one in known.items()}
    standings = {name: stand(one, reports, GRACE, NOW) for name, one in by_name.items()}
    return incidents(reports, by_name, standings, NOW)


def report(*clusters: str, since: timedelta = HOUR, running: bool = False) -> Report:
    return Report(execution(NOW - since, f"{OTHER_ARN}-{since}"), NOW - since, clusters, "", running=running)


UNKNOWN = facts(records=(failed("RekeyOutcomeUnknown", Outcome.OUTCOME_UNKNOWN),))


def test_an_incident_is_one_line() -> None:
    (incident,) = told(
        report("a", "b", "c", "d", "e"),
        a=facts(timedelta()),
        b=facts(running=(running(),)),
        c=facts(running=(running(attempt=ATTEMPT),)),
        d=UNKNOWN,
        e=facts(),
    )
    assert incident.line == "since 02:00: 1/5 have a newer key, 2 rotating, 1 unknown, 1 unmet"
    assert (incident.newer_key, incident.rotating, incident.unknown, incident.unmet) == (1, 2, 1, 1)


def test_an_incident_of_another_day_says_which() -> None:
    (incident,) = told(report("a", since=10 * DAY), a=facts(20 * DAY))
    assert incident.line == "since 2026-11-13 03:00: 0/1 have a newer key, 1 unmet"


@pytest.mark.parametrize(
    ("since", "running", "still"),
    [(HOUR, False, 1), (JUST_OVER, False, 0), (JUST_OVER, True, 1)],
)
def test_an_incident_that_is_over_is_told_for_a_day(since: timedelta, running: bool, still: int) -> None:  # noqa: FBT001
    found = told(report("a", since=since, running=running), a=facts(timedelta()))
    assert len(found) == still


def test_who_is_reported_again_is_looked_at_under_the_later_report() -> None:
    found = told(report("a", "b", since=2 * HOUR), report("a", since=HOUR), a=facts(), b=facts())
    assert [(one.since, one.clusters) for one in found] == [(NOW - HOUR, 1), (NOW - 2 * HOUR, 1)]
    assert len(told(report("a", since=2 * HOUR), report("a", since=HOUR), a=facts())) == 1


def test_the_failure_of_a_record_without_one_is_its_detail() -> None:
    record = replace(failed("x", Outcome.OUTCOME_UNKNOWN), failure=None, detail="A rekey was sent.")
    assert stand(facts(records=(record,)), (), GRACE, NOW).why == "A rekey was sent."
    with_failure = replace(record, failure=Failure("RekeyOutcomeUnknown", "Sent.", "Look."))
    last = stand(facts(records=(with_failure,)), (), GRACE, NOW).last_outcome
    assert last
    assert (last.error, last.cause, last.next_step) == ("RekeyOutcomeUnknown", "Sent.", "Look.")

from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from element_rekey.codec import decode, encode, json_name
from element_rekey.errors import ClusterNotRegistered
from element_rekey.inputs import parse_fleet_request
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    Asked,
    ClusterResult,
    EndingCertificate,
    Execution,
    Failure,
    FleetReadiness,
    FleetRequest,
    FleetRun,
    NotReady,
    NotSelected,
    Registered,
    Selected,
)
from element_rekey.rules.closing import fleet_failure
from element_rekey.rules.selection import select
from element_rekey.settings import FleetSettings
from element_rekey.summary import (
    SUMMARY_SCHEMA,
    CanaryLine,
    ClusterLine,
    Count,
    KeyLine,
    Summary,
    build_summary,
    oldest_key_age_days,
    outcome_counts,
    summary_in_words,
)
from element_rekey.text import cut
from tests.fakes import NOW
from tests.unit.samples import DAY, HOUR, MINUTE, key, rotated, rotation

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "fleet-summary.v1.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

ARN = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:one"
EXECUTION = Execution(ARN, NOW)
REGION, MACHINE = ARN.split(":")[3], ARN.replace(":execution:", ":stateMachine:").rpartition(":")[0]
ENDED = NOW + 20 * MINUTE
SETTINGS = FleetSettings(90 * DAY, HOUR, 30 * MINUTE, 1, 500, "element-key-compromise-")
SCHEDULED = FleetRequest(trigger=Trigger.SCHEDULE, reason="maximum key age")


def result(
    cluster: str, outcome: Outcome | None, made: timedelta | None = None, max_days: int | None = 90
) -> ClusterResult:
    """A cluster that ended like this, with a key ``made`` before the run ended."""
    chosen = Selected(cluster, f"{cluster}-1", NOW, None if max_days is None else max_days * 86_400)
    current = None if made is None else key(made=ENDED - made)
    bad = outcome is not None and not outcome.succeeded
    failure = Failure("RekeyFailed", f"It ended badly on {cluster}.", "Mend it.") if bad else None
    return ClusterResult(chosen, rotated(cluster=cluster, outcome=outcome, failure=failure, current_key=current))


def closed(
    *after: ClusterResult,
    not_selected: tuple[NotSelected, ...] = (),
    failure: Failure | None = None,
    **changes: Any,  # noqa: ANN401
) -> FleetRun:
    run = FleetRun(
        EXECUTION, SCHEDULED, selected=tuple(one.selected for one in after), not_selected=not_selected, ended_at=ENDED
    )
    run = replace(run, **changes)
    return replace(run, failure=failure or fleet_failure(run, after))


def summary_after(run: FleetRun, *after: ClusterResult) -> Summary:
    """The summary, which always fits its schema."""
    made = build_summary(run, after)
    VALIDATOR.validate(json.loads(json.dumps(encode(made))))
    return made


NOWHERE = NotSelected("nowhere", "ClusterNotRegistered", "There is no secret of this name.")
NOT_BEGUN = ClusterResult(Selected("z", "z-1", NOW, 90 * 86_400), None)


def test_the_members_are_those_of_the_schema() -> None:
    known = {json_name(field.name): field for field in fields(Summary)}
    assert list(known) == list(SCHEMA["properties"])
    defined = {"key": KeyLine, "cluster": ClusterLine, "canary": CanaryLine, "notReady": NotReady}
    assert SCHEMA["$defs"].keys() == defined.keys()
    for definition, document in defined.items():
        assert [json_name(field.name) for field in fields(document)] == list(SCHEMA["$defs"][definition]["properties"])
    asked_again = SCHEMA["properties"]["startAgainWith"]["properties"]
    assert [json_name(field.name) for field in fields(FleetRequest)] == list(asked_again)
    ending = SCHEMA["properties"]["endingCertificates"]["items"]["properties"]
    assert [json_name(field.name) for field in fields(EndingCertificate)] == list(ending)
    assert [json_name(one.name) for one in fields(Count)] == list(SCHEMA["properties"]["counts"]["items"]["properties"])
    assert SCHEMA["properties"]["schema"]["const"] == SUMMARY_SCHEMA
    optional = set(known) - set(SCHEMA["required"])
    assert optional == {
        "oldestKeyAgeDays",
        "error",
        "cause",
        "nextStep",
        "wouldBeRefused",
        "startAgainWith",
        "canary",
        "clustersNotReady",
        "becameNotReady",
        "readyAgain",
        "endingCertificates",
    }


def test_a_cluster_is_counted_in_the_ways_the_schema_knows() -> None:
    after = [result(outcome, outcome, DAY) for outcome in Outcome] + [result("n", None), NOT_BEGUN]
    counts = outcome_counts(closed(*after, not_selected=(NOWHERE,)), after)
    assert list(counts) == SCHEMA["properties"]["counts"]["items"]["properties"]["outcome"]["enum"]


def test_a_run_in_which_all_went_well() -> None:
    after = (
        result("a", Outcome.ROTATED, 10 * MINUTE),
        result("b", Outcome.NOT_DUE, 80 * DAY),
        result("c", Outcome.FOLLOWED, HOUR, 30),
    )
    summary = summary_after(closed(*after), *after)
    assert summary.succeeded
    assert summary.headline == "3 clusters, 2 rotated, all well"
    assert summary.notification_id == summary.execution_arn == ARN
    assert summary.counts == (Count("Rotated", 1), Count("Followed", 1), Count("NotDue", 1))
    assert summary.rotated == ("a", "c")
    assert summary.attention == ()
    assert summary.overdue_keys == ()
    assert [line.cluster for line in summary.next_due] == ["b", "c", "a"]
    assert summary.next_due[0] == KeyLine("b", 80.0, ENDED + 10 * DAY)
    assert summary.oldest_key_age_days == 80.0
    assert (summary.clusters, summary.duration_seconds) == (3, 1200)
    assert (summary.error, summary.cause, summary.next_step) == (None, None, None)


def test_a_run_in_which_much_went_wrong() -> None:
    after = (
        result("a", Outcome.ROTATED, 10 * MINUTE),
        result("b", Outcome.FAILED, 400 * DAY),
        result("c", Outcome.FAILED, 95 * DAY),
        result("d", None),
        NOT_BEGUN,
    )
    summary = summary_after(closed(*after, not_selected=(NOWHERE,)), *after)
    assert not summary.succeeded
    assert summary.headline == "6 clusters, 1 rotated, 5 need ATTENTION"
    assert summary.attention == (
        ClusterLine(
            "nowhere",
            "Refused",
            "ClusterNotRegistered",
            "There is no secret of this name.",
            ClusterNotRegistered.next_step,
        ),
        ClusterLine("b", "Failed", "RekeyFailed", "It ended badly on b."),
        ClusterLine("c", "Failed", "RekeyFailed", "It ended badly on c."),
        ClusterLine("d", "NotEnded"),
        ClusterLine("z", "NotBegun"),
    )
    assert [line.cluster for line in summary.overdue_keys] == ["b", "c"]
    assert summary.error == "FleetIncomplete"
    assert summary.cause == "Not as they should be: b, c, d, z, nowhere."
    assert sum(count.clusters for count in summary.counts) == summary.clusters == 6


def test_a_run_whose_input_was_refused() -> None:
    failure = Failure("RequestInvalid", "cluster: unknown member.", "Correct it.")
    summary = summary_after(FleetRun(EXECUTION, None, failure=failure, ended_at=ENDED))
    assert summary.headline == "fleet run FAILED: RequestInvalid"
    assert (summary.trigger, summary.reason, summary.clusters) == (Trigger.MANUAL, "", 0)
    assert summary.oldest_key_age_days is None
    assert "No cluster was selected." in summary_in_words(summary)


def test_who_asked_and_why_is_told_of_an_input_that_was_refused() -> None:
    failure = Failure("RequestInvalid", "keyCreatedAfter: not together with the trigger schedule.", "Correct it.")
    asked = Asked(Trigger.SCHEDULE, "maximum key age", "jane", dry_run=True)
    summary = summary_after(FleetRun(EXECUTION, None, asked=asked, failure=failure, ended_at=ENDED))
    assert (summary.trigger, summary.reason, summary.requested_by) == (Trigger.SCHEDULE, "maximum key age", "jane")
    assert summary.dry_run
    assert summary.headline == "dry run FAILED: RequestInvalid"


def test_an_emergency_that_was_not_met_is_what_the_summary_says_first() -> None:
    unknown = NotSelected("mistyped", "AlarmTargetUnknown", "No cluster is registered under this name.")
    after = (result("a", Outcome.ROTATED, MINUTE, None),)
    request = FleetRequest(clusters=("a", "mistyped"), trigger=Trigger.ALARM)
    run = closed(*after, not_selected=(unknown,), request=request)
    summary = summary_after(run, *after)
    assert summary.headline == "UNKNOWN alarm target mistyped, 2 clusters, 1 rotated, 1 need ATTENTION"
    assert (summary.succeeded, summary.error) == (False, "AlarmTargetUnknown")
    assert summary.next_step
    assert "replace its key now" in summary.next_step
    stopped = replace(run, failure=Failure("ExecutionAborted", "Stopped.", "Start again."))
    assert summary_after(stopped, *after).headline == summary.headline


def test_a_run_that_was_stopped_after_all_were_done() -> None:
    after = (result("a", Outcome.ROTATED, MINUTE),)
    failure = Failure("ExecutionAborted", "Stopped.", "Start again.")
    assert summary_after(closed(*after, failure=failure), *after).headline == "fleet run FAILED: ExecutionAborted"


def test_a_dry_run_says_so() -> None:
    after = (result("a", Outcome.PLANNED, 400 * DAY, None),)
    summary = summary_after(closed(*after, request=FleetRequest(dry_run=True)), *after)
    assert summary.headline == "dry run, 1 cluster, 0 rotated, all well"
    assert summary.dry_run
    assert summary.overdue_keys == summary.next_due == ()


def test_a_dry_run_names_what_would_be_refused_and_needs_nobody() -> None:
    refused = ClusterResult(
        Selected("b", "b-1", NOW),
        rotated(
            cluster="b",
            outcome=Outcome.WOULD_BE_REFUSED,
            failure=Failure("CredentialsRefused", "x" * 400, "Mend it."),
            current_key=None,
        ),
    )
    after = (result("a", Outcome.PLANNED, 400 * DAY, None), refused)
    run = closed(*after, not_selected=(NOWHERE,), request=FleetRequest(dry_run=True))
    summary = summary_after(run, *after)
    assert summary.succeeded
    assert summary.headline == "dry run, 3 clusters, 0 rotated, 2 would be REFUSED"
    assert summary.attention == ()
    assert summary.would_be_refused == (
        ClusterLine(
            "nowhere",
            "Refused",
            "ClusterNotRegistered",
            "There is no secret of this name.",
            ClusterNotRegistered.next_step,
        ),
        ClusterLine("b", "WouldBeRefused", "CredentialsRefused", cut("x" * 400, 300)),
    )
    assert "\n  ! b: WouldBeRefused CredentialsRefused xxx" in summary_in_words(summary)


LOOKS = FleetRequest(trigger=Trigger.READINESS, dry_run=True)


def not_ready(*clusters: str) -> tuple[NotReady, ...]:
    return tuple(NotReady(one, "KeyProviderUnusable", "It has no key server.", "Mend it.") for one in clusters)


@pytest.mark.parametrize(
    ("readiness", "headline"),
    [
        (FleetReadiness(0, ready_again=("a",)), "ready again: a, readiness of 3 clusters, all ready"),
        (FleetReadiness(2, not_ready("a", "b")), "NOT READY any more: a, b, readiness of 3 clusters, 2 not ready"),
        (
            FleetReadiness(3, not_ready("a", "b", "c", "d"), ("e",)),
            "NOT READY any more: a, b, c and 1 more, ready again: e, readiness of 3 clusters, 3 not ready",
        ),
        (FleetReadiness(1), "readiness of 3 clusters, 1 not ready"),
    ],
)
def test_a_look_says_first_what_is_news(readiness: FleetReadiness, headline: str) -> None:
    after = (result("a", Outcome.PLANNED, DAY, None),)
    run = closed(*after, request=LOOKS)
    run = replace(run, readiness=readiness, looked_at_before=("b", "c"))
    summary = summary_after(run, *after)
    assert summary.headline == headline
    assert (summary.clusters, summary.clusters_not_ready) == (3, readiness.clusters_not_ready)
    words = summary_in_words(summary)
    for one in readiness.became_not_ready:
        assert f"\n  {one.cluster}: KeyProviderUnusable It has no key server. Next: Mend it.\n" in words
    assert ("\nReady again: " in words) == bool(readiness.ready_again)
    assert ("\nNot ready any more: " in words) == bool(readiness.became_not_ready)


def test_certificates_that_end_are_told_with_their_day() -> None:
    after = (result("a", Outcome.PLANNED, DAY, None),)
    ending = (
        EndingCertificate("a", "key server 5", NOW - DAY, -1),
        EndingCertificate("a", "the cluster", NOW + 59 * DAY, 59),
    )
    run = replace(closed(*after, request=LOOKS), readiness=FleetReadiness(0, ending_certificates=ending))
    summary = summary_after(run, *after)
    assert summary.headline == "certificates END SOON: a, readiness of 1 cluster, all ready"
    words = summary_in_words(summary)
    assert f"\n  a: that of key server 5 ends {NOW - DAY:%Y-%m-%d}, it HAS ENDED\n" in words
    assert f"\n  a: that of the cluster ends {NOW + 59 * DAY:%Y-%m-%d}, in 59 days\n" in words
    jsonschema.validate(encode(summary), SCHEMA)
    assert decode(Summary, encode(summary)) == summary, "whoever shows it reads it back"


def test_a_scheduled_run_says_so_too_before_what_it_rotated() -> None:
    after = (result("a", Outcome.NOT_DUE, DAY),)
    run = replace(closed(*after), readiness=FleetReadiness(1, not_ready("a")))
    assert summary_after(run, *after).headline == "NOT READY any more: a, 1 cluster, 0 rotated, all well"


def test_a_scheduled_run_does_not_say_twice_what_it_says_of_a_rotation_that_failed() -> None:
    """The document has it, for whoever counts; a reader has the line of the rotation."""
    after = (result("a", Outcome.FAILED, 95 * DAY), result("b", Outcome.NOT_DUE, DAY))
    run = replace(closed(*after), readiness=FleetReadiness(2, not_ready("a", "b")))
    summary = summary_after(run, *after)
    assert summary.headline == "NOT READY any more: b, 2 clusters, 0 rotated, 1 need ATTENTION"
    assert [one.cluster for one in summary.became_not_ready or ()] == ["a", "b"]
    words = summary_in_words(summary)
    assert "\n  b: KeyProviderUnusable" in words
    assert "\n  a: KeyProviderUnusable" not in words


def test_a_look_that_found_a_cluster_it_could_not_look_at_succeeds_with_that_answer() -> None:
    after = (result("a", Outcome.FAILED, DAY, None),)
    assert fleet_failure(closed(*after, request=LOOKS), after) is None


def test_a_dry_run_that_failed_is_reported_as_one() -> None:
    after = (ClusterResult(Selected("a", "a-1", NOW), None),)
    summary = summary_after(closed(*after, request=FleetRequest(dry_run=True)), *after)
    assert summary.headline == "dry run, 1 cluster, 0 rotated, 1 need ATTENTION"
    failure = Failure("ExecutionAborted", "Stopped.", "Start again.")
    stopped = FleetRun(EXECUTION, FleetRequest(dry_run=True), failure=failure, ended_at=ENDED)
    assert summary_after(stopped).headline == "dry run FAILED: ExecutionAborted"


STOPPED = Failure("ExecutionAborted", "Stopped.", "Start again.")
START = {
    "by hand": (FleetRequest(reason="CHG-1"), FleetRequest(reason="CHG-1", key_created_after=NOW)),
    "by hand, with a moment": (
        FleetRequest(key_created_after=NOW - DAY),
        FleetRequest(key_created_after=NOW - DAY),
    ),
    "by the schedule": (SCHEDULED, SCHEDULED),
    "by an alarm": (
        FleetRequest(clusters=("a",), trigger=Trigger.ALARM, key_created_after=NOW - HOUR),
        FleetRequest(clusters=("a",), trigger=Trigger.ALARM, key_created_after=NOW - HOUR),
    ),
}


@pytest.mark.parametrize(("request_", "again"), START.values(), ids=START)
def test_a_run_that_fell_short_says_how_to_start_again_so_that_what_is_done_is_found_done(
    request_: FleetRequest, again: FleetRequest
) -> None:
    after = (result("a", Outcome.ROTATED, MINUTE), NOT_BEGUN)
    summary = summary_after(closed(*after, request=request_), *after)
    assert summary.start_again_with == again
    given = json.loads(json.dumps(encode(summary.start_again_with)))
    assert parse_fleet_request(given, "x") == again
    (line,) = [line for line in summary_in_words(summary).splitlines() if line.startswith("Start again:   ")]
    *command, given = shlex.split(line.removeprefix("Start again:   "))
    assert command[-3:] == ["--state-machine-arn", MACHINE, "--input"]
    assert parse_fleet_request(json.loads(given), "x") == again


def test_a_run_that_was_stopped_before_it_selected_can_be_started_again() -> None:
    run = FleetRun(EXECUTION, FleetRequest(reason="CHG-1"), failure=STOPPED, ended_at=ENDED)
    assert summary_after(run).start_again_with == FleetRequest(reason="CHG-1", key_created_after=NOW)


def test_a_run_that_succeeded_is_not_to_be_started_again() -> None:
    after = (result("a", Outcome.ROTATED, MINUTE),)
    assert summary_after(closed(*after, request=FleetRequest()), *after).start_again_with is None


def test_what_was_wrongly_asked_is_not_to_be_asked_again() -> None:
    unknown = NotSelected("mistyped", "AlarmTargetUnknown", "No cluster is registered under this name.")
    request = FleetRequest(clusters=("mistyped",), trigger=Trigger.ALARM)
    assert summary_after(closed(not_selected=(unknown,), request=request)).start_again_with is None
    failure = Failure("ClusterNotRegistered", "No cluster is registered.", "Create it.")
    run = FleetRun(EXECUTION, FleetRequest(), failure=failure, ended_at=ENDED)
    assert summary_after(run).start_again_with is None


def test_an_input_of_many_clusters_is_not_printed_into_an_email() -> None:
    after = (NOT_BEGUN,)
    request = FleetRequest(clusters=tuple(f"{number:05}{'x' * 59}" for number in range(1000)))
    summary = summary_after(closed(*after, request=request), *after)
    assert summary.start_again_with
    words = summary_in_words(summary)
    assert f'Start again:   with the input of this run and "keyCreatedAfter": "{encode(NOW)}"\n' in words
    message = json.dumps({"default": json.dumps(encode(summary)), "email": words})
    assert len(message) < 262_144, "what SNS takes"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_canary_whose_key_was_not_replaced_proved_nothing_and_the_summary_says_so(outcome: Outcome) -> None:
    after = (result("b", outcome, DAY), result("a", Outcome.ROTATED, MINUTE))
    summary = summary_after(closed(*after, request=FleetRequest(canary="b")), *after)
    assert summary.canary == CanaryLine("b", outcome, proved=outcome in {Outcome.ROTATED, Outcome.FOLLOWED})
    told = f"\nCanary:    b was {outcome}: no key was replaced, so it proved nothing for the others.\n"
    assert (told in summary_in_words(summary)) is not summary.canary.proved


def test_without_a_canary_nothing_is_said_of_one_nor_in_a_dry_run_which_has_none() -> None:
    after = (result("b", Outcome.PLANNED, DAY),)
    for request in (FleetRequest(), FleetRequest(canary="b", dry_run=True)):
        summary = summary_after(closed(*after, request=request), *after)
        assert summary.canary is None
        assert "Canary" not in summary_in_words(summary)


def test_a_run_that_is_not_closed_yet_lasted_no_time() -> None:
    summary = build_summary(FleetRun(EXECUTION, SCHEDULED), [result("a", Outcome.ROTATED, 30 * MINUTE)])
    assert summary.ended_at is None
    assert summary.duration_seconds == 0


def test_a_key_that_is_due_this_very_moment_is_overdue() -> None:
    after = (result("a", Outcome.FAILED, 90 * DAY), result("b", Outcome.NOT_DUE, 90 * DAY - timedelta(seconds=1)))
    summary = summary_after(closed(*after), *after)
    assert [line.cluster for line in summary.overdue_keys] == ["a"]
    assert [line.cluster for line in summary.next_due] == ["b"]


def test_a_key_from_the_future_is_not_younger_than_new() -> None:
    assert oldest_key_age_days([result("a", Outcome.ROTATED, -HOUR)], ENDED) == 0.0
    assert oldest_key_age_days([NOT_BEGUN], ENDED) is None


def large() -> tuple[FleetRun, list[ClusterResult]]:
    """A thousand clusters with the longest names, each of them failed with a long cause."""
    names = [f"{number:05}{'x' * 59}" for number in range(1000)]
    chosen = select(SETTINGS, EXECUTION, SCHEDULED, [Registered(name) for name in names]).selected
    failure = Failure("RekeyFailed", 'xSome"Error\\' * 400, "Mend it.")
    after = [
        ClusterResult(
            one, rotated(cluster=one.cluster, outcome=Outcome.FAILED, failure=failure, current_key=key(made=NOW))
        )
        for one in chosen
    ]
    run = FleetRun(EXECUTION, SCHEDULED, selected=chosen, ended_at=ENDED)
    return replace(run, failure=fleet_failure(run, after)), after


def test_a_summary_of_a_thousand_clusters_stays_small_and_counts_them_all() -> None:
    run, after = large()
    summary = summary_after(run, *after)
    assert summary.counts == (Count("Failed", 1000),)
    assert len(summary.attention) == len(summary.next_due) == 50
    assert summary.headline == "1000 clusters, 0 rotated, 1000 need ATTENTION"
    assert summary.cause
    assert summary.cause.endswith("and 990 more.")
    message = json.dumps({"default": json.dumps(encode(summary)), "email": summary_in_words(summary)})
    assert len(message) < 262_144, "what SNS takes"


# -- in words ---------------------------------------------------------------------------------------------------------


def test_the_words_of_a_run_that_needs_attention() -> None:
    after = (result("a", Outcome.ROTATED, 10 * MINUTE), result("b", Outcome.FAILED, 400 * DAY), NOT_BEGUN)
    request = replace(SCHEDULED, requested_by="jane")
    words = summary_in_words(summary_after(closed(*after, not_selected=(NOWHERE,), request=request), *after))
    assert words == (
        "Fleet: 4 clusters, 1 rotated, 3 need ATTENTION.\n"
        "\n"
        "What happened: FleetIncomplete. Not as they should be: b, z, nowhere.\n"
        "What to do:    Read the summary: it says of each Refused cluster what to mend. What is NotBegun was not begun;"
        " each other cluster named there has its own notification with its own next step.\n"
        f"Start again:   aws stepfunctions start-execution --region {REGION} --state-machine-arn {MACHINE} --input "
        '\'{"trigger": "schedule", "reason": "maximum key age", "requestedBy": "jane"}\'\n'
        "\n"
        "Rotated 1, Failed 1, Refused 1, NotBegun 1\n"
        "  ! nowhere: Refused ClusterNotRegistered There is no secret of this name. "
        "Next: Create the cluster's secret (README, Register a cluster) or correct the name.\n"
        "  ! b: Failed RekeyFailed It ended badly on b.\n"
        "  ! z: NotBegun\n"
        "\n"
        "Overdue keys:\n"
        "  b: 400.0 days old, due 2026-01-17\n"
        "\n"
        "Due next:\n"
        "  a: 0.01 days old, due 2027-02-21\n"
        "\n"
        "Asked by:  schedule (jane and maximum key age)\n"
        "Began:     2026-11-23 03:00:00 UTC, took 1200 s\n"
        f"Execution: {ARN}\n"
    )


def test_the_words_of_a_run_in_which_all_went_well() -> None:
    after = (result("a", Outcome.COOLING_DOWN, 10 * MINUTE, None),)
    words = summary_in_words(summary_after(closed(*after, request=FleetRequest()), *after))
    assert words == (
        "Fleet: 1 cluster, 0 rotated, all well.\n"
        "\n"
        "CoolingDown 1\n"
        "\n"
        "Asked by:  manual\n"
        "Began:     2026-11-23 03:00:00 UTC, took 1200 s\n"
        f"Execution: {ARN}\n"
    )


@pytest.mark.parametrize("count", [9, 10, 11])
def test_at_most_ten_keys_that_are_due_next_are_named_in_words(count: int) -> None:
    after = tuple(result(f"c{number:02}", Outcome.NOT_DUE, (number + 1) * DAY) for number in range(count))
    words = summary_in_words(summary_after(closed(*after), *after))
    assert words.count("days old") == min(count, 10)


def test_a_failed_rotation_without_a_failure_is_still_named() -> None:
    after = (ClusterResult(Selected("a", "a-1", NOW), rotation(cluster="a", outcome=Outcome.OVERDUE)),)
    assert summary_after(closed(*after), *after).attention == (ClusterLine("a", "Overdue"),)

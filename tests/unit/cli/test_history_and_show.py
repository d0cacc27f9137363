"""``element-rekey history`` and ``element-rekey show``: what is on record, and one record whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    Asked,
    Execution,
    FleetRequest,
    FleetRun,
    OutsideChange,
    Request,
    Rotation,
    Selected,
    Settled,
)
from element_rekey_cli.starting import what_it_says
from tests.fakes import NOW
from tests.unit.cli.golden import assert_is
from tests.unit.cli.harness import FLEET, arn
from tests.unit.cli.scenario import failure, recorded, rotated, well
from tests.unit.cli.schemas import assert_valid
from tests.unit.samples import BROKEN, DAY, HOUR, MINUTE, change, external, following, intent, key

if TYPE_CHECKING:
    import pytest

    from tests.unit.cli.harness import Harness


def a_year(harness: Harness) -> None:
    """Two clusters over some months."""
    keys = [key(f"{number}a1b2c3d-key", NOW - (200 - number) * DAY) for number in range(4)]
    for number, days in enumerate((190, 100, 10)):
        rotated(harness, "prod-a", NOW - days * DAY, keys[number], keys[number + 1])
    recorded(harness, "prod-b", NOW - 50 * DAY, outcome=Outcome.FAILED, failure=failure("UpgradePending", "Staged."))
    recorded(harness, "prod-b", NOW - 40 * DAY, outcome=Outcome.NOT_DUE)
    recorded(harness, "prod-b", NOW - 30 * DAY, outcome=Outcome.PLANNED, request=Request("prod-b", dry_run=True))
    recorded(
        harness,
        "prod-b",
        NOW - 29 * DAY,
        outcome=Outcome.FAILED,
        failure=failure("ExecutionAborted", "Stopped."),
        request=Request("prod-b", dry_run=True),
    )
    recorded(harness, "", NOW - 2 * DAY, request=None, outcome=Outcome.FAILED, failure=failure("RequestInvalid", "No."))
    recorded(harness, "prod-b", NOW - MINUTE, ended_at=None, notified_at=None)


def test_the_history_of_the_fleet_is_that_of_the_last_quarter(harness: Harness) -> None:
    a_year(harness)
    ran = harness.run("history")
    assert_is("history.txt", ran.out)
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.code == 0


def began(ran: object) -> list[str]:
    document = ran.document  # type: ignore[attr-defined]
    assert_valid("command-history.v1", document)
    return [one["startedAt"][:10] for one in document["rotations"]]


def test_the_history_of_a_cluster_is_all_there_is(harness: Harness) -> None:
    a_year(harness)
    assert began(harness.run("history", "prod-a", "--json")) == ["2026-11-13", "2026-08-15", "2026-05-17"]


def test_days_bound_it_and_count_whole(harness: Harness) -> None:
    a_year(harness)
    first_and_last = ("--from", "2026-05-17", "--to", "2026-08-15", "--json")
    assert began(harness.run("history", "prod-a", *first_and_last)) == ["2026-08-15", "2026-05-17"]
    assert began(harness.run("history", *first_and_last)) == ["2026-08-15", "2026-05-17"]
    assert began(harness.run("history", "prod-a", "--from", "2026-08-16", "--json")) == ["2026-11-13"]


def test_dry_runs_and_nothing_to_do_are_told_when_asked_for(harness: Harness) -> None:
    a_year(harness)
    assert len(began(harness.run("history", "prod-b", "--json"))) == 2
    everything = harness.run("history", "prod-b", "--all")
    assert_is("history-all.txt", everything.out)


def test_a_settled_rotation_and_a_key_of_others_are_told_though_nothing_was_to_be_done(harness: Harness) -> None:
    lost = recorded(harness, "prod-a", NOW - DAY, outcome=Outcome.OUTCOME_UNKNOWN, change=change())
    story = Settled(lost.execution, Asked(), change())
    outside = OutsideChange("key-1", key("key-9"), NOW - HOUR, NOW - MINUTE)
    seen = recorded(harness, "prod-a", NOW - HOUR, outcome=Outcome.NOT_DUE, settled=(story,), outside=(outside,))
    harness.ledger.save(replace(lost, settled_by=seen.execution))
    text = harness.run("history", "prod-a").out
    for part in ("settles ", "settled by ", "KeyChangedOutside: key-1 to key-9, before 2026-11-23 02:59"):
        assert part in text
    document = harness.run("history", "prod-a", "--json").document
    assert_valid("command-history.v1", document)
    first, second = document["rotations"]
    assert (first["settles"], second["settledBy"]) == ([lost.execution.id], seen.execution.id)
    assert first["keyChangedOutside"][0]["newKey"]["keyID"] == "key-9"


def test_fleet_runs_are_in_the_history_of_the_fleet(harness: Harness) -> None:
    selected = tuple(Selected(name, name, NOW) for name in ("prod-a", "prod-b"))
    runs = [
        FleetRun(Execution(arn("monthly", FLEET), NOW - DAY), FleetRequest(reason="monthly"), ended_at=NOW - HOUR),
        FleetRun(
            Execution(arn("bad", FLEET), NOW - HOUR),
            FleetRequest(trigger=Trigger.ALARM, requested_by="jane"),
            selected=selected[:1],
            failure=failure("FleetIncomplete", "Not as they should be: prod-a."),
            ended_at=NOW - MINUTE,
        ),
        FleetRun(Execution(arn("dry", FLEET), NOW - 2 * MINUTE), FleetRequest(dry_run=True), selected=selected),
        FleetRun(Execution(arn("now", FLEET), NOW - MINUTE), None),
        FleetRun(Execution(arn("old", FLEET), NOW - 100 * DAY), None),
    ]
    for run in runs:
        harness.ledger.save_fleet_run(run)
    text = harness.run("history").out
    assert "2026-11-22 03:00  fleet run of 0 clusters, manual: all well\n" in text
    assert "2026-11-23 02:00  fleet run of 1 cluster, alarm: FleetIncomplete\n" in text
    assert "2026-11-23 02:59  fleet run of 0 clusters, -: under way\n" in text
    assert "dry run" not in text
    everything = harness.run("history", "--all").out
    assert "2026-11-23 02:58  fleet run of 2 clusters, manual, dry run: under way\n" in everything
    document = harness.run("history", "--json").document
    assert_valid("command-history.v1", document)
    assert [one["executionArn"].rpartition(":")[2] for one in document["fleetRuns"]] == ["now", "bad", "monthly"]
    assert "fleetRuns" not in harness.run("history", "prod-a", "--json").document


def test_where_nothing_is_on_record_it_says_so(harness: Harness) -> None:
    ran = harness.run("history", "prod-a")
    assert (ran.code, ran.out) == (0, "No rotation is on record.\n")


# --- show ---


def lived(harness: Harness, record: Rotation, status: str = "SUCCEEDED") -> str:
    """Let Step Functions know the execution of a record, too; returns its name."""
    name = record.execution.id.rpartition(":")[2]
    execution = harness.steps.add(name, record.execution.started_at, status, cluster=record.cluster)
    at = record.execution.started_at
    harness.steps.happened(execution, "ExecutionStarted", at)
    details = {"name": "StartRekey", "input": "{}"}
    harness.steps.happened(execution, "TaskStateEntered", at + MINUTE, stateEnteredEventDetails=details)
    output = json.dumps({"Payload": {"rotation": {"status": "running", "detail": "Replacing key."}}})
    harness.steps.happened(execution, "TaskSucceeded", at + MINUTE, taskSucceededEventDetails={"output": output})
    return name


def test_a_rotation_is_shown_whole(harness: Harness) -> None:
    name = lived(harness, well(harness))
    ran = harness.run("show", name)
    assert_is("show.txt", ran.out)
    assert ran.code == 0


def test_a_rotation_is_shown_by_its_arn_as_a_document(harness: Harness) -> None:
    record = well(harness)
    lived(harness, record)
    ran = harness.run("show", record.execution.id, "--json")
    assert_valid("command-execution.v1", ran.document)
    assert_valid("rotation-outcome.v1", ran.document["notification"])
    assert ran.document["record"]["intent"]["sentAt"]
    assert ran.document["timeline"] == [
        {"seconds": 60.0, "state": "StartRekey", "text": "Replacing key.", "isError": False}
    ]


def test_a_record_outlives_its_execution(harness: Harness) -> None:
    record = well(harness)
    ran = harness.run("show", record.execution.id)
    assert "gone from Step Functions" in ran.out
    assert "What happened when" not in ran.out
    assert "status" not in harness.run("show", record.execution.id, "--json").document


def test_an_execution_that_wrote_nothing_down_changed_nothing(harness: Harness) -> None:
    harness.steps.add("early", NOW, cluster="prod-a")
    assert "it wrote nothing down, so it changed nothing" in harness.run("show", "early").out
    assert "record" not in harness.run("show", "early", "--json").document


def test_everything_that_can_be_on_record_is_shown(harness: Harness) -> None:
    changed = change(
        old_key=key("key-0"),
        new_key=external("key-1"),
        ours=False,
        job_result_read=False,
        job_error=BROKEN,
        key_to_decommission=None,
    )
    record = recorded(
        harness,
        "prod-a",
        NOW - HOUR,
        cluster_uuid="",
        notified_at=None,
        request=None,
        asked=Asked(None, "because"),
        current_key=external("key-1", made=None),
        intent=intent(attempts=2),
        following=replace(following(), async_handle=None, ours=False),
        change=changed,
        outcome=Outcome.ROTATED_WITH_ERROR,
        failure=failure("RekeyEndedWithError", "xAssumed"),
    )
    out = harness.run("show", record.execution.id).out
    assert_is("show-with-error.txt", out)


def test_a_rotation_under_way_is_shown_as_far_as_it_is(harness: Harness) -> None:
    record = recorded(
        harness,
        "prod-a",
        NOW - HOUR,
        ended_at=None,
        notified_at=None,
        following=following(),
        detail="CreateNewMasterKey",
        polls=2,
    )
    out = harness.run("show", record.execution.id).out
    assert "asyncHandle 7, ours, 2 polls, CreateNewMasterKey" in " ".join(out.split())
    assert "under way" in out
    assert "Published" not in out
    assert "notification" not in harness.run("show", record.execution.id, "--json").document


def test_a_rotation_that_changed_nothing_rests_on_its_detail(harness: Harness) -> None:
    done = recorded(harness, "prod-a", NOW - HOUR, outcome=Outcome.NOT_DUE, detail="The key was made yesterday.")
    assert "  The key was made yesterday." in harness.run("show", done.execution.id).out
    failed = recorded(harness, "prod-b", NOW - HOUR, outcome=Outcome.FAILED, failure=failure("UpgradePending", "No."))
    assert "UpgradePending: No." in harness.run("show", failed.execution.id).out


def test_a_fleet_run_is_shown_by_its_summary(harness: Harness) -> None:
    run = arn("daily", FLEET)
    record = FleetRun(Execution(run, NOW), FleetRequest(), selected=(Selected("prod-a", "a", NOW),), ended_at=NOW)
    incomplete = replace(record, failure=failure("FleetIncomplete", "Not as they should be: prod-a."))
    harness.ledger.save_fleet_run(incomplete)
    assert "Fleet: 1 cluster, 0 rotated, 1 need ATTENTION." in harness.run("show", run).out
    assert_valid("fleet-summary.v1", harness.run("show", run, "--json").document)


def test_what_is_not_there_is_not_found(harness: Harness) -> None:
    ran = harness.run("show", "nobody")
    assert ran.code == 4
    assert ran.err.startswith("element-rekey: There is no execution nobody, and no record of one; of a cluster: ")


def test_an_answer_that_is_none_is_no_answer(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> dict[str, object]:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not you"}}, "DescribeExecution")

    monkeypatch.setattr(harness.steps, "describe_execution", refuse)
    ran = harness.run("show", "x")
    assert ran.code == 3
    assert ran.err.startswith("element-rekey: AWS did not do as asked: ")


def test_an_input_is_told_without_what_says_nothing() -> None:
    given = {"cluster": "a", "reason": "", "force": False, "ignoreFaults": [], "coolDownSeconds": 0, "keyProviderID": 1}
    assert what_it_says(given) == {"cluster": "a", "keyProviderID": 1}

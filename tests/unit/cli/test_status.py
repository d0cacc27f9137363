"""``element-rekey status``, over the ledger's own items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import Execution, FleetRequest, FleetRun, OutsideChange, Readiness, Request
from element_rekey_cli.reading import LATEST, latest
from tests.fakes import NOW
from tests.unit.cli.golden import assert_is
from tests.unit.cli.harness import FLEET
from tests.unit.cli.scenario import REPORTED, a_night, entered, failure, recorded, remembered, rotated, well
from tests.unit.cli.schemas import assert_valid
from tests.unit.samples import DAY, MINUTE, key

if TYPE_CHECKING:
    from tests.unit.cli.harness import Harness


def test_a_night_at_80_columns(harness: Harness) -> None:
    a_night(harness)
    ran = harness.run("status")
    assert_is("status.txt", ran.out)
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.code == 1


def test_a_night_into_a_pipe_has_a_line_for_each_thing(harness: Harness) -> None:
    a_night(harness)
    harness.terminal = False
    ran = harness.run("status")
    assert_is("status-in-a-pipe.txt", ran.out)
    assert "\x1b" not in ran.out


def test_a_night_as_a_document(harness: Harness) -> None:
    a_night(harness)
    ran = harness.run("status", "--json")
    assert_valid("command-status.v1", ran.document)
    assert ran.err == ""
    assert {one["cluster"]: one["state"] for one in ran.document["clusters"]} == {
        "prod-f-with-a-rather-long-name-in-frankfurt": "unmet report",
        "prod-x": "unmet report",
        "prod-e": "unknown",
        "prod-d": "retrying",
        "lab-a": "overdue",
        "lab-b": "not ready",
        "prod-c": "rotating",
        "lab-c": "due",
        "prod-a": "ok",
        "prod-b": "ok",
    }
    assert [one["line"] for one in ran.document["incidents"]] == [
        "since 02:00: 1/6 have a newer key, 2 rotating, 1 unknown, 2 unmet"
    ]
    assert ran.document["open"] is True
    assert ran.code == 1


def test_where_all_is_well_the_exit_code_says_so(harness: Harness) -> None:
    well(harness)
    harness.register("prod-due")
    remembered(harness, "prod-due", "due", NOW - 91 * DAY)
    ran = harness.run("status")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "2 clusters: 1 due, 1 ok"


def test_a_fleet_of_one_is_a_fleet(harness: Harness) -> None:
    well(harness)
    assert harness.run("status").out.splitlines()[-1] == "1 cluster: 1 ok"


def test_no_cluster_at_all_is_nothing_open(harness: Harness) -> None:
    ran = harness.run("status")
    assert (ran.code, ran.out) == (0, "No cluster is registered.\n")


@pytest.mark.parametrize("cluster", ["prod-a", "prod-c", "prod-d", "prod-e", "prod-x", "lab-a", "lab-b"])
def test_one_cluster_is_a_whole_story(harness: Harness, cluster: str) -> None:
    a_night(harness)
    ran = harness.run("status", cluster)
    assert_is(f"status-{cluster}.txt", ran.out)
    assert ran.code == (0 if cluster == "prod-a" else 1)


def test_some_clusters_are_told_alone(harness: Harness) -> None:
    a_night(harness)
    ran = harness.run("status", "prod-a", "prod-b", "--json")
    assert [one["cluster"] for one in ran.document["clusters"]] == ["prod-a", "prod-b"]
    assert [one["line"] for one in ran.document["incidents"]] == ["since 02:00: 1/1 have a newer key"]
    assert ran.code == 0


def test_a_name_nobody_ever_had_is_refused(harness: Harness) -> None:
    ran = harness.run("status", "nobody")
    assert ran.code == 4
    assert ran.err == "element-rekey: No cluster is, or ever was, registered as nobody.\n"


def test_a_cluster_whose_registration_is_gone_has_a_story(harness: Harness) -> None:
    new = key("key-1", NOW - 9 * DAY)
    remembered(harness, "gone", "key-1", NOW - 9 * DAY)
    rotated(harness, "gone", NOW - 9 * DAY, key(), new)
    ran = harness.run("status", "gone", "--json")
    assert ran.document["clusters"][0]["registered"] is False
    assert ran.code == 0


def test_watching_goes_on_until_ctrl_c(harness: Harness) -> None:
    well(harness)
    looks = 0

    def pause() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise KeyboardInterrupt

    harness.on_pause = pause
    ran = harness.run("status", "--watch")
    assert ran.code == 130
    assert ran.out.count("1 cluster: 1 ok") == 2
    assert ran.err == "element-rekey: Stopped.\n"


def test_watching_as_documents_is_one_a_line(harness: Harness) -> None:
    well(harness)
    harness.terminal = False

    def pause() -> None:
        raise KeyboardInterrupt

    harness.on_pause = pause
    ran = harness.run("status", "--watch", "--json")
    assert_valid("command-status.v1", ran.document)
    assert ran.out.count("\n") == 1


def test_a_dry_run_and_an_input_that_is_none_rotate_nothing(harness: Harness) -> None:
    well(harness)
    for name, given in (("a", {"cluster": "prod-a", "dryRun": True}), ("b", {"clutser": "prod-a"})):
        entered(harness, harness.steps.add(name, NOW, **given), "StartRekey", NOW)
    (standing,) = harness.run("status", "--json").document["clusters"]
    assert (standing["state"], "running" in standing) == ("ok", False)


def test_an_execution_that_waits_for_its_turn_comes_behind_the_one_that_works(harness: Harness) -> None:
    a_night(harness)
    entered(harness, harness.steps.add("early", NOW - 20 * MINUTE, cluster="prod-c"), "WaitForTurn", NOW - 19 * MINUTE)
    running = harness.run("status", "prod-c", "--json").document["clusters"][0]["running"]
    assert running["executionArn"].endswith(":prod-c-one")
    assert running["others"] == 1


def test_a_report_is_known_before_its_clusters_are_selected(harness: Harness) -> None:
    well(harness)
    given: dict[str, Any] = {"trigger": "alarm", "reason": "x", "clusters": ["prod-a"]}
    given["keyCreatedAfter"] = "2026-11-23T02:00:00Z"
    harness.steps.add("report", NOW, machine=FLEET, **given)
    harness.steps.add("nonsense", NOW, machine=FLEET, triger="alarm")
    harness.steps.add("of-long-ago", NOW - 32 * DAY, machine=FLEET, **given)
    harness.steps.add("over-without-a-record", NOW, "FAILED", FLEET, **given)
    document = harness.run("status", "--json").document
    assert [one["state"] for one in document["clusters"]] == ["unmet report"]
    assert len(document["incidents"]) == 1


def test_a_fleet_run_that_was_not_urgent_is_no_incident(harness: Harness) -> None:
    well(harness)
    run = harness.steps.add("daily", REPORTED, "SUCCEEDED", FLEET)
    harness.ledger.save_fleet_run(FleetRun(Execution(run, REPORTED), FleetRequest(trigger=Trigger.SCHEDULE)))
    assert harness.run("status", "--json").document["incidents"] == []


def test_the_record_of_an_earlier_execution_of_a_name_says_nothing_of_this_one(harness: Harness) -> None:
    old = well(harness)
    name = old.execution.id.rpartition(":")[2]
    entered(harness, harness.steps.add(name, NOW - MINUTE, cluster="prod-b"), "StartRekey", NOW)
    states = {one["cluster"]: one["state"] for one in harness.run("status", "--json").document["clusters"]}
    assert states == {"prod-a": "ok", "prod-b": "rotating"}


def test_a_rotation_is_remembered_behind_many_days_of_dry_runs(harness: Harness) -> None:
    harness.register("prod-a")
    remembered(harness, "prod-a", "key-0", NOW - 80 * DAY)
    lost = failure("RekeyOutcomeUnknown", "Sent.")
    recorded(harness, "prod-a", NOW - 30 * DAY, outcome=Outcome.OUTCOME_UNKNOWN, failure=lost)
    for days in range(1, LATEST + 5):
        dry = Request("prod-a", trigger=Trigger.READINESS, dry_run=True)
        recorded(harness, "prod-a", NOW - days * DAY, outcome=Outcome.PLANNED, request=dry)
    (standing,) = harness.run("status", "--json").document["clusters"]
    assert (standing["state"], standing["ready"]) == ("unknown", True)
    well(harness, "prod-b")
    for days in range(30, 30 + LATEST):
        recorded(harness, "prod-b", NOW - days * DAY, outcome=Outcome.NOT_DUE)
    assert len(latest(harness.deployment, "prod-b")) == LATEST


def test_a_key_that_others_made_is_told_in_the_story(harness: Harness) -> None:
    well(harness)
    change = OutsideChange("key-a", key("key-b"), None, NOW - MINUTE)
    recorded(harness, "prod-a", NOW - MINUTE, outcome=Outcome.NOT_DUE, outside=(change,))
    out = " ".join(harness.run("status", "prod-a").out.split())
    assert "Not by us key-a became key-b, seen 2026-11-23 02:59:00 UTC: no record explains it" in out


def test_what_the_daily_look_found_is_told(harness: Harness) -> None:
    well(harness)
    staged = failure("UpgradePending", "Staged.")
    harness.ledger.save_readiness("prod-a", Readiness(NOW, NOW - DAY, staged))
    assert "no, as of 0 s ago (the daily look): UpgradePending: Staged." in harness.run("status", "prod-a").out


def test_a_failed_rotation_that_nobody_closed_is_under_way_in_the_story(harness: Harness) -> None:
    well(harness)
    recorded(harness, "prod-a", NOW - MINUTE, ended_at=None, notified_at=None)
    assert "under way" in harness.run("status", "prod-a").out

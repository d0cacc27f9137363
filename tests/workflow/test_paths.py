"""Every path of the real definition to a good end, and what the cluster, the ledger and the subscriber saw of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from local.simulator import Assumptions, ClusterSpec, Fault, Management
from tests.fakes import FakeLedger
from tests.template import CHECK, PUBLISH, START
from tests.workflow.clock import BEGIN
from tests.workflow.full_harness import full_harness

if TYPE_CHECKING:
    from tests.workflow.full_harness import FullHarness

DAYS_AGO = (BEGIN - timedelta(days=30)).isoformat()


def test_a_rotation_succeeds_and_is_reported_once(harness: FullHarness) -> None:
    before = harness.cluster.cluster.current_key

    ended = harness.rotate({"cluster": "prod-a", "reason": "audit", "requestedBy": "mallory"})

    after = harness.cluster.cluster.current_key
    notification = harness.only_notification()
    assert ended.status == "SUCCEEDED"
    assert ended.states[-3:] == ["PublishOutcome", "DecideEnding", "RotationSucceeded"]
    assert ended.output == notification
    assert notification["outcome"] == "Rotated"
    assert notification["oldKey"]["keyID"] == before.key_id == notification["keyToDecommission"]["keyID"]
    assert notification["newKey"]["keyID"] == after.key_id != before.key_id
    assert (notification["reason"], notification["requestedBy"]) == ("audit", "mallory")
    assert len(harness.cluster.cluster.rekeys) == 1
    assert harness.lock() is None
    assert harness.failures == []


def test_it_is_seen_within_a_quarter_of_the_rekeys_time_and_five_seconds(harness: FullHarness) -> None:
    harness.rotate()

    took = harness.only_notification()["durationSeconds"]
    assert 30 <= took <= 30 * 1.25 + 5


def test_a_rotation_to_an_external_key_says_who_keeps_it(harness: FullHarness) -> None:
    ended = harness.rotate({"cluster": "prod-a", "keyManagementType": "External", "keyProviderID": 15})

    assert ended.status == "SUCCEEDED"
    assert harness.only_notification()["newKey"]["keyManagementType"] == "External"
    assert harness.only_notification()["newKey"]["keyProviderID"] == 15
    assert harness.cluster.cluster.current_key.management is Management.EXTERNAL


def test_a_rotation_of_an_external_key_stays_with_its_provider() -> None:
    with full_harness(ClusterSpec(rekey_seconds=30.0, key_provider_id=15)) as harness:
        ended = harness.rotate()

        assert ended.status == "SUCCEEDED"
        assert harness.cluster.cluster.rekeys[0].params == {}
        assert harness.only_notification()["newKey"]["keyProviderID"] == 15


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(harness: FullHarness) -> None:
    ended = harness.rotate({"cluster": "prod-a", "dryRun": True})

    assert ended.status == "SUCCEEDED"
    assert harness.only_notification()["outcome"] == "Planned"
    assert harness.only_notification()["dryRun"] is True
    assert harness.cluster.cluster.rekeys == ()
    assert harness.calls == {START: 1, PUBLISH: 1}
    assert harness.ports.ledger.memory("prod-a") is None


def test_a_dry_run_takes_no_lock_and_waits_for_none(harness: FullHarness) -> None:
    rotating = harness.start({"cluster": "prod-a"})
    trying = []
    harness.clock.after(20, lambda: trying.append(harness.start({"cluster": "prod-a", "dryRun": True})))

    harness.clock.run()

    assert harness.execution(rotating).output["outcome"] == "Rotated"
    assert harness.execution(trying[0]).output["outcome"] == "Planned"
    assert "WaitForTurn" not in harness.execution(trying[0]).states


def test_a_key_that_is_recent_enough_is_left_alone(harness: FullHarness) -> None:
    ended = harness.rotate(
        {"cluster": "prod-a", "trigger": "schedule", "keyCreatedAfter": (BEGIN - timedelta(days=365)).isoformat()}
    )

    assert ended.status == "SUCCEEDED"
    assert harness.only_notification()["outcome"] == "NotDue"
    assert harness.cluster.cluster.rekeys == ()
    assert harness.lock() is None


ALARM = {"cluster": "prod-a", "trigger": "alarm", "coolDownSeconds": 3600, "keyCreatedAfter": BEGIN.isoformat()}


def test_an_alarm_within_the_cool_down_waits_for_its_end_and_is_met() -> None:
    with full_harness(ClusterSpec(rekey_seconds=30.0, key_age=timedelta(minutes=10))) as harness:
        ended = harness.rotate(ALARM)

        waits, began, outcome = harness.notifications()
        assert (waits["kind"], waits["coolingUntil"]) == ("CoolingDown", "2026-11-23T03:50:00.000Z")
        assert waits["startNowWith"] == {**ALARM, "coolDownSeconds": 0, "force": True} | waits["startNowWith"]
        assert (began["kind"], outcome["outcome"]) == ("Began", "Rotated")
        assert ended.status == "SUCCEEDED"
        (rekey,) = harness.cluster.cluster.rekeys
        assert rekey.begun >= BEGIN + timedelta(minutes=50)


def test_one_rotation_a_cool_down_meets_a_flapping_alarm() -> None:
    with full_harness(ClusterSpec(rekey_seconds=30.0, key_age=timedelta(minutes=10))) as harness:
        moments = [BEGIN - timedelta(minutes=number) for number in range(3)]
        arns = [harness.start(ALARM | {"keyCreatedAfter": moment.isoformat()}) for moment in moments]
        harness.clock.run()

        assert {harness.status(arn) for arn in arns} == {"SUCCEEDED"}
        assert len(harness.cluster.cluster.rekeys) == 1


def test_force_with_a_reason_does_not_wait_for_the_key_to_cool_down() -> None:
    with full_harness(ClusterSpec(rekey_seconds=30.0, key_age=timedelta(minutes=10))) as harness:
        forced = {"cluster": "prod-a", "coolDownSeconds": 3600, "force": True, "reason": "key seen in a ticket"}

        assert harness.rotate(forced).output["outcome"] == "Rotated"


def test_a_rekey_somebody_else_began_is_followed_if_its_key_will_do(harness: FullHarness) -> None:
    harness.cluster.inject(Fault("competingRekey", seconds=300.0))

    ended = harness.rotate({"cluster": "prod-a", "keyCreatedAfter": DAYS_AGO})

    (rekey,) = harness.cluster.cluster.rekeys
    assert ended.status == "SUCCEEDED"
    assert harness.only_notification()["outcome"] == "Followed"
    assert harness.only_notification()["newKey"]["keyID"] == rekey.new.key_id
    assert ended.states.count("StartRekey") == 2  # looked again after it had ended


def test_a_followed_rekey_whose_key_will_not_do_is_followed_by_one_of_ours(harness: FullHarness) -> None:
    harness.cluster.inject(Fault("competingRekey", seconds=300.0))
    external = {"cluster": "prod-a", "keyManagementType": "External", "keyProviderID": 15}

    ended = harness.rotate(external)

    theirs, ours = harness.cluster.cluster.rekeys
    assert ended.status == "SUCCEEDED"
    assert harness.only_notification()["outcome"] == "Rotated"
    assert harness.only_notification()["oldKey"]["keyID"] == theirs.new.key_id
    assert harness.only_notification()["newKey"]["keyID"] == ours.new.key_id


def test_two_executions_at_once_rotate_once(harness: FullHarness) -> None:
    first, second = harness.start({"cluster": "prod-a"}), harness.start({"cluster": "prod-a"})

    harness.clock.run()

    outcomes = [harness.execution(arn).output["outcome"] for arn in (first, second)]
    assert outcomes == ["Rotated", "NotDue"]
    assert "WaitForTurn" in harness.execution(second).states
    assert len(harness.cluster.cluster.rekeys) == 1
    assert len(harness.notifications()) == 2
    assert harness.lock() is None


def test_the_same_alarm_three_times_rotates_once(harness: FullHarness) -> None:
    alarm = {"cluster": "prod-a", "trigger": "alarm", "keyCreatedAfter": BEGIN.isoformat(), "coolDownSeconds": 3600}
    arns = [harness.start(alarm)]
    harness.clock.after(30, lambda: arns.append(harness.start(alarm)))
    harness.clock.after(5000, lambda: arns.append(harness.start(alarm)))

    harness.clock.run()

    assert [harness.execution(arn).output["outcome"] for arn in arns] == ["Rotated", "NotDue", "NotDue"]
    assert len(harness.cluster.cluster.rekeys) == 1


def test_another_cluster_does_not_wait() -> None:
    with full_harness(
        ClusterSpec(name="prod-a", rekey_seconds=30.0), ClusterSpec(name="prod-b", rekey_seconds=60.0)
    ) as harness:
        arns = [harness.start({"cluster": name}) for name in ("prod-a", "prod-b")]

        harness.clock.run()

        assert all("WaitForTurn" not in harness.execution(arn).states for arn in arns)
        assert [harness.execution(arn).output["outcome"] for arn in arns] == ["Rotated", "Rotated"]


def test_a_rekey_of_a_day_leaves_a_short_history() -> None:
    day = 24 * 3600.0
    with full_harness(ClusterSpec(rekey_seconds=day)) as harness:
        harness.change_settings(deadline=timedelta(hours=30))
        harness.ports = replace(harness.ports, ledger=FakeLedger())  # equal to the real one, and faster

        ended = harness.rotate()

        assert ended.output["outcome"] == "Rotated"
        assert len(ended.history) < 25_000 / 8
        assert harness.calls[CHECK] < 320
        assert ended.output["durationSeconds"] < day + 300 + 5


def test_a_cluster_that_accepts_no_rekey_while_the_last_result_is_kept_is_rotated_again() -> None:
    spec = ClusterSpec(rekey_seconds=30.0, assumptions=Assumptions(kept_result="blocks"))
    with full_harness(spec) as harness:
        cluster = harness.cluster.cluster
        assert harness.rotate().status == "SUCCEEDED"
        harness.clock.advance(3600)
        assert harness.rotate().status == "SUCCEEDED"
        first, second = harness.notifications()
        assert [one["outcome"] for one in (first, second)] == ["Rotated", "Rotated"]
        assert second["oldKey"]["keyID"] == first["newKey"]["keyID"]
        assert len(cluster.rekeys) == 2
        sent = [one for one in cluster.requests if one.method == "RekeySoftwareEncryptionAtRestMasterKey"]
        released = [
            one
            for one in cluster.requests
            if one.method == "GetAsyncResult" and "'keepResult': True" not in str(one.params)
        ]
        assert len(sent) == 3
        assert len(released) == 1
        assert sent[1].when <= released[0].when < sent[2].when
        assert sent[2].when - sent[1].when >= harness.ports.settings.settling
        assert harness.lock() is None

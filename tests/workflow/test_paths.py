"""Every path of the real definition to a good end, and what the cluster, the ledger and the subscriber saw of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from local.simulator import ClusterSpec, Fault, Management
from tests.fakes import FakeLedger
from tests.workflow.clock import BEGIN
from tests.workflow.functions import CHECK, PUBLISH, START
from tests.workflow.world import world

if TYPE_CHECKING:
    from tests.workflow.world import World

DAYS_AGO = (BEGIN - timedelta(days=30)).isoformat()


def test_a_rotation_succeeds_and_is_told_once(here: World) -> None:
    before = here.cluster.cluster.current_key

    ended = here.rotate({"cluster": "prod-a", "reason": "audit", "requestedBy": "mallory"})

    after = here.cluster.cluster.current_key
    told = here.told_once()
    assert ended.status == "SUCCEEDED"
    assert ended.states[-3:] == ["PublishOutcome", "DecideEnding", "RotationSucceeded"]
    assert ended.output == told
    assert told["outcome"] == "Rotated"
    assert told["oldKey"]["keyID"] == before.key_id == told["keyToDecommission"]["keyID"]
    assert told["newKey"]["keyID"] == after.key_id != before.key_id
    assert (told["reason"], told["requestedBy"]) == ("audit", "mallory")
    assert len(here.cluster.cluster.rekeys) == 1
    assert here.lock() is None
    assert here.failures == []


def test_it_is_seen_within_a_quarter_of_the_rekeys_time_and_five_seconds(here: World) -> None:
    here.rotate()

    took = here.told_once()["durationSeconds"]
    assert 30 <= took <= 30 * 1.25 + 5


def test_a_rotation_to_an_external_key_says_who_keeps_it(here: World) -> None:
    ended = here.rotate({"cluster": "prod-a", "keyManagementType": "External", "keyProviderID": 15})

    assert ended.status == "SUCCEEDED"
    assert here.told_once()["newKey"]["keyManagementType"] == "External"
    assert here.told_once()["newKey"]["keyProviderID"] == 15
    assert here.cluster.cluster.current_key.management is Management.EXTERNAL


def test_a_rotation_of_an_external_key_stays_with_its_provider() -> None:
    with world(ClusterSpec(rekey_seconds=30.0, key_provider_id=15)) as there:
        ended = there.rotate()

        assert ended.status == "SUCCEEDED"
        assert there.cluster.cluster.rekeys[0].params == {}
        assert there.told_once()["newKey"]["keyProviderID"] == 15


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(here: World) -> None:
    ended = here.rotate({"cluster": "prod-a", "dryRun": True})

    assert ended.status == "SUCCEEDED"
    assert here.told_once()["outcome"] == "Planned"
    assert here.told_once()["dryRun"] is True
    assert here.cluster.cluster.rekeys == ()
    assert here.calls == {START: 1, PUBLISH: 1}
    assert here.ports.ledger.memory("prod-a") is None


def test_a_dry_run_takes_no_lock_and_waits_for_none(here: World) -> None:
    rotating = here.start({"cluster": "prod-a"})
    trying = []
    here.time.after(20, lambda: trying.append(here.start({"cluster": "prod-a", "dryRun": True})))

    here.time.run()

    assert here.execution(rotating).output["outcome"] == "Rotated"
    assert here.execution(trying[0]).output["outcome"] == "Planned"
    assert "WaitForTurn" not in here.execution(trying[0]).states


def test_a_key_that_is_recent_enough_is_left_alone(here: World) -> None:
    ended = here.rotate(
        {"cluster": "prod-a", "trigger": "schedule", "keyCreatedAfter": (BEGIN - timedelta(days=365)).isoformat()}
    )

    assert ended.status == "SUCCEEDED"
    assert here.told_once()["outcome"] == "NotDue"
    assert here.cluster.cluster.rekeys == ()
    assert here.lock() is None


def test_a_key_too_new_for_another_alarm_cools_down() -> None:
    with world(ClusterSpec(key_age=timedelta(minutes=10))) as there:
        alarm = {"cluster": "prod-a", "trigger": "alarm", "coolDownSeconds": 3600, "keyCreatedAfter": BEGIN.isoformat()}

        assert there.rotate(alarm).status == "SUCCEEDED"
        assert there.told_once()["outcome"] == "CoolingDown"
        assert there.cluster.cluster.rekeys == ()


def test_force_with_a_reason_does_not_wait_for_the_key_to_cool_down() -> None:
    with world(ClusterSpec(rekey_seconds=30.0, key_age=timedelta(minutes=10))) as there:
        forced = {"cluster": "prod-a", "coolDownSeconds": 3600, "force": True, "reason": "key seen in a ticket"}

        assert there.rotate(forced).output["outcome"] == "Rotated"


def test_a_rekey_somebody_else_began_is_followed_if_its_key_will_do(here: World) -> None:
    here.cluster.inject(Fault("competingRekey", seconds=300.0))

    ended = here.rotate({"cluster": "prod-a", "keyCreatedAfter": DAYS_AGO})

    (rekey,) = here.cluster.cluster.rekeys
    assert ended.status == "SUCCEEDED"
    assert here.told_once()["outcome"] == "Followed"
    assert here.told_once()["newKey"]["keyID"] == rekey.new.key_id
    assert ended.states.count("StartRekey") == 2  # looked again after it had ended


def test_a_followed_rekey_whose_key_will_not_do_is_followed_by_one_of_ours(here: World) -> None:
    here.cluster.inject(Fault("competingRekey", seconds=300.0))
    external = {"cluster": "prod-a", "keyManagementType": "External", "keyProviderID": 15}

    ended = here.rotate(external)

    theirs, ours = here.cluster.cluster.rekeys
    assert ended.status == "SUCCEEDED"
    assert here.told_once()["outcome"] == "Rotated"
    assert here.told_once()["oldKey"]["keyID"] == theirs.new.key_id
    assert here.told_once()["newKey"]["keyID"] == ours.new.key_id


def test_two_executions_at_once_rotate_once(here: World) -> None:
    first, second = here.start({"cluster": "prod-a"}), here.start({"cluster": "prod-a"})

    here.time.run()

    outcomes = [here.execution(arn).output["outcome"] for arn in (first, second)]
    assert outcomes == ["Rotated", "NotDue"]
    assert "WaitForTurn" in here.execution(second).states
    assert len(here.cluster.cluster.rekeys) == 1
    assert len(here.told()) == 2
    assert here.lock() is None


def test_the_same_alarm_three_times_rotates_once(here: World) -> None:
    alarm = {"cluster": "prod-a", "trigger": "alarm", "keyCreatedAfter": BEGIN.isoformat(), "coolDownSeconds": 3600}
    arns = [here.start(alarm)]
    here.time.after(30, lambda: arns.append(here.start(alarm)))
    here.time.after(5000, lambda: arns.append(here.start(alarm)))

    here.time.run()

    assert [here.execution(arn).output["outcome"] for arn in arns] == ["Rotated", "NotDue", "NotDue"]
    assert len(here.cluster.cluster.rekeys) == 1


def test_another_cluster_does_not_wait() -> None:
    with world(ClusterSpec(name="prod-a", rekey_seconds=30.0), ClusterSpec(name="prod-b", rekey_seconds=60.0)) as there:
        arns = [there.start({"cluster": name}) for name in ("prod-a", "prod-b")]

        there.time.run()

        assert all("WaitForTurn" not in there.execution(arn).states for arn in arns)
        assert [there.execution(arn).output["outcome"] for arn in arns] == ["Rotated", "Rotated"]


def test_a_rekey_of_a_day_leaves_a_short_history() -> None:
    day = 24 * 3600.0
    with world(ClusterSpec(rekey_seconds=day)) as there:
        there.settle(deadline=timedelta(hours=30))
        there.ports = replace(there.ports, ledger=FakeLedger())  # equal to the real one, and faster

        ended = there.rotate()

        assert ended.output["outcome"] == "Rotated"
        assert len(ended.history) < 25_000 / 8
        assert there.calls[CHECK] < 320
        assert ended.output["durationSeconds"] < day + 300 + 5

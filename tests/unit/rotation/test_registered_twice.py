"""A cluster belongs to one registration: under a second name it would have a second lock, and no cool-down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from element_rekey.errors import ClusterRegisteredTwice, LedgerConflict
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterMemory, Failure, Lock, Request
from tests.fakes import NOW, FakeClusters
from tests.unit.harness import RotationHarness
from tests.unit.samples import DAY, HOUR, MINUTE, OTHER_ARN, SECOND, UUID

THIRD_ARN = OTHER_ARN + "-third"


@pytest.fixture
def harness() -> RotationHarness:
    """The first name, ``prod-a``, of a cluster that is registered as ``prod-a-too`` as well."""
    harness = RotationHarness()
    both = FakeClusters({"prod-a": harness.cluster, "prod-a-too": harness.cluster})
    harness.ports = replace(harness.ports, clusters=both)
    return harness


def second(harness: RotationHarness, arn: str = OTHER_ARN, **changes: Any) -> RotationHarness:  # noqa: ANN401 - of Request
    return harness.another(arn, cluster="prod-a-too", **changes)


def test_the_second_registration_of_a_cluster_is_refused_by_name(harness: RotationHarness) -> None:
    assert harness.run().outcome is Outcome.ROTATED
    harness.clock.advance(60)
    ended = second(harness).run()
    assert ended.outcome is Outcome.FAILED
    assert ended.failure
    assert ended.failure.error == "ClusterRegisteredTwice"
    assert f"Cluster {UUID} is registered as prod-a, too" in ended.failure.cause
    assert harness.cluster.rekeys == 1
    assert harness.ledger.memory("prod-a-too") is None


def test_it_is_found_at_the_first_look_also_where_nothing_is_to_be_done(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - 500 * DAY)
    assert harness.run().outcome is Outcome.NOT_DUE
    with pytest.raises(ClusterRegisteredTwice):
        second(harness).start()
    dry = second(harness, THIRD_ARN, dry_run=True).run()
    assert (dry.outcome, dry.failure and dry.failure.error) == (Outcome.WOULD_BE_REFUSED, "ClusterRegisteredTwice")


def test_a_dry_run_claims_nothing(harness: RotationHarness) -> None:
    assert second(harness, dry_run=True).run().outcome is Outcome.PLANNED
    assert harness.run().outcome is Outcome.ROTATED
    assert harness.ledger.owner(UUID) == "prod-a"


def test_the_first_to_look_has_it_also_where_both_are_remembered_from_earlier_releases(
    harness: RotationHarness,
) -> None:
    for name in ("prod-a", "prod-a-too"):
        harness.ledger.remember(name, ClusterMemory(UUID, "key-0", key_seen_at=NOW - HOUR))
    assert harness.run().outcome is Outcome.ROTATED
    with pytest.raises(ClusterRegisteredTwice):
        second(harness).start()


def test_a_person_moves_it_and_what_is_remembered_goes_with_it(harness: RotationHarness) -> None:
    harness.run()
    before = harness.ledger.memory("prod-a")
    assert before
    harness.clock.advance(60)
    alarm = second(harness, accept_cluster_uuid=UUID, cool_down_seconds=3600, key_created_after=harness.clock.now)
    assert alarm.start().rotation.cooling_until, "the cool-down is the cluster's, not the name's"
    moved = harness.ledger.memory("prod-a-too")
    assert moved
    assert (moved.key_id, moved.key_made_after, moved.claimed) == (before.key_id, before.key_made_after, True)
    assert harness.ledger.memory("prod-a") is None
    assert harness.ledger.owner(UUID) == "prod-a-too"
    with pytest.raises(ClusterRegisteredTwice, match="is registered as prod-a-too, too"):
        harness.another(THIRD_ARN).start()
    harness.clock.advance(3600)
    assert second(harness, THIRD_ARN + "-2").run().outcome is Outcome.ROTATED, "without consent, from now on"


def test_it_is_not_moved_while_the_other_registration_is_locked(harness: RotationHarness) -> None:
    harness.start()
    taking = second(harness, accept_cluster_uuid=UUID)
    with pytest.raises(LedgerConflict, match="registered as prod-a"):
        taking.start()
    assert harness.ledger.owner(UUID) == "prod-a"
    assert harness.cluster.rekeys == 1


def test_the_rekey_of_an_execution_under_the_other_name_is_settled_under_the_new_one(
    harness: RotationHarness,
) -> None:
    harness.start()
    harness.publish(Failure("ExecutionAborted", "Stopped.", "Start again."))
    harness.clock.advance(130)
    harness.cluster.finish()
    taking = second(harness, accept_cluster_uuid=UUID, key_created_after=NOW - SECOND)
    ended = taking.run()
    assert ended.outcome is Outcome.NOT_DUE
    assert [one.execution for one in ended.settled or ()] == [harness.execution]
    assert harness.record().settled_by == taking.execution


def test_a_claim_of_a_name_that_has_another_cluster_by_now_is_moved_alone(harness: RotationHarness) -> None:
    harness.run()
    remembered = harness.ledger.memory("prod-a")
    assert remembered
    other = harness.ledger.remember("prod-a", replace(remembered, uuid="uuid-of-another"))
    harness.clock.advance(60)
    assert second(harness, accept_cluster_uuid=UUID).run().outcome is Outcome.ROTATED
    assert harness.ledger.memory("prod-a") == other
    assert harness.ledger.owner(UUID) == "prod-a-too"


def test_a_replaced_cluster_is_claimed_when_it_is_accepted(harness: RotationHarness) -> None:
    harness.run()
    harness.cluster.uuid = "uuid-of-another"
    harness.clock.advance(60)
    harness.another(OTHER_ARN, accept_cluster_uuid="uuid-of-another").run()
    assert harness.ledger.owner("uuid-of-another") == "prod-a"
    memory = harness.ledger.memory("prod-a")
    assert memory
    assert memory.claimed


def test_another_cluster_that_nobody_accepted_is_not_claimed(harness: RotationHarness) -> None:
    harness.run()
    harness.cluster.uuid = "uuid-of-another"
    harness.another(OTHER_ARN).run()
    assert harness.ledger.owner("uuid-of-another") is None


def test_what_is_claimed_is_not_asked_for_again(harness: RotationHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.run()
    for method in ("claim", "owner", "move"):
        monkeypatch.delattr(type(harness.ledger), method)
    harness.clock.advance(60)
    assert harness.another(OTHER_ARN).run().outcome is Outcome.ROTATED


def test_a_lock_that_ran_out_does_not_keep_a_cluster(harness: RotationHarness) -> None:
    harness.run()
    harness.ledger.take_lock("prod-a", Lock(THIRD_ARN, harness.clock.now + MINUTE), harness.clock.now)
    harness.clock.advance(timedelta(minutes=1).total_seconds())
    assert second(harness, accept_cluster_uuid=UUID).run().outcome is Outcome.ROTATED


def test_a_name_whose_memory_is_late_sends_nothing_to_a_cluster_that_was_moved(harness: RotationHarness) -> None:
    """Its first look is stopped, and its function lives on: it writes down that the cluster is still its own."""
    remember, ledger = harness.ledger.remember, harness.ledger
    other = second(harness, accept_cluster_uuid=UUID)

    def remember_late(cluster: str, memory: ClusterMemory) -> ClusterMemory:
        ledger.remember = remember  # type: ignore[method-assign]
        harness.publish(Failure("ExecutionAborted", "Stopped.", "Start it again."))
        other.start()
        return remember(cluster, memory)

    ledger.remember = remember_late  # type: ignore[method-assign]
    with pytest.raises(LedgerConflict):
        harness.start()
    assert other.run().outcome is Outcome.ROTATED
    harness.clock.advance(7200)
    with pytest.raises(LedgerConflict, match="changed hands"):
        harness.another(THIRD_ARN, cluster="prod-a").start()
    assert harness.cluster.rekeys == 1

    back = harness.another(THIRD_ARN + "-back", cluster="prod-a", accept_cluster_uuid=UUID)
    assert back.run().outcome is Outcome.ROTATED
    assert ledger.owner(UUID) == "prod-a"

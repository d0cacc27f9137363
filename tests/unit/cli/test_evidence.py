"""How long keys were in use, which breach the maximum age, and where rows do not meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from element_rekey.outcomes import Outcome
from element_rekey.records import Asked, ClusterMemory, Execution, OutsideChange, Request, Rotation, Settled
from element_rekey_cli.evidence import (
    ClusterEvidence,
    Gap,
    Judgement,
    Period,
    did_something,
    evidence_of,
    made,
    summary_of,
    worst_first,
)
from element_rekey_cli.standing import Facts
from tests.fakes import NOW
from tests.unit.samples import DAY, HOUR, MINUTE, UUID, change, intent, key

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.cluster import MasterKey

MAX_AGE = 90 * DAY
PERIOD = Period(NOW - 365 * DAY, NOW, NOW)


def record(name: str, began: datetime, **changes: Any) -> Rotation:  # noqa: ANN401 - members
    plain = Rotation(Execution(name, began), cluster="prod-a", request=Request("prod-a"), cluster_uuid=UUID)
    return replace(plain, **changes)


def rotated(began: datetime, old: MasterKey, new: MasterKey, **changes: Any) -> Rotation:  # noqa: ANN401 - members
    changed = change(old_key=old, new_key=new, finished_at=began + MINUTE)
    members = {"change": changed, "outcome": Outcome.ROTATED, "current_key": new, "intent": intent(sent_at=began)}
    return record(f"{began:%Y-%m-%d}-{new.key_id}", began, **members | changes)


def looked(began: datetime, seen: MasterKey | None, **changes: Any) -> Rotation:  # noqa: ANN401 - members
    return record(f"look-{began:%Y-%m-%d}", began, current_key=seen, outcome=Outcome.NOT_DUE, **changes)


def remembered(key_id: str, seen_at: datetime | None, **changes: Any) -> ClusterMemory:  # noqa: ANN401 - members
    return replace(ClusterMemory(UUID, key_id, key_seen_at=seen_at), **changes)


def shown(*records: Rotation, period: Period = PERIOD, **facts: Any) -> ClusterEvidence:  # noqa: ANN401 - members
    """The records, the oldest first."""
    return evidence_of(Facts("prod-a", records=records[::-1], **facts), MAX_AGE, period)


def ids(one: ClusterEvidence) -> list[str]:
    return [life.key.key_id for life in one.keys]


A, B, C, D = (key(name, None) for name in "ABCD")


def stamped(one: MasterKey, made_at: datetime) -> MasterKey:
    return replace(one, key_created_time=made_at)


# --- when a key was made ---


def test_the_stamp_of_a_key_counts_unless_it_lies_after_its_first_sight() -> None:
    assert made(stamped(A, NOW - DAY), NOW) == (NOW - DAY, True)
    assert made(stamped(A, NOW + HOUR), NOW) == (NOW, False)
    assert made(stamped(A, NOW.replace(year=1970)), NOW) == (NOW, False)


def test_a_key_was_made_after_the_last_sight_of_the_one_before_it() -> None:
    assert made(stamped(A, NOW - 9 * DAY), NOW, NOW - DAY) == (NOW - DAY, True)
    assert made(A, NOW, NOW - DAY) == (NOW - DAY, True)
    assert made(A, NOW) == (NOW, False)


# --- breaches ---


def test_a_key_in_use_for_exactly_the_maximum_age_is_no_breach() -> None:
    first = stamped(A, NOW - 200 * DAY)
    second = stamped(B, NOW - 110 * DAY)
    assert not shown(rotated(NOW - 110 * DAY, first, second), rotated(NOW - 20 * DAY, second, C)).breaches
    late = shown(rotated(NOW - 110 * DAY, first, second), rotated(NOW - 19 * DAY, second, C))
    (breach,) = late.breaches
    assert (breach.key_id, breach.since, breach.until, breach.days) == ("B", NOW - 20 * DAY, NOW - 19 * DAY, 1.0)
    assert (late.judgement, late.days_in_breach) == (Judgement.BREACH, 1.0)


def test_a_breach_counts_within_the_period_only() -> None:
    old = stamped(A, NOW - 700 * DAY)
    one = shown(looked(NOW - 400 * DAY, old), looked(NOW - 300 * DAY, old), memory=remembered("A", NOW))
    (breach,) = one.breaches
    assert (breach.since, breach.until) == (PERIOD.since, NOW)


def test_a_cluster_has_its_own_maximum_age() -> None:
    old = stamped(A, NOW - 40 * DAY)
    one = shown(looked(NOW - DAY, old), max_key_age=30 * DAY)
    assert (one.max_key_age_days, one.days_in_breach) == (30.0, 10.0)
    assert shown(looked(NOW - DAY, old)).judgement is Judgement.IN_POLICY


def test_what_came_after_the_period_does_not_change_what_it_shows() -> None:
    period = Period(NOW - 60 * DAY, NOW - 30 * DAY, NOW - 30 * DAY)
    first = stamped(A, NOW - 100 * DAY)
    then = shown(looked(NOW - 50 * DAY, first), period=period)
    later = rotated(NOW - 5 * DAY, first, stamped(B, NOW - 5 * DAY))
    one = shown(looked(NOW - 50 * DAY, first), later, period=period, memory=remembered("B", NOW))
    assert one == then
    assert [(life.key.key_id, life.until, life.age_days) for life in one.keys] == [("A", None, 70.0)]
    assert one.never_rotated


# --- who can be judged ---


def test_a_cluster_without_a_look_in_the_period_is_unseen() -> None:
    assert shown().judgement is Judgement.UNSEEN
    earlier = shown(looked(PERIOD.since - DAY, stamped(A, PERIOD.since - DAY)), max_key_age=1000 * DAY)
    assert (earlier.judgement, earlier.last_seen_at, ids(earlier)) == (Judgement.UNSEEN, None, ["A"])


def test_a_first_key_without_a_time_is_of_unknown_age() -> None:
    one = shown(looked(NOW - 9 * DAY, A), looked(NOW - DAY, A))
    assert one.judgement is Judgement.AGE_UNKNOWN
    assert [(life.made_at, life.made_at_known) for life in one.keys] == [(NOW - 9 * DAY, False)]


def test_a_memory_alone_is_a_witness() -> None:
    memory = remembered("A", NOW - HOUR, key_known_since=NOW - 5 * DAY, key_made_after=NOW - 6 * DAY)
    one = shown(memory=memory)
    assert (one.judgement, one.last_seen_at) == (Judgement.IN_POLICY, NOW - HOUR)
    assert [(life.made_at, life.made_at_known) for life in one.keys] == [(NOW - 6 * DAY, True)]
    assert not shown(memory=remembered("A", None)).keys
    assert not shown(memory=remembered("", NOW)).keys


def test_a_name_that_no_cluster_has_counts_for_none() -> None:
    typo = shown(record("typo", NOW - DAY, outcome=Outcome.FAILED, cluster_uuid=""), registered=False)
    assert typo.judgement is Judgement.NO_CLUSTER
    assert summary_of([typo]).clusters == summary_of([typo]).failures == 0


def test_an_unregistered_cluster_is_judged_until_it_was_last_seen() -> None:
    old = stamped(A, NOW - 200 * DAY)
    one = shown(looked(NOW - 105 * DAY, old), registered=False)
    assert [breach.until for breach in one.breaches] == [NOW - 105 * DAY]
    gone = shown(rotated(NOW - 150 * DAY, old, stamped(B, NOW - 150 * DAY)), registered=False)
    assert (gone.judgement, ids(gone)) == (Judgement.IN_POLICY, ["A", "B"])


# --- rows that meet, and rows that do not ---


def test_a_gap_is_where_a_new_key_is_not_the_next_old_one() -> None:
    one = shown(rotated(NOW - 60 * DAY, A, B), rotated(NOW - 20 * DAY, C, D))
    assert ids(one) == ["A", "B", "C", "D"]
    assert one.gaps == (Gap("B", "C", NOW - 60 * DAY, NOW - 20 * DAY),)
    assert shown(rotated(NOW - 60 * DAY, A, B), rotated(NOW - 20 * DAY, B, C)).gaps == ()


def test_a_last_row_that_is_missing_shows_in_the_memory() -> None:
    memory = remembered("C", NOW - HOUR, key_known_since=NOW - DAY)
    one = shown(rotated(NOW - 60 * DAY, A, B), memory=memory)
    assert one.gaps == (Gap("B", "C", NOW - 60 * DAY, NOW - DAY),)
    assert not shown(rotated(NOW - 60 * DAY, A, B), memory=remembered("B", NOW - HOUR)).gaps


def test_a_change_outside_is_told_and_is_no_gap() -> None:
    outside = OutsideChange("B", C, NOW - 40 * DAY, NOW - 30 * DAY)
    one = shown(
        rotated(NOW - 60 * DAY, A, B), looked(NOW - 30 * DAY, C, outside=(outside,)), rotated(NOW - 20 * DAY, C, D)
    )
    assert (one.gaps, one.changes_outside, ids(one)) == ((), (outside,), ["A", "B", "C", "D"])
    assert [life.made_at for life in one.keys][2] == NOW - 40 * DAY  # as old as it can be


def test_a_change_outside_that_was_seen_after_the_rekey_that_followed_it_stands_before_it() -> None:
    outside = OutsideChange("A", B, NOW - 40 * DAY, NOW - DAY)
    lost = rotated(NOW - 30 * DAY, B, C, outcome=Outcome.OUTCOME_UNKNOWN)
    one = shown(lost, looked(NOW - DAY, C, outside=(outside,)))
    assert (one.gaps, ids(one)) == ((), ["A", "B", "C"])


def test_a_change_that_two_executions_followed_is_one() -> None:
    first, second = rotated(NOW - 60 * DAY, A, B), rotated(NOW - 20 * DAY, B, C)
    late = change(old_key=A, new_key=B, ours=False, finished_at=NOW - 10 * DAY)  # the result was read away
    follower = record("follower", NOW - 60 * DAY, change=late, outcome=Outcome.FOLLOWED)
    one = shown(first, follower, second)
    assert (one.gaps, ids(one), summary_of([one]).key_changes) == ((), ["A", "B", "C"], 2)


def test_a_key_that_comes_back_is_in_use_again() -> None:
    one = shown(*(rotated(NOW - days * DAY, *keys) for days, keys in ((60, (A, B)), (40, (B, A)), (20, (A, B)))))
    assert (one.gaps, ids(one)) == ((), ["A", "B", "A", "B"])


def test_a_change_to_the_same_key_is_none() -> None:
    assert ids(shown(rotated(NOW - 60 * DAY, A, A))) == ["A"]


def test_a_settled_change_counts_once_and_outlives_the_record_it_settled() -> None:
    lost = rotated(NOW - 60 * DAY, A, B, outcome=Outcome.OUTCOME_UNKNOWN)
    assert lost.change
    story = Settled(lost.execution, Asked(), lost.change)
    settler = looked(NOW - 50 * DAY, B, settled=(story,))
    for records in ((lost, settler), (settler,)):
        one = shown(*records)
        assert (one.gaps, ids(one), one.never_rotated) == ((), ["A", "B"], False)


def test_another_cluster_under_the_name_begins_anew() -> None:
    first, second = rotated(NOW - 60 * DAY, A, B), rotated(NOW - 20 * DAY, C, D, cluster_uuid="another")
    one = shown(first, second, memory=replace(remembered("D", NOW), uuid="another"))
    assert (one.gaps, ids(one)) == ((), ["A", "B", "C", "D"])
    assert [life.until for life in one.keys][1] == NOW - 20 * DAY
    assert [life.cluster_uuid for life in one.keys] == [UUID, UUID, "another", "another"]
    fresh = shown(record("nothing", NOW - DAY), memory=replace(remembered("D", NOW - HOUR), uuid="another"))
    assert ids(fresh) == ["D"]


def test_looks_alone_show_a_key_and_a_change_between_them() -> None:
    others = looked(NOW - 7 * DAY, None)
    one = shown(looked(NOW - 9 * DAY, A), others, looked(NOW - DAY, B))
    assert ids(one) == ["A", "B"]
    assert one.gaps == (Gap("A", "B", NOW - 9 * DAY, NOW - DAY),)


# --- what is listed ---


def test_a_rotation_with_nothing_to_do_is_not_listed_unless_it_was_first_to_see_something() -> None:
    outside = (OutsideChange("A", B, None, NOW),)
    assert not did_something(looked(NOW, A))
    assert not did_something(record("dry", NOW, outcome=Outcome.FAILED, request=Request("prod-a", dry_run=True)))
    assert did_something(looked(NOW, B, outside=outside))
    assert did_something(record("failed", NOW, outcome=Outcome.FAILED))
    assert did_something(record("running", NOW))


def test_the_worst_come_first() -> None:
    good, unseen = shown(memory=remembered("A", NOW - HOUR, key_made_after=NOW - DAY)), shown()
    assert [one.judgement for one in worst_first([good, unseen])] == [Judgement.UNSEEN, Judgement.IN_POLICY]


# --- whatever happened ---

STEPS = st.lists(st.tuples(st.integers(1, 200), st.booleans(), st.booleans()), max_size=8)


@given(steps=STEPS, first_age=st.integers(0, 400), max_age=st.integers(1, 200), start=st.integers(0, 400))
def test_lives_follow_each_other_and_their_days_beyond_the_maximum_age_are_the_breaches(
    steps: list[tuple[int, bool, bool]], first_age: int, max_age: int, start: int
) -> None:
    """Some time between changes; each stamped by the cluster or not; each on record or removed from it."""
    moment = NOW - sum(days for days, _, _ in steps) * DAY
    period = Period(NOW - start * DAY - DAY, NOW, NOW)
    current = key("key-0", moment - first_age * DAY)
    records = [looked(moment, current)]
    removed = 0
    for number, (days, has_stamp, kept) in enumerate(steps, 1):
        moment += days * DAY
        new = key(f"key-{number}", moment if has_stamp else None)
        if kept:
            records.append(rotated(moment, current, new))
        removed += not kept
        current = new
    records.append(looked(NOW, current))
    memory = remembered(current.key_id, NOW, key_created_time=current.key_created_time, key_known_since=NOW)
    one = shown(*records, memory=memory, period=period, max_key_age=max_age * DAY)
    for life, following in zip(one.keys, one.keys[1:], strict=False):
        assert life.until == following.made_at
    assert all((life.until or NOW) >= life.made_at for life in one.keys)
    assert bool(one.gaps) <= bool(removed)
    over = sum(
        (max(timedelta(), (life.until or NOW) - max(life.made_at + max_age * DAY, period.since)) for life in one.keys),
        timedelta(),
    )
    assert abs(one.days_in_breach - over / DAY) < 0.1
    if not removed:
        assert len(ids(one)) == len(set(ids(one)))

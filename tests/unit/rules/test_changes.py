from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from element_rekey.cluster import EncryptionState
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterMemory, EarlierKey, KeyChange
from element_rekey.rules.changes import FirstSight, first_sight, open_rekey, settled_change, told, with_open_rekey
from element_rekey.rules.decisions import Follow, Start, Wait
from element_rekey.rules.memory import updated_memory
from tests.fakes import NOW
from tests.unit.samples import (
    ARN,
    DAY,
    HOUR,
    MINUTE,
    OTHER_ARN,
    SECOND,
    SETTLING,
    UUID,
    change,
    demand,
    execution,
    following,
    intent,
    key,
    rotation,
    running,
    seen,
)

MINE, OTHERS = execution(), execution(arn=OTHER_ARN)
BEFORE = ClusterMemory(UUID, "key-0", key_seen_at=NOW - HOUR, rekey_of=OTHERS)
NEW = key("key-1", NOW - MINUTE)


def sight(current: Any = NEW, memory: ClusterMemory = BEFORE, **more: Any) -> FirstSight:  # noqa: ANN401 - of samples
    return FirstSight(seen(current, memory=memory, **more), memory, current)


def step(old: str, new: str) -> KeyChange:
    return change(old_key=key(old), new_key=key(new))


# --- a first sight ---


@pytest.mark.parametrize(
    ("memory", "current"),
    [
        (None, NEW),
        (ClusterMemory("another", "key-0"), NEW),
        (ClusterMemory(UUID), NEW),
        (replace(BEFORE, key_id="key-1"), NEW),
    ],
    ids=["first look", "another cluster", "no key known", "the same key"],
)
def test_a_key_is_seen_first_where_the_ledger_knows_another_one_of_the_same_cluster(
    memory: ClusterMemory | None,
    current: Any,  # noqa: ANN401 - a key
) -> None:
    look = seen(current, memory=memory)
    assert first_sight(look, updated_memory(look, current, rekey_runs=False)) is None
    look = seen(current, memory=BEFORE)
    assert first_sight(look, updated_memory(look, current, rekey_runs=False)) == FirstSight(look, BEFORE, current)


def test_a_look_that_is_not_remembered_is_no_first_sight() -> None:
    assert first_sight(seen(NEW, memory=BEFORE), None) is None
    no_key = replace(seen(NEW, memory=BEFORE), encryption=EncryptionState(enabled=True))
    assert first_sight(no_key, BEFORE) is None


# --- whose rekey is open ---


def test_a_rekey_is_open_from_before_it_is_sent_until_a_look_at_which_none_runs() -> None:
    fresh = ClusterMemory(UUID, "key-0")
    assert with_open_rekey(fresh, Start(key(), None, None), MINE) == replace(fresh, rekey_of=MINE)
    assert with_open_rekey(BEFORE, Start(key(), None, None), MINE) == replace(BEFORE, rekey_of=MINE)
    assert with_open_rekey(fresh, Follow(following()), MINE) == replace(fresh, rekey_of=MINE)
    assert with_open_rekey(BEFORE, Follow(following()), MINE) == BEFORE, "whose it is stays known"
    assert with_open_rekey(fresh, Wait(5, "Waiting."), MINE) == fresh
    assert with_open_rekey(None, Start(key(), None, None), MINE) is None
    for current, runs, after in ((key(), True, OTHERS), (key(), False, None), (NEW, False, None), (NEW, True, OTHERS)):
        look = seen(current, memory=BEFORE)
        assert updated_memory(look, current, rekey_runs=runs).rekey_of == after


OPEN = rotation(cluster_uuid=UUID, intent=intent(), following=following(), outcome=Outcome.OUTCOME_UNKNOWN)


def test_what_was_followed_is_open_until_its_end_is_known() -> None:
    for outcome in (None, Outcome.OUTCOME_UNKNOWN, Outcome.OVERDUE):
        assert open_rekey(replace(OPEN, outcome=outcome), sight(), SETTLING) == OPEN.following
    for closed in (
        replace(OPEN, outcome=Outcome.FAILED),
        replace(OPEN, change=change()),
        replace(OPEN, cluster_uuid="another"),
        replace(OPEN, following=None, intent=None),
    ):
        assert open_rekey(closed, sight(), SETTLING) is None


@pytest.mark.parametrize(
    ("made", "taken"),
    [
        (NOW - 3 * HOUR, True),
        (NOW - 2 * HOUR + SETTLING + 5 * MINUTE, True),
        (NOW - 2 * HOUR + SETTLING + 5 * MINUTE + SECOND, False),
        (NOW + DAY, True),
    ],
    ids=["a late clock", "just in time", "too late", "a clock that is ahead says nothing"],
)
def test_after_a_lost_answer_a_key_is_taken_for_ours_if_it_was_made_in_time(made: Any, *, taken: bool) -> None:  # noqa: ANN401 - a time
    sent = intent(sent_at=NOW - 2 * HOUR)
    lost = replace(OPEN, following=None, intent=sent)
    before = replace(BEFORE, key_seen_at=NOW - 2 * HOUR)
    found = open_rekey(lost, sight(key("key-1", made), before), SETTLING)
    assert (found is not None and found.presumed_ours) is taken


def test_after_a_lost_answer_the_key_it_was_to_replace_proves_nothing() -> None:
    back = sight(key("key-0"), replace(BEFORE, key_id="key-5"))
    lost = replace(OPEN, following=None, intent=intent(sent_at=NOW - DAY))
    assert open_rekey(lost, back, SETTLING) is None


def test_a_rekey_that_runs_is_not_settled_and_one_that_is_never_shown_is_by_the_keys() -> None:
    ours = following(since=NOW - timedelta(minutes=10))
    assert settled_change(ours, seen(NEW, handle=7, job=running()), demand(), SETTLING) is None
    shown = settled_change(ours, seen(NEW, handle=7), demand(), SETTLING)
    assert shown
    assert (shown.old_key.key_id, shown.new_key.key_id, shown.job_result_read) == ("key-0", "key-1", False)


# --- what nothing explains ---


def gaps(known: list[KeyChange], current: str, *earlier_keys: str) -> list[tuple[str, str]]:
    memory = replace(BEFORE, earlier_keys=tuple(EarlierKey(one) for one in earlier_keys))
    mine = rotation(change=known[-1] if known else None)
    earlier = rotation(execution=OTHERS, change=known[0]) if known[:-1] else None
    record, settled = told(mine, sight(key(current), memory), earlier, None)
    assert settled is None, "its story is told already"
    return [(one.old_key_id, one.new_key.key_id) for one in record.outside or ()]


def test_a_change_is_explained_by_the_steps_that_lead_to_it() -> None:
    assert gaps([], "key-1") == [("key-0", "key-1")]
    assert gaps([step("key-0", "key-1")], "key-1") == []
    assert gaps([step("key-0", "key-1"), step("key-1", "key-2")], "key-2") == []
    assert gaps([step("key-0", "key-1"), step("key-0", "key-1")], "key-1") == [], "told by both"


def test_every_gap_between_the_steps_is_told() -> None:
    assert gaps([step("key-0", "key-1")], "key-2") == [("key-1", "key-2")]
    assert gaps([step("key-1", "key-2")], "key-2") == [("key-0", "key-1")]
    assert gaps([step("key-1", "key-2")], "key-3") == [("key-0", "key-1"), ("key-2", "key-3")]


def test_a_step_that_was_made_before_the_last_look_explains_nothing_after_it() -> None:
    assert gaps([step("key-x", "key-0")], "key-2") == [("key-0", "key-2")]
    assert gaps([step("key-x", "key-y")], "key-2", "key-y") == [("key-0", "key-2")]


def test_the_record_that_is_settled_gets_the_change_and_who_settled_it() -> None:
    earlier = replace(OPEN, execution=OTHERS)
    record, settled = told(rotation(), sight(), earlier, step("key-0", "key-1"))
    assert settled == replace(earlier, change=step("key-0", "key-1"), settled_by=MINE)
    assert record.outside is None
    (story,) = record.settled or ()
    assert (story.execution.id, story.change) == (OTHER_ARN, step("key-0", "key-1"))
    assert MINE.id == ARN

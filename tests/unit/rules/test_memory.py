from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.records import ClusterMemory, EarlierKey, Request
from element_rekey.rules.demand import demand_of
from element_rekey.rules.memory import (
    REMEMBERED_KEYS,
    STAMP_TOLERANCE,
    KeyAge,
    age_of,
    remembered_key_made,
    updated_memory,
)
from element_rekey.rules.plan import plan
from tests.fakes import NOW
from tests.unit.samples import DAY, HOUR, MINUTE, OLD, SECOND, UUID, demand, done, key, seen
from tests.unit.strategies import ids

if TYPE_CHECKING:
    from element_rekey.cluster import MasterKey, RekeyJob

# --- when a key was made ---


WITNESSED = ClusterMemory(UUID, "key-1", NOW - HOUR)
KNOWN = ClusterMemory(UUID, "key-1", key_known_since=NOW - HOUR)


@pytest.mark.parametrize(
    ("current", "memory", "job", "made"),
    [
        (key("key-1", NOW - DAY), None, None, NOW - DAY),
        (key("key-1", None), None, None, None),
        (key("key-1", NOW + STAMP_TOLERANCE), None, None, NOW + STAMP_TOLERANCE),
        (key("key-1", NOW + STAMP_TOLERANCE + SECOND), None, None, None),
        (key("key-1", NOW - DAY), WITNESSED, None, NOW - HOUR),
        (key("key-1", NOW - MINUTE), WITNESSED, None, NOW - MINUTE),
        (key("key-1", NOW + DAY), WITNESSED, None, NOW - HOUR),
        (key("key-2", NOW - DAY), WITNESSED, None, NOW - DAY),
        (key("key-2", NOW - DAY), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - MINUTE),
        (key("key-2", NOW - SECOND), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - SECOND),
        (key("key-2", None), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - MINUTE),
        (key("key-1", NOW - DAY), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - HOUR),
        (key("key-1", NOW - DAY), replace(WITNESSED, uuid="another", key_seen_at=NOW - MINUTE), None, NOW - DAY),
        (key("key-1", None), ClusterMemory(UUID, "key-1"), None, None),
        (key("key-1", None), None, done(key("key-1"), OLD), NOW - MINUTE),
        (key("key-1", None), None, done(key("key-2"), OLD), None),
        (key("key-1", None), None, done(None, OLD), None),
        (key("key-1", None), None, replace(done(key("key-1"), OLD), create_time=None), None),
        (key("key-1", NOW - HOUR + STAMP_TOLERANCE), KNOWN, None, NOW - HOUR + STAMP_TOLERANCE),
        (key("key-1", NOW - HOUR + STAMP_TOLERANCE + SECOND), KNOWN, None, None),
        (key("key-1", NOW - MINUTE), replace(KNOWN, key_made_after=NOW - 2 * HOUR), None, NOW - 2 * HOUR),
        (key("key-1", None), KNOWN, done(key("key-1"), OLD), None),
    ],
)
def test_when_a_key_was_made_is_said_by_the_latest_credible_witness(
    current: MasterKey, memory: ClusterMemory | None, job: RekeyJob | None, made: datetime | None
) -> None:
    assert age_of(current, seen(current, memory=memory, job=job)).made == made


def test_a_key_was_made_before_it_was_first_seen() -> None:
    assert age_of(key("key-1"), seen(memory=KNOWN)).known_since == NOW - HOUR
    assert age_of(key("key-2"), seen(memory=KNOWN)).known_since == NOW
    assert age_of(key("key-2"), seen(key_read_at=NOW + MINUTE)).known_since == NOW + MINUTE
    later = replace(KNOWN, key_known_since=NOW + HOUR)
    assert age_of(key("key-1"), seen(memory=later)) == KeyAge(NOW - 400 * DAY, NOW), "our own clock was set back"


def test_a_clock_set_right_later_does_not_make_a_key_newer_than_its_first_sight() -> None:
    """Made at 02:55 by a clock that was three hours ahead; seen at 03:00 and 05:00; the alarm comes at 05:57."""
    first = updated_memory(seen(key("key-1", NOW - 5 * MINUTE)), key("key-1", NOW - 5 * MINUTE), rekey_runs=False)
    stamped = key("key-1", NOW + 3 * HOUR - 5 * MINUTE)
    at = NOW + timedelta(hours=2, minutes=57)
    again = updated_memory(seen(stamped, at=NOW + 2 * HOUR, memory=first), stamped, rekey_runs=False)
    asked = demand(made_after=at)

    assert again.key_known_since == NOW
    assert type(plan(asked, seen(stamped, at=at + 10 * SECOND, memory=again))).__name__ == "Start"


# --- what is remembered ---


STAMP = NOW - 400 * DAY  # of the samples' keys
REMEMBERED = ClusterMemory(UUID, "key-0", NOW - DAY, NOW - HOUR, NOW - DAY, STAMP, version=5, reported_error_of=3)
NEVER_SEEN = ClusterMemory(UUID, "key-0", None, NOW, NOW, STAMP)
CAME_AFTER = replace(
    REMEMBERED,
    key_id="key-1",
    key_made_after=NOW - HOUR,
    key_seen_at=NOW,
    key_known_since=NOW,
    earlier_keys=(EarlierKey("key-0", NOW - DAY, NOW - DAY),),
)


@pytest.mark.parametrize(
    ("memory", "key_id", "rekey_runs", "expected"),
    [
        (None, "key-0", False, NEVER_SEEN),
        (None, "key-0", True, replace(NEVER_SEEN, key_seen_at=None)),
        (replace(REMEMBERED, uuid="another"), "key-0", False, replace(NEVER_SEEN, version=5)),
        (replace(REMEMBERED, uuid="another"), "key-0", True, replace(NEVER_SEEN, version=5, key_seen_at=None)),
        (REMEMBERED, "key-0", False, replace(REMEMBERED, key_seen_at=NOW)),
        (replace(REMEMBERED, key_seen_at=NOW + MINUTE), "key-0", False, replace(REMEMBERED, key_seen_at=NOW + MINUTE)),
        (REMEMBERED, "key-0", True, REMEMBERED),
        (REMEMBERED, "key-1", False, CAME_AFTER),
        (REMEMBERED, "key-1", True, REMEMBERED),
        (
            ClusterMemory(UUID, "key-0", NOW - DAY, NOW - HOUR),
            "key-0",
            False,
            ClusterMemory(UUID, "key-0", NOW - DAY, NOW, NOW, STAMP),
        ),
    ],
    ids=[
        "never seen",
        "never seen, and a rekey runs",
        "a replaced cluster",
        "a replaced cluster, and a rekey runs",
        "the same key",
        "the same key, and a look that was begun before the last one",
        "the same key, and a rekey runs",
        "a new key",
        "a new key, and a rekey runs",
        "remembered by an earlier release",
    ],
)
def test_what_a_look_leaves_in_memory(
    memory: ClusterMemory | None, key_id: str, *, rekey_runs: bool, expected: ClusterMemory
) -> None:
    assert updated_memory(seen(memory=memory), key(key_id), rekey_runs=rekey_runs) == expected


def test_a_key_that_comes_back_is_as_old_as_it_was() -> None:
    """A stale node answers, or a rekey is rolled back: key-0 is seen again after key-1."""
    back = updated_memory(seen(memory=CAME_AFTER), key("key-0"), rekey_runs=False)
    assert (back.key_made_after, back.key_known_since) == (NOW - DAY, NOW - DAY)
    assert back.earlier_keys == (EarlierKey("key-1", NOW - HOUR, NOW),)

    forth = updated_memory(seen(at=NOW + HOUR, memory=back), key("key-1"), rekey_runs=False)
    assert (forth.key_made_after, forth.key_known_since) == (NOW - HOUR, NOW)
    assert forth.earlier_keys == (EarlierKey("key-0", NOW - DAY, NOW - DAY),)


@pytest.mark.parametrize(
    ("stamp", "job", "made_after"),
    [
        (STAMP - 2 * SECOND, None, NOW - HOUR),
        (STAMP - 3 * SECOND, None, None),
        (STAMP - DAY, done(key("key-1"), OLD), NOW - HOUR),
        (STAMP - DAY, done(key("key-2"), OLD), None),
        (STAMP - DAY, done(None, OLD), None),
        (None, None, NOW - HOUR),
    ],
)
def test_a_key_we_never_saw_with_an_older_stamp_than_the_one_before_it_came_back_unless_a_job_made_it(
    stamp: datetime | None, job: RekeyJob | None, made_after: datetime | None
) -> None:
    current = key("key-1", stamp)
    memory = updated_memory(seen(current, memory=REMEMBERED, job=job), current, rekey_runs=False)
    assert memory.key_made_after == made_after
    assert memory.key_known_since == NOW


def test_without_a_stamp_of_the_key_before_it_a_key_counts_as_new() -> None:
    unstamped = replace(REMEMBERED, key_created_time=None)
    assert updated_memory(seen(memory=unstamped), key("key-1"), rekey_runs=False).key_made_after == NOW - HOUR


def test_an_old_key_that_came_back_is_due() -> None:
    """Its 93 days are not forgotten because another key was current in between."""
    old, new = key("key-0", NOW - 93 * DAY), key("key-1", NOW - DAY)
    memory = ClusterMemory(UUID, "key-1", NOW - DAY - HOUR, NOW - MINUTE, NOW - DAY, new.key_created_time)
    assert type(plan(demand(made_after=NOW - 90 * DAY), seen(old, memory=memory))).__name__ == "Start"


def test_so_many_earlier_keys_are_remembered_and_no_more() -> None:
    memory = None
    for number in range(REMEMBERED_KEYS + 3):
        memory = updated_memory(seen(memory=memory), key(f"key-{number}"), rekey_runs=False)
    assert memory
    assert [one.key_id for one in memory.earlier_keys] == [
        f"key-{number}" for number in reversed(range(2, REMEMBERED_KEYS + 2))
    ]


looks = st.lists(st.tuples(ids, st.timedeltas(timedelta(), DAY), st.booleans()), min_size=1, max_size=8)


@given(looks)
def test_what_is_remembered_never_says_that_a_key_was_made_later_than_it_was(
    seen_one_after_another: list[tuple[str, timedelta, bool]],
) -> None:
    """A sight of another key: it was made since the last calm sight before, and before its own first calm one."""
    memory: ClusterMemory | None = None
    now, calm, last = NOW, None, ""
    bounds: dict[str, tuple[datetime | None, datetime]] = {}
    for number, (key_id, passed, rekey_runs) in enumerate(seen_one_after_another):
        now += passed
        if key_id != last and not (rekey_runs and number):
            bounds.setdefault(key_id, (calm, now))
        if not rekey_runs:
            calm = now
        if not (rekey_runs and number):
            last = key_id
        memory = updated_memory(seen(at=now, memory=memory), key(key_id), rekey_runs=rekey_runs)
        assert (memory.key_made_after, memory.key_known_since) == bounds[memory.key_id]
        assert memory.key_seen_at == calm


@given(
    st.timedeltas(-DAY, DAY),
    st.timedeltas(SECOND, DAY),
    st.lists(st.timedeltas(timedelta(), DAY), min_size=1, max_size=3),
    st.timedeltas(timedelta(), DAY),
)
def test_a_key_we_saw_before_the_demand_never_meets_it_whatever_the_clocks_stamped(
    ahead: timedelta, lived: timedelta, waits: list[timedelta], later: timedelta
) -> None:
    """The stamp stays as it was when the cluster's clock is set right."""
    made = NOW - lived
    stamped = key("key-1", made + ahead)
    memory, now = None, NOW
    for wait in waits:
        now += wait
        memory = updated_memory(seen(stamped, at=now, memory=memory), stamped, rekey_runs=False)
    asked = demand(made_after=now + STAMP_TOLERANCE + later)
    decision = plan(asked, seen(stamped, at=asked.made_after + SECOND, memory=memory))
    assert type(decision).__name__ == "Start"


def test_a_demand_of_a_person_is_met_by_no_key_seen_before() -> None:
    memory = updated_memory(seen(), key(), rekey_runs=False)
    asked = demand_of(Request("prod-a"), NOW + HOUR)
    assert type(plan(asked, seen(key(made=NOW + 2 * HOUR), at=NOW + HOUR, memory=memory))).__name__ == "Start"


# --- without a look at the cluster ---


@pytest.mark.parametrize(
    ("memory", "made"),
    [
        (ClusterMemory(UUID, "a", key_created_time=NOW - 5 * DAY, key_known_since=NOW), NOW - 5 * DAY),
        (ClusterMemory(UUID, "a", NOW - 3 * DAY, key_created_time=NOW - 5 * DAY, key_known_since=NOW), NOW - 3 * DAY),
        (ClusterMemory(UUID, "a", key_created_time=NOW + DAY, key_known_since=NOW), NOW),
        (ClusterMemory(UUID, "a", NOW - DAY, key_created_time=NOW + DAY, key_known_since=NOW), NOW - DAY),
        (ClusterMemory(UUID, "a", key_known_since=NOW), NOW),
        (ClusterMemory(UUID, "a", key_created_time=datetime(1, 1, 1, tzinfo=UTC), key_known_since=NOW), NOW),
        (ClusterMemory(UUID, "a", NOW - DAY), NOW - DAY),
        (ClusterMemory(UUID), None),
    ],
    ids=[
        "as stamped",
        "not before its predecessor was seen",
        "the cluster's clock was ahead",
        "ahead, and its predecessor was seen",
        "no stamp",
        "a time nobody means",
        "of 0.1.0",
        "never seen",
    ],
)
def test_a_key_nobody_can_look_at_was_made_when_its_memory_says(memory: ClusterMemory, made: datetime | None) -> None:
    assert remembered_key_made(memory) == made

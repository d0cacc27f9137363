from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.records import ClusterMemory
from element_rekey.rules.demand import CLOCK_TOLERANCE
from element_rekey.rules.memory import made_at, updated_memory
from tests.fakes import NOW
from tests.unit.samples import DAY, HOUR, MINUTE, OLD, SECOND, UUID, done, key, seen
from tests.unit.strategies import ids

if TYPE_CHECKING:
    from element_rekey.cluster import MasterKey, RekeyJob

# --- when a key was made ---


WITNESSED = ClusterMemory(UUID, "key-1", NOW - HOUR)


@pytest.mark.parametrize(
    ("current", "memory", "job", "expected"),
    [
        (key("key-1", NOW - DAY), None, None, NOW - DAY),
        (key("key-1", None), None, None, None),
        (key("key-1", NOW + CLOCK_TOLERANCE), None, None, NOW + CLOCK_TOLERANCE),
        (key("key-1", NOW + CLOCK_TOLERANCE + SECOND), None, None, None),
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
    ],
)
def test_when_a_key_was_made_is_reported_by_the_best_witness_there_is(
    current: MasterKey, memory: ClusterMemory | None, job: RekeyJob | None, expected: datetime | None
) -> None:
    assert made_at(current, seen(current, memory=memory, job=job)) == expected


# --- what is remembered ---


REMEMBERED = ClusterMemory(UUID, "key-0", NOW - DAY, NOW - HOUR, reported_error_of=3)


@pytest.mark.parametrize(
    ("memory", "key_id", "now", "expected"),
    [
        (None, "key-0", NOW, ClusterMemory(UUID, "key-0", None, NOW)),
        (None, "key-0", None, ClusterMemory(UUID, "key-0")),
        (replace(REMEMBERED, uuid="another"), "key-0", NOW, ClusterMemory(UUID, "key-0", None, NOW)),
        (REMEMBERED, "key-0", NOW, replace(REMEMBERED, key_seen_at=NOW)),
        (REMEMBERED, "key-0", None, REMEMBERED),
        (REMEMBERED, "key-1", NOW, ClusterMemory(UUID, "key-1", NOW - HOUR, NOW, reported_error_of=3)),
        (REMEMBERED, "key-1", None, ClusterMemory(UUID, "key-1", NOW - HOUR, NOW - HOUR, reported_error_of=3)),
        (ClusterMemory(UUID), "key-1", NOW, ClusterMemory(UUID, "key-1", None, NOW)),
    ],
    ids=[
        "never seen",
        "never seen, and a rekey runs",
        "a replaced cluster",
        "the same key",
        "the same key, and a rekey runs",
        "a new key",
        "a new key, and a rekey runs",
        "remembered by an earlier version",
    ],
)
def test_what_a_look_leaves_in_memory(
    memory: ClusterMemory | None, key_id: str, now: datetime | None, expected: ClusterMemory
) -> None:
    assert updated_memory(memory, UUID, key(key_id), now) == expected


looks = st.lists(st.tuples(ids, st.timedeltas(timedelta(), DAY), st.booleans()), min_size=1, max_size=8)


@given(looks)
def test_what_is_remembered_never_says_that_a_key_was_made_later_than_it_was(
    seen_one_after_another: list[tuple[str, timedelta, bool]],
) -> None:
    """Each sight of another key: it was made since the last sight before, or since the begin of a rekey seen then."""
    memory, now, current, calm = None, NOW, "", None
    earliest: datetime | None = None
    for key_id, passed, running_ in seen_one_after_another:
        now += passed
        if key_id != current:
            current, earliest = key_id, calm
        calm = calm if running_ else now
        memory = updated_memory(memory, UUID, key(key_id), None if running_ else now)
        assert memory.key_id == current
        assert memory.key_made_after == earliest
        assert memory.key_seen_at == calm

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.errors import RotationOverdue
from element_rekey.records import KeptResult
from element_rekey.rules.decisions import Follow, StartAgain, StillRunning
from element_rekey.rules.waiting import deadline_of, for_settling, keep_waiting, next_wait
from tests.fakes import NOW, SETTINGS
from tests.unit.samples import DAY, HOUR, MINUTE, SECOND, SETTLING, change, done, following, intent, rotation

if TYPE_CHECKING:
    from element_rekey.records import Following


@pytest.mark.parametrize(
    ("age", "left", "seconds"),
    [
        (timedelta(), HOUR, 5),
        (20 * SECOND, HOUR, 5),
        (60 * SECOND, HOUR, 15),
        (20 * MINUTE, HOUR, 300),
        (2 * DAY, HOUR, 300),
        (20 * MINUTE, MINUTE, 60),
        (20 * MINUTE, SECOND, 5),
        (20 * MINUTE, -HOUR, 5),
    ],
)
def test_next_wait(age: timedelta, left: timedelta, seconds: int) -> None:
    assert next_wait(age, left) == seconds


@given(st.timedeltas(), st.timedeltas(), st.timedeltas())
def test_a_wait_is_between_five_and_three_hundred_seconds_and_grows_with_age(
    one: timedelta, other: timedelta, left: timedelta
) -> None:
    shorter, longer = sorted((one, other))
    assert 5 <= next_wait(shorter, left) <= next_wait(longer, left) <= 300


# --- a rekey that is not over ---

FOREIGN = following(ours=False, not_shown_since=NOW - SETTLING)


def test_what_our_rekey_did_is_kept_where_a_foreign_handle_that_never_shows_is_disregarded() -> None:
    rotated_before = rotation(change=change())
    decision = keep_waiting(rotated_before, FOREIGN, StillRunning(shown=False), "", NOW, SETTINGS)
    why = "The cluster lists rekey 7 but never shows it."
    assert decision == StartAgain(why, change(), disregarded_handle=7)


@pytest.mark.parametrize(
    ("followed", "at", "shown", "since"),
    [
        (replace(FOREIGN, not_shown_since=None), NOW, False, NOW),
        (FOREIGN, NOW - SECOND, False, NOW - SETTLING),
        (FOREIGN, NOW, True, None),
        (replace(FOREIGN, ours=True), NOW, False, NOW - SETTLING),
    ],
    ids=["not shown for the first time", "not for long enough", "shown after all", "of ours"],
)
def test_a_rekey_that_does_not_show_is_followed_on(
    followed: Following, at: datetime, since: datetime | None, *, shown: bool
) -> None:
    decision = keep_waiting(rotation(), followed, StillRunning(shown=shown), "", at, SETTINGS)
    assert decision == Follow(replace(followed, not_shown_since=since), "", None)


@pytest.mark.parametrize(
    ("presumed_ours", "until"),
    [(False, NOW + SETTINGS.deadline), (True, NOW + SETTINGS.deadline - SECOND + SETTLING)],
    ids=["somebody's", "taken for ours"],
)
def test_a_rekey_is_looked_at_until_the_deadline_and_one_taken_for_ours_until_it_may_be_verified(
    until: datetime, *, presumed_ours: bool
) -> None:
    followed = following(since=NOW + SETTINGS.deadline - SECOND, presumed_ours=presumed_ours)
    assert deadline_of(rotation(), followed, SETTINGS) == until
    in_time = keep_waiting(rotation(), followed, StillRunning(), "Rewrap", until - SECOND, SETTINGS)
    assert in_time == Follow(followed, "Rewrap", None)
    late = keep_waiting(rotation(), followed, StillRunning(), "Rewrap", until, SETTINGS)
    assert isinstance(late, Follow)
    assert isinstance(late.overdue, RotationOverdue)


@pytest.mark.parametrize(
    ("ago", "settling", "seconds"),
    [(0, 120, 121), (100, 120, 21), (119, 120, 5), (500, 120, 5), (0, 3600, 300), (3400, 3600, 201)],
)
def test_another_rekey_waits_until_one_that_was_refused_can_not_begin_any_more(
    ago: int, settling: int, seconds: int
) -> None:
    settings = replace(SETTINGS, settling=settling * SECOND)
    wait = for_settling(
        intent(sent_at=NOW - ago * SECOND), KeptResult(done(None, None), NOW, "xAssumed"), NOW, settings
    )
    assert wait.seconds == seconds
    assert wait.detail == "The rekey was refused while the cluster kept the result of rekey 7; that was released."
    assert wait.cooling_until is None

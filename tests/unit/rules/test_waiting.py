from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.rules.waiting import next_wait
from tests.unit.samples import DAY, HOUR, MINUTE, SECOND


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

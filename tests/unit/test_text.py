"""Text and times from outside: what may be shown of the one, and which of the other somebody can mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.moments import is_plausible
from element_rekey.text import cut, cut_id, flat, is_plain, one_line, says_something

ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("\n\r\u2028\u2029\u202e\ud800\u200b \u00a0"))
FORGERIES = {
    "line feed": "\n",
    "carriage return": "\r",
    "vertical tab": "\v",
    "form feed": "\f",
    "tab": "\t",
    "NUL": "\0",
    "escape": "\x1b",
    "delete": "\x7f",
    "next line": "\x85",
    "C1 control": "\x9b",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "right-to-left override": "\u202e",
    "left-to-right isolate": "\u2066",
    "Arabic letter mark": "\u061c",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "tag character": "\U000e0041",
    "high surrogate": "\ud800",
    "low surrogate": "\udfff",
    "not assigned": "\uffff",
    "Hangul filler": "\u3164",
    "blank of Braille": "\u2800",
    "combining grapheme joiner": "\u034f",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_forges_a_line_or_cannot_be_seen_becomes_a_space(name: str) -> None:
    assert one_line(f"a{FORGERIES[name]}b") == "a b"
    assert flat(f"a{FORGERIES[name]}b") == "a b"
    assert not is_plain(f"a{FORGERIES[name]}b")
    assert not says_something(FORGERIES[name] * 3)


@pytest.mark.parametrize(
    "text", ["audit", "Prüfung „Q3“", "監査", "проверка", "no-break\u00a0space", "⚠️ now", "é", "\U0001d538"]
)
def test_what_people_write_stays(text: str) -> None:
    assert is_plain(text)
    assert says_something(text)
    assert flat(text) == text


@pytest.mark.parametrize("text", ["", " ", "\u00a0\u3000", "\u200b", "\u3164\u2800", "\u0301", "\ufe0f"])
def test_nothing_to_be_seen_says_nothing(text: str) -> None:
    assert not says_something(text)


@given(ANY_TEXT)
def test_any_text_becomes_one_line_that_can_be_written_anywhere(text: str) -> None:
    line = one_line(text)
    assert is_plain(line)
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line
    assert one_line(line) == line
    assert len(flat(text)) == len(text)


@given(ANY_TEXT, st.integers(110, 300))
def test_a_text_is_cut_to_its_length_and_says_so(text: str, longest: int) -> None:
    line = one_line(text * 60)
    for shorter in (cut(line, longest), cut_id(line, longest)):
        assert len(shorter) == min(len(line), longest)
        assert (f"(cut, of {len(line)} characters" in shorter) is (len(line) > longest)
    assert cut(cut(line, longest), longest) == cut(line, longest)


def test_two_ids_with_one_beginning_stay_two() -> None:
    one, other = cut_id("k" * 150_000 + "1"), cut_id("k" * 150_000 + "2")
    assert one != other
    assert len(one) == len(other) == 200
    assert cut_id("k" * 200) == "k" * 200


@pytest.mark.parametrize(
    ("text", "plausible"),
    [
        ("0001-01-01T00:00:00", False),
        ("1970-01-01T00:00:00", False),
        ("1999-12-31T23:59:59", False),
        ("2000-01-01T00:00:00", True),
        ("2100-01-01T00:00:00", True),
        ("2100-01-01T00:00:01", False),
        ("9999-12-31T23:59:59", False),
    ],
)
def test_times_nobody_can_mean(text: str, *, plausible: bool) -> None:
    assert is_plausible(datetime.fromisoformat(text).replace(tzinfo=UTC)) is plausible

"""Text from outside, made fit for one line of a mail, a log, a terminal and a report.

Outside is whoever writes an input, and every cluster. A line end forges a line of a mail, a bidi control turns one
round, what cannot be seen makes two names look alike, and half a surrogate pair cannot be encoded at all.
"""

from __future__ import annotations

from hashlib import sha256
from unicodedata import category

LONGEST_NAME = 200
"""Characters of a name or an id. The longest known, the ids of key servers' keys, have a hundred."""
LONGEST_CAUSE = 2000
"""Characters of a cause: it travels in states, records and messages, together with much else."""

_BLANK = frozenset(
    "\N{COMBINING GRAPHEME JOINER}\N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}\N{KHMER VOWEL INHERENT AQ}"
    "\N{KHMER VOWEL INHERENT AA}\N{BRAILLE PATTERN BLANK}\N{HANGUL FILLER}\N{HALFWIDTH HANGUL FILLER}"
)
"""Letters, marks and symbols in name only: Python calls them printable, and there is nothing to be seen of them."""
_SPACE = "Zs"
_SEEN = frozenset("LNPS")  # letters, numbers, punctuation, symbols; a mark needs one of them to stand on


def is_plain(text: str) -> bool:
    """Whether a text is one line of characters that can be seen, and spaces."""
    return all(map(_is_plain, text))


def says_something(text: str) -> bool:
    """Whether there is anything to be seen of a text."""
    return any(_is_plain(character) and category(character)[0] in _SEEN for character in text)


def flat(text: str) -> str:
    """The text on one line, as long as it was: a space in place of every character that is none for people."""
    return "".join(character if _is_plain(character) else " " for character in text)


def one_line(text: str) -> str:
    """The text on one line, without a space too many."""
    return " ".join(flat(text).split())


def cut(text: str, longest: int) -> str:
    """The text, or its beginning and a word on how much longer it is; ``longest`` characters in all."""
    return _cut(text, longest, f"… (cut, of {len(text)} characters)")


def cut_id(text: str, longest: int = LONGEST_NAME) -> str:
    """As ``cut``, and still another one for another text: what distinguishes a key or a cluster is compared."""
    return _cut(text, longest, f"… (cut, of {len(text)} characters, SHA-256 {sha256(text.encode()).hexdigest()})")


def _cut(text: str, longest: int, mark: str) -> str:
    return text if len(text) <= longest else text[: longest - len(mark)] + mark


def _is_plain(character: str) -> bool:
    """Not a control, format, separator or surrogate character, nor one that is not assigned."""
    return (character.isprintable() or category(character) == _SPACE) and character not in _BLANK

"""The hops between a person and a rotated key, one line each: good or bad, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from element_rekey.errors import ElementRekeyError


class Verdict(StrEnum):
    """How a hop is."""

    GOOD = "ok"
    NOTE = "note"  # to be known; nothing is wrong for that
    BAD = "FAIL"


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop. A member of ``element-rekey.doctor.v1``."""

    name: str
    verdict: Verdict
    says: str
    mend: str | None = None


def good(name: str, says: str) -> Hop:
    """A hop that is as it should be."""
    return Hop(name, Verdict.GOOD, says)


def note(name: str, says: str, mend: str | None = None) -> Hop:
    """A hop somebody may want to look at."""
    return Hop(name, Verdict.NOTE, says, mend)


def bad(name: str, says: str, mend: str) -> Hop:
    """A hop that keeps a key from being replaced, or nobody from hearing of it."""
    return Hop(name, Verdict.BAD, says, mend)


def failed(name: str, error: ElementRekeyError) -> Hop:
    """A hop that ended with an error."""
    return Hop(name, Verdict.BAD, f"{type(error).__name__}: {error.what}", error.next_step)


def all_well(hops: Iterable[Hop]) -> bool:
    """Whether no hop is bad."""
    return all(one.verdict is not Verdict.BAD for one in hops)

"""What the options of the commands take, and the sentence for what they do not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Impossible(Exception):
    """Options that do not go together; one sentence."""


def whole_number(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` up."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} up, not {text}")
        return int(text)

    return parse


def above_zero(text: str) -> float:
    """A number above zero."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above zero, not {text}")
    return number


def share(text: str) -> float:
    """A number from 0 to 1."""
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not {text}")
    return number


def _number(text: str) -> float:
    """The number, or one that is nowhere between two others."""
    try:
        return float(text)
    except ValueError:
        return float("nan")

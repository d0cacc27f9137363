"""What a benchmark finds: a table, and figures with their spread."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEWEST = 2  # of which one can say how far they lie apart


@dataclass(frozen=True)
class Table:
    """One benchmark's result. A row's first cell may be empty where it would repeat the one above."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Markdown that is aligned in a terminal, too."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        shown = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
        shown.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        if self.remarks:
            shown += ["", *(f"- {remark}" for remark in self.remarks)]
        return "\n".join(shown)


@dataclass(frozen=True)
class Spread:
    """The median of some figures, and the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """The median, and the quartiles in parentheses."""
        return f"{number(self.median)} ({number(self.low)}–{number(self.high)})"  # noqa: RUF001 - a range


def spread(figures: Sequence[float]) -> Spread:
    """Median and quartiles of at least one figure."""
    if len(figures) < _FEWEST:
        return Spread(figures[0], figures[0], figures[0])
    low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(median, low, high)


def number(figure: float) -> str:
    """Three significant digits at most, without an exponent."""
    for digits, limit in ((2, 10), (1, 100)):
        if abs(round(figure, digits)) < limit:
            return f"{figure:.{digits}f}"
    return f"{figure:,.0f}"


def duration(seconds: float) -> str:
    """In the largest unit that leaves a number a person can read."""
    for unit, length, least in (("days", 86_400, 2 * 86_400), ("h", 3600, 3600), ("min", 60, 60)):
        if seconds >= least:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s"

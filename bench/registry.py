"""The benchmarks there are: a name for the command line, and a ``run(quick)`` that gives a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import client, fleet, polls

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.table import Table

BENCHMARKS: dict[str, Callable[[bool], Table]] = {
    "client": client.run,
    "polls": polls.run,
    "fleet": fleet.run,
}

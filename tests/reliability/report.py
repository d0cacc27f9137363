"""Writes the tables of ``docs/evidence`` from the runs themselves: ``python -m tests.reliability.report``."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from local.simulator import FAULTS, FaultGroup, FaultName
from tests.reliability import abandoned, crashes, matrix
from tests.reliability.in_memory_harness import REKEY
from tests.tables import section, table, write
from tests.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUMMARY = ROOT / "docs" / "reliability.md"
EVIDENCE = ROOT / "docs" / "evidence"
TITLES = {"crashes": "Crashes", "abandoned": "Abandoned executions", "matrix": "Fault matrix"}


def crash_table(name: str) -> str:
    """Every place of a scenario at which a function was killed or overtaken, put together by what it had just done."""
    head = (
        "function",
        "side effect",
        "killed",
        "overtaken",
        "outcome",
        "rekeys",
        "notifications",
        "twice",
        "lock left",
    )
    rows = crashes.table_rows(name)
    results = sum(int(row[2]) + int(row[3]) for row in rows)
    return f"{results} runs.\n\n{table(head, rows)}"


def abandoned_table(name: str) -> str:
    """Every gap of a scenario in which its execution ended, by interruption and by the function it ended in."""
    rows = []
    for interruption in abandoned.EVENTS:
        runs = abandoned.abandoned_of(name, interruption)
        for function in dict.fromkeys(run.first.effect.function for run in runs):
            mine = [run for run in runs if run.first.effect.function == function]
            rows.append(
                (
                    interruption,
                    function.removesuffix("Function"),
                    str(len(mine)),
                    ", ".join(sorted({f"{run.first.outcome} → {run.second}" for run in mine})),
                    crashes.span(run.first.all_rekeys for run in mine),
                    crashes.span(run.first.notifications for run in mine),
                    crashes.span(run.second_notifications for run in mine),
                )
            )
    head = ("story", "in", "gaps", "first → second", "rekeys", "told of the first", "told of the second")
    return f"{sum(int(row[2]) for row in rows)} runs.\n\n{table(head, rows)}"


def matrix_table(names: Iterable[FaultName]) -> str:
    """What came of these faults, by where they hit."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    count = 0
    for name in names:
        for case in matrix.cases(name):
            result = matrix.run(case)
            where = {REKEY: "rekey", matrix.RESULT: "result"}.get(case.call, "look")
            found[case.name][where].add(f"{result.outcome} ({result.error})" if result.error else result.outcome)
            count += 1
    rows = (
        (fault, *(", ".join(sorted(by_place[where])) or "-" for where in ("look", "rekey", "result")))
        for fault, by_place in found.items()
    )
    return f"{count} cells.\n\n" + table(("fault", "on a look before", "on the rekey", "on GetAsyncResult"), rows)


SECTIONS = {
    **{f"crashes-{name}": partial(crash_table, name) for name in crashes.SCENARIOS},
    **{f"abandoned-{name}": partial(abandoned_table, name) for name in crashes.SCENARIOS},
    **{
        f"matrix-{group}": partial(matrix_table, [one for one in FaultName if FAULTS[one].group is group])
        for group in FaultGroup
    },
}


def document(name: str) -> Path:
    """Where a table is: one document for each enumeration."""
    return EVIDENCE / f"{name.partition('-')[0]}.md"


def recorded(name: str) -> str:
    """A table as its document has it."""
    return section(name, document(name).read_text(encoding="utf-8"))


def summary_table() -> str:
    """How many runs each enumeration has, as its document says."""
    rows = []
    for kind, title in TITLES.items():
        runs = {
            name.removeprefix(f"{kind}-"): int(recorded(name).partition(" ")[0])
            for name in SECTIONS
            if name.startswith(f"{kind}-")
        }
        parts = ", ".join(f"{part} {count}" for part, count in runs.items())
        rows.append((f"[{title}](evidence/{kind}.md)", f"{sum(runs.values())}", parts))
    return table(("enumeration", "runs", "of these"), rows)


def main() -> None:
    """Fill in all parts."""
    for name, content in SECTIONS.items():
        write(document(name), name, content())
    write(SUMMARY, "runs", summary_table())


if __name__ == "__main__":
    main()

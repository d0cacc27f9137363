"""Executions as they go on: a rotation step by step, a fleet run as a table. Ctrl-C ends the watching only."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from element_rekey.fleet.summarize import cluster_results

from .deployment import CommandFailed
from .display import Display
from .execution_history import ExecutionHistory
from .exits import Exit
from .starting import execution_name, start
from .words import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console, RenderableType

    from element_rekey.records import ClusterResult, FleetRun, Rotation

    from .deployment import Deployment
    from .tool import Given

R = TypeVar("R", "Rotation", "FleetRun")

CLOSED_SECONDS = 60
"""How long an execution that was stopped may take to be closed: an event has to come, and a function to run."""
DRY_RUN_SECONDS = 60
"""How long a dry run is waited for that only comes before something else."""
OFTEN, SELDOM, OFTEN_LOOKS = 1.0, 5.0, 60
"""Seconds between two looks: in the first minute, and later."""
FRAMES_PER_SECOND = 8
ROWS = 30


@dataclass(frozen=True)
class Execution:
    """An execution that is followed, and the words for whoever stops doing that."""

    given: Given
    arn: str

    @property
    def deployment(self) -> Deployment:
        """Where it runs."""
        return self.given.deployment

    @property
    def how_to_go_on(self) -> str:
        """What to type to see more of it."""
        shown = name_of(self.arn) if self.arn.startswith(self.deployment.execution_arn("")) else self.arn
        return f"element-rekey show{self.given.options} {shown}"

    def status(self) -> str:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED (``DescribeExecution``)."""
        return self.deployment.stepfunctions.describe_execution(executionArn=self.arn)["status"]

    def pauses(self) -> Iterator[None]:
        """Once for each look, with a pause between them; at the end once more, so that nothing is missed."""
        looks = 0
        running = True
        while running:
            running = self.status() == "RUNNING"
            yield
            if running:
                self.given.tool.sleep(OFTEN if looks < OFTEN_LOOKS else SELDOM)
                looks += 1

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block Ctrl-C stops the watching, and says so."""
        try:
            yield
        except KeyboardInterrupt:
            what = f"Stopped watching. The execution goes on: {self.arn} See it with: {self.how_to_go_on}"
            raise CommandFailed(what, Exit.STOPPED) from None

    def closed(self, record: Callable[[], R | None]) -> R:
        """Its record, once it is closed: a stopped execution is closed by another function, a moment later."""
        for _ in range(CLOSED_SECONDS):
            found = record()
            if found and found.ended_at:
                return found
            self.given.tool.sleep(OFTEN)
        what = f"The execution ended, and its record was not closed within {CLOSED_SECONDS} s. {self.how_to_go_on}"
        raise CommandFailed(what, Exit.UNKNOWN)


def dry_run(given: Given, request: Mapping[str, Any]) -> tuple[str, Rotation | None]:
    """The ARN of a dry run, and its record; None where it comes to no end soon, as where no cluster answers."""
    deployment = given.deployment
    name = execution_name(f"{request['cluster']}-look", given.tool.clock())
    arn = start(deployment, deployment.rotate_master_key_arn, name, {**request, "dryRun": True})
    for _ in range(DRY_RUN_SECONDS):
        found = deployment.ledger.rotations([arn]).get(arn)
        if found and found.ended_at:
            return arn, found
        given.tool.sleep(OFTEN)
    return arn, None


def follow_rotation(followed: Execution) -> Rotation:
    """Show what happens in a rotation until its end; its closed record. Raises CommandFailed."""
    deployment, arn, display = followed.deployment, followed.arn, Display(followed.given.console)
    history = ExecutionHistory()

    def record() -> Rotation | None:
        return deployment.ledger.rotations([arn]).get(arn)

    with followed.watched():
        with _live(display.console, _spinner(history)):
            for _ in followed.pauses():
                pages = deployment.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
                for event in history.read(event for page in pages for event in page["events"]):
                    display.event(event)
        return followed.closed(record)


def follow_fleet_run(followed: Execution) -> tuple[FleetRun, tuple[ClusterResult, ...]]:
    """Show what becomes of each cluster of a fleet run until its end; its closed record. Raises CommandFailed."""
    deployment, arn = followed.deployment, followed.arn
    table = FleetTable(followed.given.console)

    def record() -> FleetRun | None:
        return deployment.ledger.fleet_runs([arn]).get(arn)

    def results(run: FleetRun) -> tuple[ClusterResult, ...]:
        return cluster_results(deployment.ports, deployment.rotate_master_key_arn, run)

    with followed.watched():
        with _live(followed.given.console, table.render):
            for _ in followed.pauses():
                run = record()
                table.take(run, results(run) if run else ())
        run = followed.closed(record)
    return run, results(run)


class FleetTable:
    """What is known of each cluster of a run; without a terminal, a line for each change."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        self._console = console
        self._rows: dict[str, tuple[str, str]] = {}

    def take(self, run: FleetRun | None, results: tuple[ClusterResult, ...]) -> None:
        """Take what is known now."""
        for refused in run.not_selected if run else ():
            self._set(refused.cluster, "Refused", refused.error)
        for one in results:
            self._set(one.selected.cluster, *_cells(one))

    def _set(self, cluster: str, state: str, detail: str) -> None:
        if self._rows.get(cluster) == (state, detail):
            return
        self._rows[cluster] = (state, detail)
        if not self._console.is_terminal:
            self._console.print(Text(f"  {cluster}  {state}  {detail}".rstrip()), soft_wrap=True)

    def render(self) -> RenderableType:
        """The clusters that are worked on or went wrong first, and how many of the others are done with."""
        table = Table(box=None, padding=(0, 2))
        for title in ("cluster", "state", ""):
            table.add_column(title)
        rows = sorted(self._rows.items(), key=lambda row: (_PLACES.get(row[1][0], 0), row[0]))
        for cluster, cells in rows[:ROWS]:
            table.add_row(cluster, *cells)
        if len(rows) > ROWS:
            table.add_row(f"{len(rows) - ROWS} more", "", "")
        return table


_WAITING, _UNDER_WAY = "not begun", "rotating"
_PLACES = {_WAITING: 1, "NotDue": 2, "Planned": 2, "Followed": 2, "Rotated": 2}


def _cells(one: ClusterResult) -> tuple[str, str]:
    rotation = one.rotation
    if rotation is None:
        return _WAITING, ""
    if rotation.outcome is None:
        return _UNDER_WAY, rotation.detail
    return rotation.outcome, rotation.failure.error if rotation.failure else ""


def _spinner(history: ExecutionHistory) -> Callable[[], RenderableType]:
    begun, spinner = time.monotonic(), Spinner("dots", style="cyan")

    def view() -> RenderableType:
        waits = f" ({history.waiting:g} s)" if history.state.startswith("Wait") else ""
        where = f" {history.state or 'starting'}{waits}"
        spinner.update(text=Text.assemble((where, "cyan"), (f"   {time.monotonic() - begun:.0f} s", "dim")))
        return spinner

    return view


@contextmanager
def _live(console: Console, view: Callable[[], RenderableType]) -> Iterator[None]:
    """On a terminal a view below the lines, for as long as the block lasts."""
    if not console.is_terminal:
        yield
        return
    with Live(console=console, get_renderable=view, refresh_per_second=FRAMES_PER_SECOND, transient=True):
        yield

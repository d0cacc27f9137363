"""What a command shows a person: lines that stay, and on a terminal a live view of the rekey below them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from element_rekey_cli.display import Display as CommandDisplay
from local.simulator.rekey import PHASE_ENDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from element_rekey_cli.execution_history import ExecutionHistory
    from local.simulator import MasterKey, Rekey, RunningCluster

BAR_WIDTH = 40
FRAMES_PER_SECOND = 12


@dataclass
class Display(CommandDisplay):
    """The command's own, with what it takes to set everything up, and with a view of the simulated cluster."""

    def __post_init__(self) -> None:
        """Start the clock that every step is timed by."""
        self._lap = time.monotonic()

    def title(self, text: str) -> None:
        """What this is."""
        self.console.print()
        self.console.print(Text(text, style="bold"))
        self.console.print()

    def step(self, what: str, detail: str) -> None:
        """Something is ready, so many seconds after the step before it."""
        now = time.monotonic()
        self._row("✔", f"{now - self._lap:5.1f} s", what, detail, style="green", width=23)
        self._lap = now

    def fact(self, label: str, text: str) -> None:
        """A line of the summary."""
        self.console.print(Text.assemble((f"  {label:<12}", "dim"), text), soft_wrap=True)

    @contextmanager
    def watching(self, cluster: RunningCluster, history: ExecutionHistory) -> Iterator[None]:
        """Show below the lines, for as long as the block lasts, what the cluster is doing."""
        if not self.console.is_terminal:
            yield
            return
        begun = time.monotonic()
        spinner = Spinner("dots", style="cyan")

        def view() -> RenderableType:
            return live_view(cluster, history, spinner, time.monotonic() - begun)

        with Live(console=self.console, get_renderable=view, refresh_per_second=FRAMES_PER_SECOND, transient=True):
            yield


def live_view(cluster: RunningCluster, history: ExecutionHistory, spinner: Spinner, seconds: float) -> RenderableType:
    """Where the execution is, and how far each phase of the rekey is."""
    where = f" {history.state or 'starting'}"
    if history.state.startswith("Wait"):
        where += f" ({history.waiting:g} s in AWS, shortened here)"
    spinner.update(text=Text.assemble((where, "cyan"), (f"   {seconds:.1f} s", "dim")))
    rekeys = cluster.cluster.rekeys
    parts: list[RenderableType] = [Text(), Padding(spinner, (0, 0, 0, 2))]
    if rekeys:
        parts.append(phases(rekeys[-1], cluster.cluster.spec.clock))
    return Group(*parts)


def phases(rekey: Rekey, clock: Callable[[], object]) -> Table:
    """A bar for each phase of a rekey."""
    now = clock()
    share = (now - rekey.begun).total_seconds() / rekey.seconds if rekey.seconds else 1.0  # type: ignore[operator]
    table = Table.grid(padding=(0, 1))
    begins = 0.0
    failed = False
    for phase, ends in PHASE_ENDS.items():
        done = 0.0 if failed else max(0.0, min(1.0, (share - begins) / (ends - begins)))
        failed = failed or (rekey.fails_in is phase and done == 1.0)
        mark = (
            Text("✘", "red") if rekey.fails_in is phase and done == 1.0 else Text("✔" if done == 1.0 else " ", "green")
        )
        bar = ProgressBar(total=1.0, completed=done, width=BAR_WIDTH, complete_style="cyan", finished_style="green")
        table.add_row(Text("   "), mark, phase.value, bar)
        begins = ends
    return table


def describe(key: MasterKey) -> str:
    """A key as the cluster itself has it."""
    provider = f", provider {key.provider_id}" if key.provider_id is not None else ""
    return f"{key.key_id}  {key.management.value.capitalize()}{provider}, made {key.created:%Y-%m-%d %H:%M:%S} UTC"

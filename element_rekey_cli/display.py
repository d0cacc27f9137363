"""What a person is shown: lines that stay. Without a terminal the same lines, and no control codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from .execution_history import HistoryEvent


@dataclass
class Display:
    """Writes to ``console``."""

    console: Console

    def event(self, event: HistoryEvent) -> None:
        """An event of the execution's history."""
        mark, style = ("✘", "red") if event.is_error else ("•", "cyan")
        # What a function that broke wrote, or whoever stopped the execution, draws nothing on the terminal. The layer's
        # own way to say so is not at hand: this is shown where the layer is not on the path, too.
        text = "".join(character if character.isprintable() else " " for character in event.text)
        self._row(mark, f"{event.seconds:5.1f} s", event.state, text, style=style, width=16)

    def heading(self, text: str) -> None:
        """What follows."""
        self.console.print()
        self.console.print(Text(f"  {text}", style="bold"), soft_wrap=True)

    def quote(self, text: str) -> None:
        """Words of the application itself."""
        for line in text.rstrip().splitlines():
            self.console.print(Text(f"  │ {line}"), soft_wrap=True)

    def result(self, text: str, *, good: bool) -> None:
        """How the command ended."""
        self.console.print()
        style = "bold green" if good else "bold red"
        self.console.print(Text(f"  {'✔' if good else '✘'} {text}", style=style), soft_wrap=True)
        self.console.print()

    def _row(self, mark: str, clock: str, what: str, detail: str, *, style: str, width: int) -> None:
        row = Text.assemble((f"  {mark} ", style), (f"{clock}  ", "dim"), (f"{what:<{width}}", "bold"), detail)
        self.console.print(row, soft_wrap=True)

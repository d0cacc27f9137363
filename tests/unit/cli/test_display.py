from __future__ import annotations

from io import StringIO

from rich.console import Console

from element_rekey_cli.display import Display
from element_rekey_cli.execution_history import HistoryEvent


def test_words_of_others_draw_nothing_on_the_terminal() -> None:
    """As a function that broke leaves them in its error, or whoever stopped the execution in its cause."""
    out = StringIO()
    Display(Console(file=out, width=200)).event(
        HistoryEvent(1.0, "StartRekey", "broken\x1b[2J\n✔ Rotated\u202e", is_error=True)
    )
    (line,) = out.getvalue().splitlines()
    assert "broken" in line
    assert not {"\x1b", "\u202e"} & set(line)

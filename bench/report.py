"""Puts tables into docs/performance.md, each between the two markers of its benchmark; what is around them stays."""

from __future__ import annotations

import os
import platform
import re
from typing import TYPE_CHECKING

from bench.places import REPORT

if TYPE_CHECKING:
    from bench.table import Table


def write(name: str, table: Table, *, quick: bool) -> None:
    """Replace what stands between the markers of ``name``; a section at the end is begun where there are none."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    command = f'make bench ARGS="{name} --quick"' if quick else f"make bench ARGS={name}"
    block = f"{begin}\n`{command}` on {machine()}:\n\n{table}\n{end}"
    text = REPORT.read_text(encoding="utf-8") if REPORT.exists() else "# Performance\n"
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    text, found = between.subn(lambda _: block, text)
    REPORT.write_text(text if found else f"{text}\n## {name}\n\n{block}\n", encoding="utf-8")


def machine() -> str:
    """What bears on the figures, and stays as it is from one run to the next."""
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"

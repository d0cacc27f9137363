"""Tables of the documents that a program fills in, between ``<!-- begin name -->`` and ``<!-- end name -->``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(name: str, text: str) -> str:
    """The part of a document that a program fills in."""
    (found,) = re.findall(rf"<!-- begin {name} -->\n(.*?)\n<!-- end {name} -->", text, re.DOTALL)
    return str(found)


def write(to: Path, name: str, content: str) -> None:
    """Fill in a part of a document."""
    begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
    head, rest = to.read_text(encoding="utf-8").split(begin)
    to.write_text(head + begin + content + end + rest.split(end)[1], encoding="utf-8")

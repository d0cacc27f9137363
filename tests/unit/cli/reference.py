"""The parts of ``docs/command.md`` that the command itself says; run as a module, it writes them into the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from element_rekey_cli.exits import Exit
from element_rekey_cli.main import cli
from tests.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = ROOT / "docs" / "command.md"
WIDTH = 100


def exit_codes() -> str:
    """The table of exit codes."""
    rows = (f"| {code.value} | {code.meaning} |" for code in Exit)
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def help_of_all() -> str:
    """The help of every command."""
    return "\n\n".join(f"### `{name}`\n\n```text\n{text}\n```" for name, text in helps())


def helps() -> Iterator[tuple[str, str]]:
    """Each command, and its help."""
    settings = {**cli.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    group = click.Context(cli, info_name="element-rekey", **settings)
    for name in cli.list_commands(group):
        command = cli.commands[name]
        context = click.Context(command, info_name=name, parent=group, terminal_width=WIDTH, max_content_width=WIDTH)
        yield f"element-rekey {name}", command.get_help(context)


def written(document: str) -> str:
    """The document with both parts as they are now."""
    for mark, text in (("exit codes", exit_codes()), ("help", help_of_all())):
        begin, end = f"<!-- {mark}: written by tests/unit/cli/reference.py -->", "<!-- end -->"
        part = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        document = part.sub(lambda _, new=f"{begin}\n\n{text}\n\n{end}": new, document)  # type: ignore[misc]
    return document


if __name__ == "__main__":
    FILE.write_text(written(FILE.read_text(encoding="utf-8")), encoding="utf-8")

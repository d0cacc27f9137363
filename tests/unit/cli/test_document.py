"""``docs/command.md`` says what the command does: its help, its exit codes, its states, its documents."""

from __future__ import annotations

import re

from element_rekey_cli.main import cli
from element_rekey_cli.standing import State
from tests.template import ROOT
from tests.unit.cli.reference import FILE, written

DOCUMENT = FILE.read_text(encoding="utf-8")


def test_the_help_and_the_exit_codes_are_those_of_the_command() -> None:
    assert written(DOCUMENT) == DOCUMENT


def test_every_state_has_a_row_that_says_whether_it_is_open() -> None:
    rows = re.findall(r"^\| `([a-z ]+)` \| (yes|no) \|", DOCUMENT, re.MULTILINE)
    assert rows == [(str(state), "yes" if state.open else "no") for state in State]


def test_every_command_has_a_document_of_its_own_kind() -> None:
    rows = re.findall(r"^\| `(\w+)[^|]*\| \[[\w ]+\]\(\.\./(schemas/[\w.-]+)\)", DOCUMENT, re.MULTILINE)
    assert {command for command, _ in rows} == set(cli.commands)
    assert all((ROOT / schema).is_file() for _, schema in rows)
    named = {schema.removeprefix("schemas/") for _, schema in rows}
    assert {file.name for file in (ROOT / "schemas").glob("command-*.json")} <= named

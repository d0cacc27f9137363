"""``element-rekey explain``: the runbook's entry for a name, offline."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markdown import Markdown

from element_rekey.errors import ElementRekeyError, errors_by_name
from element_rekey.outcomes import Outcome
from element_rekey.rules.preflight import FAULTS_BLOCKING_ALWAYS, FAULTS_BLOCKING_EXTERNAL, FAULTS_BLOCKING_ROUTINE
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.documents import EXPLANATION_SCHEMA, Explanation
from element_rekey_cli.exits import Exit
from element_rekey_cli.tool import offline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from element_rekey_cli.tool import Given

RUNBOOK = Path(__file__).parents[1] / "runbook.md"
FAULTS = (
    (FAULTS_BLOCKING_ALWAYS, "A cluster fault that stops every rotation; nothing overrides it."),
    (
        FAULTS_BLOCKING_EXTERNAL,
        "A cluster fault that stops a rotation where an external key is replaced or made; ignoreFaults overrides it.",
    ),
    (
        FAULTS_BLOCKING_ROUTINE,
        "A cluster fault that stops a rotation that can wait; an alarm goes ahead. ignoreFaults overrides it.",
    ),
)
OF_RUNS = {
    "Refused": "A cluster that a fleet run could not select.",
    "NotBegun": "A cluster whose rotation a fleet run did not begin.",
    "NotEnded": "A cluster whose rotation had not ended when the fleet run summed up.",
}


@click.command()
@click.argument("name", required=False)
@offline
def explain(given: Given, name: str | None) -> Exit:
    """What NAME means and what to do about it: an error, an outcome, an alarm, or a fault of an Element cluster.

    From the runbook, which comes with the command: neither AWS nor a network is needed. Without NAME, every name there
    is.
    """
    known = explanations()
    if name is None:
        for one in sorted(known.values(), key=lambda one: (one.kind, one.name.lower())):
            given.page.line(f"{one.kind:<8} {one.name}")
        return Exit.DONE
    found = find_name(name, known)
    if found is None:
        near = difflib.get_close_matches(name.lower(), known, n=3)
        meant = f" Is it {' or '.join(known[one].name for one in near)}?" if near else ""
        raise CommandFailed(f"There is no entry for {name}.{meant}", Exit.NOT_FOUND)
    if given.as_json:
        given.say(found)
        return Exit.DONE
    given.page.line((found.name, "bold"), f"  {found.kind}")
    given.page.sentence(found.meaning)
    if found.next_step:
        given.page.sentence(f"Next: {found.next_step}")
    if found.runbook:
        given.page.line("")
        if given.console.is_terminal:
            given.console.print(Markdown(found.runbook))
        else:
            given.page.text(found.runbook)
    return Exit.DONE


def find_name(name: str, known: Mapping[str, Explanation]) -> Explanation | None:
    """The entry of a name, in any case of letters; an alarm's name has that of the stack before it."""
    wanted = name.lower()
    alarm = next((key for key, one in known.items() if one.kind == "alarm" and wanted.endswith(f"-{key}")), "")
    return known.get(wanted) or known.get(alarm)


@cache
def entries() -> Mapping[str, str]:
    """The entries of the runbook by name, each as Markdown without its heading."""
    parts = re.split(r"^### `(\S+)`$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {name: text.split("\n## ")[0].strip() for name, text in pairs}


@cache
def explanations() -> Mapping[str, Explanation]:
    """Everything that can be explained, by its name in lower case."""
    found: dict[str, Explanation] = {}

    def add(name: str, kind: str, meaning: str, next_step: str | None = None) -> None:
        entry = Explanation(EXPLANATION_SCHEMA, name, kind, meaning, next_step, entries().get(name))
        found.setdefault(name.lower(), entry)

    for name, error in errors_by_name().items():
        if error is not ElementRekeyError:
            add(name, "error", (error.__doc__ or "").split("\n\n")[0].replace("\n    ", " "), error.next_step)
    for outcome in Outcome:
        well = "nobody has to do anything" if outcome.succeeded else "somebody has to do something"
        add(outcome.value, "outcome", f"{outcome.headline[0].upper()}{outcome.headline[1:]}; {well}.")
    for name, meaning in OF_RUNS.items():
        add(name, "outcome", meaning)
    for codes, meaning in FAULTS:
        for code in codes:
            add(code, "fault", meaning)
    for name in entries():
        # What is left are the alarms, and the errors that the state machines end with themselves.
        kind = "alarm" if name == name.lower() else "error"
        add(name, kind, "An alarm of the stack." if kind == "alarm" else "An error of the state machine itself.")
    return found

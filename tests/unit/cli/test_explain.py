"""``element-rekey explain``: every name has an entry, the runbook's own where it has one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from element_rekey.errors import ElementRekeyError, errors_by_name
from element_rekey.outcomes import Outcome
from element_rekey_cli.commands.explain import RUNBOOK, entries, explanations
from tests.template import ROOT
from tests.unit.cli.harness import Harness
from tests.unit.cli.schemas import assert_valid

if TYPE_CHECKING:
    from element_rekey_cli.documents import Explanation

DOCUMENT = (ROOT / "docs" / "runbook.md").read_text()
ENTRIES = re.findall(r"^### `(\S+)`$", DOCUMENT, re.MULTILINE)


@pytest.fixture
def person() -> Harness:
    """Somebody without AWS."""
    return Harness(terminal=False)


def test_the_runbook_that_comes_with_the_command_is_the_documents() -> None:
    assert RUNBOOK.read_text() == DOCUMENT
    assert list(entries()) == ENTRIES


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_of_the_runbook_is_explained(name: str) -> None:
    one: Explanation = explanations()[name.lower()]
    assert one.name == name
    assert one.runbook
    assert one.runbook.startswith("**Means:**")
    assert "###" not in one.runbook


def test_every_error_and_outcome_is_explained() -> None:
    for name, error in errors_by_name().items():
        if error is not ElementRekeyError:
            assert explanations()[name.lower()].next_step == error.next_step
            assert "\n" not in explanations()[name.lower()].meaning
    for outcome in Outcome:
        assert explanations()[outcome.lower()].kind == "outcome"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("RekeyOutcomeUnknown", "error", "Do not send a rekey by hand."),
        ("rekeyoutcomeunknown", "error", "Do not send a rekey by hand."),
        ("oldest-key", "alarm", "AlarmKeyAgeDays"),
        ("element-rekey-oldest-key", "alarm", "AlarmKeyAgeDays"),
        ("Rotated", "outcome", "Master key replaced and verified; nobody has to do anything."),
        ("WouldBeRefused", "outcome", "**Means:**"),
        ("NotBegun", "outcome", "**Means:**"),
        ("RotationDidNotSucceed", "error", "**Means:**"),
        ("ensembleDegraded", "fault", "nothing overrides it"),
        ("kmipServerFault", "fault", "an external key"),
        ("nodeOffline", "fault", "an alarm goes ahead"),
    ],
)
def test_a_name_is_explained_in_any_form(person: Harness, name: str, kind: str, words: str) -> None:
    ran = person.run("explain", name)
    assert ran.code == 0
    assert ran.out.splitlines()[0].endswith(f"  {kind}")
    assert words in ran.out


def test_on_a_terminal_the_entry_is_laid_out(person: Harness) -> None:
    person.terminal = True
    ran = person.run("explain", "ClusterBusy")
    assert "**" not in ran.out
    assert "Means:" in ran.out


def test_as_a_document(person: Harness) -> None:
    for name in ("RekeyFailed", "upgrade", "oldest-key"):
        assert_valid("command-explanation.v1", person.run("explain", name, "--json").document)


def test_without_a_name_all_are_listed(person: Harness) -> None:
    lines = person.run("explain").out.splitlines()
    assert len(lines) == len(explanations())
    assert "alarm    oldest-key" in lines


def test_a_name_that_is_none_is_not_found_and_one_like_it_is_proposed(person: Harness) -> None:
    ran = person.run("explain", "rekyfailed")
    assert ran.code == 4
    assert ran.err.startswith("element-rekey: There is no entry for rekyfailed. Is it RekeyFailed or ")
    assert person.run("explain", "zzz").err == "element-rekey: There is no entry for zzz.\n"

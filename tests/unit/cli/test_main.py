"""What holds of every command: options, errors as sentences, exit codes, completion."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from element_rekey.errors import AwsCallFailed
from element_rekey.outcomes import Outcome
from element_rekey_cli import __version__, tool
from element_rekey_cli.deployment import CommandFailed, Deployment
from element_rekey_cli.exits import Exit, exit_of
from element_rekey_cli.main import cli
from element_rekey_cli.tool import Given, Tool
from element_rekey_cli.words import duration
from tests.template import ROOT

if TYPE_CHECKING:
    from tests.unit.cli.harness import Harness

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_a_deployment_that_is_not_found_is_a_sentence() -> None:
    def nowhere(stack: str, **_: object) -> Deployment:
        raise CommandFailed(f"There is no stack {stack}.")

    result = CliRunner().invoke(cli, ["status", "--stack", "x"], obj=Tool(find=nowhere))
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "element-rekey: There is no stack x.\n")


def test_the_stack_can_be_in_the_environment() -> None:
    asked: list[tuple[str, object]] = []

    def remember(stack: str, **given: object) -> Deployment:
        asked.append((stack, given["local"]))
        raise CommandFailed("Enough.")

    environment = {"ELEMENT_REKEY_STACK": "mine"}
    CliRunner().invoke(cli, ["status", "--local"], obj=Tool(find=remember), env=environment)
    assert asked == [("mine", True)]


def test_a_ledger_that_does_not_answer_is_a_sentence_with_what_to_do(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_clusters: object) -> None:
        raise AwsCallFailed("DynamoDB did not read: away")

    monkeypatch.setattr(harness.ledger, "memories", away)
    ran = harness.run("status")
    assert ran.code == 3
    assert ran.err.startswith("element-rekey: DynamoDB did not read: away Next: ")


def test_a_wrong_command_line_is_usage(harness: Harness) -> None:
    assert harness.run("status", "--no-such-option").code == Exit.USAGE


@pytest.mark.parametrize(
    ("stack", "local", "options"),
    [("element-rekey", False, ""), ("mine", False, " --stack mine"), ("element-rekey", True, " --local")],
)
def test_the_commands_it_proposes_find_the_same_deployment(stack: str, local: bool, options: str) -> None:  # noqa: FBT001
    assert Given(Tool(), stack, local, as_json=False).options == options


def test_its_clock_is_in_utc() -> None:
    assert tool.now().utcoffset() == timedelta()


def test_every_outcome_has_an_exit_code_and_only_a_success_is_zero() -> None:
    codes = {outcome: exit_of(outcome) for outcome in Outcome}
    assert {outcome for outcome, code in codes.items() if code is Exit.DONE} == {
        outcome for outcome in Outcome if outcome.succeeded and outcome is not Outcome.WOULD_BE_REFUSED
    }
    assert exit_of(None) is Exit.UNKNOWN


def test_the_version_is_the_projects(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["element-rekey", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("element_rekey_cli", run_name="__main__")
    assert (ended.value.code, capsys.readouterr().out) == (0, f"element-rekey, version {__version__}\n")
    assert __version__ == PROJECT["project"]["version"]


def test_a_shell_completes_its_commands() -> None:
    completion = BashComplete(cli, {}, "element-rekey", "_ELEMENT_REKEY_COMPLETE")
    assert [one.value for one in completion.get_completions([], "st")] == ["status"]
    assert "--wait" in [one.value for one in completion.get_completions(["rotate"], "--")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "119 min"), (7200, "2 h"), (172_799, "47 h"),
        (172_800, "2 d"), (-90, "-1 min"),
    ],
)  # fmt: skip
def test_a_duration_is_in_its_largest_unit(seconds: int, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


def test_what_is_installed_is_what_is_imported() -> None:
    """``pip install .`` brings what the command imports, within what the lists of requirements allow."""
    installed = {re.split(r"[<>=]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert installed == {"boto3", "click", "requests", "rich", "urllib3"}
    assert PROJECT["project"]["scripts"] == {"element-rekey": "element_rekey_cli.main:main"}

"""What `up` tells a person, and where it tells other programs that it runs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from local.commands import run
from local.stack import local_parameters
from local.up import banner, in_a_line
from local.whereabouts import CannotTell, NotFound, findable, found, path, shell_lines
from tests.local.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HERE: dict[str, Any] = {
    "endpointUrl": "http://127.0.0.1:4242",
    "region": "us-east-1",
    "accessKeyId": "test",
    "secretAccessKey": "test",
    "stackName": "element-rekey",
    "stateMachineArns": {"RotateMasterKey": "arn:rotate", "RotateFleet": "arn:fleet; rm -rf /"},
    "queueUrl": "http://127.0.0.1:4242/0/notifications",
    "deadLettersUrl": "http://127.0.0.1:4242/0/dead letters",
    "tableName": "Table",
    "clusters": [{"name": "prod-a"}],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_runs_is_found_for_as_long_as_it_runs(folder: Path) -> None:
    with findable(HERE):
        assert found() == {"pid": os.getpid(), **HERE}
        assert list(folder.iterdir()) == [path()]
    assert list(folder.iterdir()) == []
    with pytest.raises(NotFound, match='Nothing runs here; start "make up" in another shell'):
        found()


def test_the_end_of_one_does_not_hide_another_that_was_started_since() -> None:
    with findable(HERE):
        path().write_text(json.dumps({"pid": os.getpid() * 10 + 1, **HERE}))
    assert found()["pid"] == os.getpid() * 10 + 1


def test_what_others_could_have_written_is_not_believed(folder: Path) -> None:
    with findable(HERE):
        path().chmod(0o620)
        with pytest.raises(NotFound, match="not from make up"):
            found()
        path().rename(folder / "elsewhere")
        path().symlink_to(folder / "elsewhere")
        with pytest.raises(NotFound, match="Nothing runs here"):
            found()


def test_a_folder_that_takes_no_file_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with (
        pytest.raises(CannotTell, match=r"The file /no/such/folder/element-rekey-up-\d+.json cannot be written"),
        findable(HERE),
    ):
        pass


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_lines_for_a_shell_point_every_version_of_the_aws_cli_at_the_engine(folder: Path, shell: str) -> None:
    command = folder / "aws"
    command.write_text('#!/bin/sh\necho "$@"\nenv | grep -E "^(AWS_|NO_PROXY|no_proxy)" | sort\n')
    command.chmod(0o700)
    script = f'{shell_lines(HERE)}\naws sqs list-queues\necho "$STACK $ROTATE $TABLE $FLEET $QUEUE $NOTIFICATIONS"'
    theirs = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "AWS_PROFILE": "work",
        "AWS_REGION": "eu-west-1",
        "NO_PROXY": "intranet",
    }
    done = subprocess.run([shell, "-c", script], env=theirs, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "--endpoint-url http://127.0.0.1:4242 sqs list-queues",
        "AWS_ACCESS_KEY_ID=test",
        "AWS_DEFAULT_REGION=us-east-1",
        "AWS_ENDPOINT_URL=http://127.0.0.1:4242",
        "AWS_PAGER=",
        "AWS_REGION=us-east-1",
        "AWS_SECRET_ACCESS_KEY=test",
        "NO_PROXY=127.0.0.1,intranet",
        "no_proxy=127.0.0.1",
        (
            "element-rekey arn:rotate Table arn:fleet; rm -rf / http://127.0.0.1:4242/0/dead letters "
            "http://127.0.0.1:4242/0/notifications"
        ),
    ]


def test_the_names_of_the_shell_are_those_of_the_runbook() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    for name in ("STACK", "ROTATE", "FLEET", "TABLE", "QUEUE"):
        assert f"{name}=" in runbook
        assert f"{name}=" in shell_lines(HERE)


def test_env_prints_the_lines_or_says_that_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(command="env")
    with findable(HERE):
        assert run(options) == 0
    assert capsys.readouterr().out == shell_lines(HERE) + "\n"
    assert run(options) == 1
    assert capsys.readouterr() == ("", 'local: Nothing runs here; start "make up" in another shell.\n')


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["prod-a"], "with the cluster prod-a."),
        (["prod-a", "prod-b"], "with the clusters prod-a, prod-b."),
        ([f"cluster-{number}" for number in range(11)], "with 11 clusters."),
    ],
)
def test_the_banner_names_the_clusters_while_a_line_holds_them(names: list[str], words: str) -> None:
    assert words in banner({**HERE, "clusters": [{"name": name} for name in names]})


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({"cluster": "a", "outcome": "Rotated", "headline": "done"}, "a  Rotated: done"),
        (
            {"cluster": "a", "outcome": "Failed", "headline": "no", "error": "RekeyFailed"},
            "a  Failed: no (RekeyFailed)",
        ),
        ({"cluster": "a", "kind": "CoolingDown", "headline": "later"}, "a  CoolingDown: later"),
        ({"counts": [], "headline": "Fleet of 2: all well"}, "fleet  Fleet of 2: all well"),
    ],
)
def test_what_is_published_is_told_in_a_line(document: dict[str, Any], line: str) -> None:
    assert in_a_line(document) == line


def test_a_wait_scale_of_one_is_as_on_aws() -> None:
    assert local_parameters(1.0) == {}
    assert local_parameters(0.1) == {"SettlingSeconds": "12", "SpreadMinutes": "0", "ReadinessState": "DISABLED"}
    assert local_parameters(0.0) == {"SettlingSeconds": "1", "SpreadMinutes": "0", "ReadinessState": "DISABLED"}

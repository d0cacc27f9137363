"""`python -m local.simulator`: the first line, serving, stopping, and what it says when it cannot."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from local.simulator import ClusterSpec, SimulatedCluster
from local.simulator.__main__ import add_arguments, main, specifications

ROOT = Path(__file__).parents[2]


def begin(*options: str, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "local.simulator", *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(cluster: dict[str, str], method: str) -> Any:  # noqa: ANN401 - whatever JSON there is
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"https://{cluster['mvip']}/json-rpc/12.10",
            json={"method": method},
            auth=(cluster["username"], cluster["password"]),
            verify=cluster["caFile"],
            timeout=5,
        )
        return answer.json()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_the_clusters_are_and_serves_until_a_signal_comes(tmp_path: Path, number: signal.Signals) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"fault": "rpcError", "method": "GetAPI", "name": "xDBClosing"}]')
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    options = ["--clusters", "2", "--api-version", "12.10", "--faults", str(rules), "--external", "15"]
    with begin(*options, "--assume", "time_format=microseconds", temporary=temporary) as process:
        try:
            assert process.stdout is not None
            clusters = json.loads(process.stdout.readline())["clusters"]
            assert [set(one) for one in clusters] == [
                {"name", "mvip", "username", "password", "caFile", "certificateFingerprint"}
            ] * 2
            assert [one["name"] for one in clusters] == ["cluster-1", "cluster-2"]
            for one in clusters:
                assert call(one, "GetAPI")["error"]["name"] == "xDBClosing"
            info = call(clusters[1], "GetSoftwareEncryptionAtRestInfo")["result"]["masterKeyInfo"]
            assert info["keyProviderID"] == 15
            assert "." in info["keyCreatedTime"]
            process.send_signal(number)
            rest, complaints = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, rest, complaints) == (0, "", "")
    assert list(temporary.iterdir()) == []


def test_its_files_go_away_with_it_even_where_it_is_killed(tmp_path: Path) -> None:
    with begin(temporary=tmp_path) as process:
        assert process.stdout is not None
        (cluster, *_) = json.loads(process.stdout.readline())["clusters"]
        folder = Path(cluster["caFile"]).parent
        assert folder.parent == tmp_path
        process.kill()
        process.communicate()
    until = time.monotonic() + 10
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []


def specs(*options: str) -> tuple[ClusterSpec, ...]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return specifications(parser.parse_args(options))


def ids(*options: str) -> list[tuple[str, str]]:
    made = [SimulatedCluster(spec) for spec in specs(*options)]
    return [(one.uuid, one.current_key.key_id) for one in made]


def test_clusters_and_keys_are_new_ones_each_time_unless_a_seed_is_given() -> None:
    assert ids("--seed", "x") == ids("--seed", "x")
    assert not set(ids()) & set(ids())


def test_the_clusters_are_those_of_the_examples_unless_they_are_named_or_counted() -> None:
    named: set[str] = set()
    for file in (ROOT / "events").glob("*.json"):
        event = json.loads(file.read_text())
        named |= {event[member] for member in ("cluster", "canary") if member in event} | set(event.get("clusters", ()))
    assert {one.name for one in specs()} == named
    assert [one.name for one in specs("--names", "prod-a, west")] == ["prod-a", "west"]
    assert [one.name for one in specs("--clusters", "2")] == ["cluster-1", "cluster-2"]


def test_a_machine_without_the_packages_is_told_so() -> None:
    for module in ("local", "local.simulator"):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-S", "-m", module], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"local: boto3 is not installed for {sys.executable}; use make, or .venv/bin/python\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--role", "admin"], "role is one of accounts, administrator,"),
        (["--names", "a,b,a"], "cannot have the same name"),
        (["--names", "a,,b"], "A cluster name is letters, digits and hyphens, not ''."),
        (["--clusters", "0"], "--clusters is a number from 1 to 500, not 0."),
        (["--api-version", "new"], "'new' is not an API version such as 12.3."),
        (["--rekey-seconds", "-1"], "rekey_seconds is a number from 0 to 315360000, not -1.0."),
        (["--external", "3"], "key_provider_id 3 is not among the providers."),
        (["--assume", "luck=good"], "There is no assumption 'luck'."),
        (["--port", "70000"], "cannot listen on 127.0.0.1 port 70000"),
        (["--key-age-days", "1e12"], "--key-age-days is a number from 0 to 36500, not 1e+12."),
        (["--key-age-days", "nan"], "not nan."),
        (["--faults", "/nowhere.json"], "The fault rules cannot be read from /nowhere.json"),
    ],
)
def test_what_it_cannot_do_it_says_in_one_sentence(
    capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(options) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("simulator: ")
    assert sentence in output.err
    assert output.err.count("\n") == 1
    assert ".." not in output.err
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_a_wrong_rule_in_the_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"fault": "html502", "colour": "red"}')
    assert main(["--faults", str(rules)]) == 1
    assert "no member 'colour'" in capsys.readouterr().err

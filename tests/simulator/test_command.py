"""`python -m local.simulator`: the first line, serving, stopping, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from local.simulator.__main__ import main

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


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
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
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_a_wrong_rule_in_the_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"fault": "html502", "colour": "red"}')
    assert main(["--faults", str(rules)]) == 1
    assert "no member 'colour'" in capsys.readouterr().err

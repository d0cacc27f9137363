"""The drills and the runbook name each other, and one drill is played as a person plays it."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from local.aws import connect
from local.drills import DRILLS
from local.simulator import ClusterSpec
from local.up import banner
from tests.local.processes import ROOT, Command
from tests.local.test_up import HERE
from tests.template import default

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
CLUSTER = {
    "name": "west",
    "mvip": "127.0.0.1:1",
    "username": "rekey",
    "password": "secret",
    "caFile": "ca.pem",
    "certificateFingerprint": "5A:3F",
}


def test_each_entry_that_has_a_drill_names_it_and_each_drill_has_its_entry() -> None:
    entries = dict(re.findall(r"^### `(\S+)`\n(.*?)(?=^##)", f"{RUNBOOK}\n##", re.MULTILINE | re.DOTALL))
    named = {
        entry: re.findall(r"^\*\*Drill:\*\* `make up ARGS=\"--drill (\S+)\"`$", text, re.MULTILINE)
        for entry, text in entries.items()
        if "--drill" in text
    }
    assert named == {drill.entry: [name] for name, drill in DRILLS.items()}


@pytest.mark.parametrize("name", DRILLS)
def test_the_banner_tells_what_to_start_and_what_comes_of_it(name: str) -> None:
    drill = DRILLS[name]
    text = banner({**HERE, "clusters": [CLUSTER]}, name)
    (command,) = re.findall(r"^  (aws stepfunctions start-execution .*)$", text, re.MULTILINE)
    assert json.loads(shlex.split(command)[-1]) == drill.request("west")
    assert f"It ends as {drill.outcome}. Then follow the entry {drill.entry} of docs/runbook.md." in text
    assert not re.search(r"[{]\w+[}]", text), "every member is filled in"


def test_a_drill_happens_to_a_cluster_as_it_was_asked_for() -> None:
    for drill in DRILLS.values():
        spec = drill.prepared(ClusterSpec(name="west", seed="x"))
        assert (spec.name, spec.seed, spec.rekey_seconds) == ("west", "x", drill.rekey_seconds)
        for parameter in drill.parameters:
            assert default(parameter), "the template has it"


def test_a_drill_as_a_person_plays_it(tmp_path: Path) -> None:
    with Command(tmp_path, "up", "--names", "west,east", "--drill", "certificate-changed") as command:
        here = command.first_line()
        aws = connect(here["endpointUrl"])
        request = DRILLS["certificate-changed"].request("west")
        start(aws, here, request)
        command.read_errors_until("west  Failed: ")
        registered = aws.secretsmanager.get_secret_value(SecretId="element-rekey/west")["SecretString"]
        known = {name: value for name, value in json.loads(registered).items() if name != "caBundle"}
        (west, _) = here["clusters"]
        renewed = known | {"certificateFingerprint": west["certificateFingerprint"]}
        aws.secretsmanager.put_secret_value(SecretId="element-rekey/west", SecretString=json.dumps(renewed))
        start(aws, here, request)
        command.read_errors_until("west  Rotated: ")


def start(aws: Any, here: dict[str, Any], request: dict[str, Any]) -> None:  # noqa: ANN401 - clients
    machine = here["stateMachineArns"]["RotateMasterKey"]
    aws.stepfunctions.start_execution(stateMachineArn=machine, input=json.dumps(request))

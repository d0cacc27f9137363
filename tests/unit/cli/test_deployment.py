"""The deployment is found by its stack, or by what ``make up`` wrote down; what is missing is named."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from element_rekey_cli.deployment import (
    LOCAL_MEMBERS,
    OUTPUTS,
    PARAMETERS,
    CommandFailed,
    Deployment,
    described,
    find,
    local_file,
    read_local,
)
from element_rekey_cli.exits import Exit
from tests.fakes import FakeClock
from tests.template import REGION, TEMPLATE, default

if TYPE_CHECKING:
    from pathlib import Path

STACK: dict[str, Any] = {
    "StackName": "element-rekey",
    "CreationTime": "2026-01-01T00:00:00Z",
    "StackStatus": "CREATE_COMPLETE",
    "Outputs": [{"OutputKey": name, "OutputValue": f"the {name}"} for name in OUTPUTS],
    "Parameters": [{"ParameterKey": name, "ParameterValue": str(default(name))} for name in PARAMETERS],
}
WHERE = {
    "endpointUrl": "http://127.0.0.1:4566",
    "region": "us-east-1",
    "accessKeyId": "test",
    "secretAccessKey": "test",
    "stackName": "mine",
}


def test_the_template_has_every_output_and_parameter_that_is_read() -> None:
    assert set(OUTPUTS) <= set(TEMPLATE["Outputs"])
    assert set(PARAMETERS) <= set(TEMPLATE["Parameters"])


@dataclass
class Cloud:
    """CloudFormation with one answer."""

    client: Any = field(default_factory=lambda: boto3.client("cloudformation", region_name=REGION))

    def describes(self, stack: dict[str, Any], name: str = "element-rekey") -> Deployment:
        with Stubber(self.client) as stubber:
            stubber.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": name})
            return described(self.client, name, lambda service: service, FakeClock())

    def refuses(self, code: str) -> str:
        with Stubber(self.client) as stubber:
            stubber.add_client_error("describe_stacks", code, "Stack with id x does not exist")
            with pytest.raises(CommandFailed) as raised:
                described(self.client, "x", lambda service: service, FakeClock())
        assert raised.value.code is Exit.NO_ANSWER
        return str(raised.value)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_a_stack_is_read_by_its_outputs_and_parameters(cloud: Cloud) -> None:
    found = cloud.describes(STACK)
    assert found.rotate_master_key_arn == "the RotateMasterKeyArn"
    assert found.rotate_fleet_arn == "the RotateFleetArn"
    assert found.fleet_settings.max_key_age == timedelta(days=90)
    assert found.fleet_settings.alarm_prefix == "element-key-compromise-"
    assert found.grace == timedelta(days=7)


def test_an_alarm_before_the_due_date_leaves_no_grace(cloud: Cloud) -> None:
    parameters = [
        {**one, "ParameterValue": "30"} if one["ParameterKey"] == "AlarmKeyAgeDays" else one
        for one in STACK["Parameters"]
    ]
    assert cloud.describes({**STACK, "Parameters": parameters}).grace == timedelta()


def test_another_stack_is_told_by_what_it_lacks(cloud: Cloud) -> None:
    with pytest.raises(CommandFailed, match=r"Stack element-rekey is not a deployment .* it has no .*TopicArn.*MaxKey"):
        cloud.describes({**STACK, "Outputs": [], "Parameters": []})


def test_a_stack_that_is_not_there_is_told_with_its_region(cloud: Cloud) -> None:
    assert cloud.refuses("ValidationError") == f"There is no stack x in region {REGION}: name it with --stack."
    assert cloud.refuses("AccessDenied").startswith("CloudFormation did not describe x: ")


def test_an_execution_is_named_or_given_by_its_arn(cloud: Cloud) -> None:
    found = cloud.describes(STACK)
    assert found.execution_arn("one") == "the RotateMasterKeyArn:one"
    assert found.execution_arn("arn:aws:states:x") == "arn:aws:states:x"


# --- find ---


@pytest.fixture
def described_as(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of CloudFormation, in place of it."""
    asked: list[Any] = []

    def remember(cloudformation: Any, stack: str, client: Any, clock: Any) -> Deployment:  # noqa: ANN401 - clients
        asked.append((cloudformation.meta.endpoint_url, cloudformation.meta.region_name, stack, client("sts")))
        return Deployment(stack, {}, {}, client, clock)

    monkeypatch.setattr("element_rekey_cli.deployment.described", remember)
    return asked


def test_it_is_found_in_the_usual_aws_environment(described_as: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    find("mine", local=False, clock=FakeClock())
    assert described_as[0][:3] == ("http://127.0.0.1:4566", REGION, "mine")


def test_it_is_found_on_this_machine(described_as: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert local_file() == tmp_path / f"element-rekey-up-{os.getuid()}.json"
    local_file().write_text(json.dumps(WHERE))
    find("element-rekey", local=True, clock=FakeClock())
    assert described_as[0][:3] == ("http://127.0.0.1:4566", "us-east-1", "mine")


def test_the_region_has_two_names_in_the_environment(described_as: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    find("mine", local=False, clock=FakeClock())
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    find("mine", local=False, clock=FakeClock())
    assert [asked[1] for asked in described_as] == [REGION, "eu-west-3"]


def test_without_a_region_it_says_how_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(CommandFailed, match="No AWS region is set"):
        find("element-rekey", local=False, clock=FakeClock())


@pytest.mark.parametrize(("local", "words"), [(False, "AWS did not answer"), (True, "Is `make up` still running")])
def test_an_endpoint_that_is_gone_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    local: bool,  # noqa: FBT001 - a case
    words: str,
) -> None:
    def gone(*_: object) -> Deployment:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    monkeypatch.setattr("element_rekey_cli.deployment.described", gone)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    local_file().write_text(json.dumps(WHERE))
    with pytest.raises(CommandFailed, match=words):
        find("element-rekey", local=local, clock=FakeClock())


# --- the local file ---


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "up.json"


def refused(file: Path) -> str:
    with pytest.raises(CommandFailed) as raised:
        read_local(file)
    return str(raised.value)


def test_where_nothing_runs_it_says_how_to_start_it(file: Path) -> None:
    assert refused(file) == f"Nothing runs here: {file} is not there. Start it with `make up`."


@pytest.mark.parametrize("name", LOCAL_MEMBERS)
def test_what_is_missing_is_named(file: Path, name: str) -> None:
    file.write_text(json.dumps({key: value for key, value in WHERE.items() if key != name}))
    assert refused(file) == f"{file} does not say {name}. Start `make up` again."


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("[]", "does not say endpointUrl, region")])
def test_what_is_no_such_file_is_refused(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    assert words in refused(file)


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_file_that_others_can_write_is_not_read(file: Path, mode: int) -> None:
    file.write_text(json.dumps(WHERE))
    file.chmod(mode)
    assert refused(file) == f"{file} can be written by somebody else: it is not read."


def test_a_file_of_somebody_else_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(json.dumps(WHERE))
    monkeypatch.setattr(os, "getuid", lambda: file.stat().st_uid + 1)
    assert refused(file) == f"{file} can be written by somebody else: it is not read."

"""The embedded engine, with a function of our own where the application's would not show what is asked."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local import engine as engine_module
from local.aws import connect, isolated_session
from local.deployment import DeploymentFailed, deploy
from local.engine import Engine, EngineFailed
from tests.local.processes import eventually_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.aws import Aws
    from local.deployment import Deployment

PROBE = Path(__file__).with_name("probe")

pytestmark = pytest.mark.xdist_group("engine")


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_PROFILE", "nobody")
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        patch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
        patch.setenv("PYTHONPATH", "/no/such/folder")
        patch.setenv("A_SECRET_OF_THE_USER", "for nobody's eyes")
        with Engine(wait_scale=0.0) as engine:
            yield engine


@pytest.fixture(scope="module")
def aws(running: Engine) -> Aws:
    return connect(running.endpoint_url)


@pytest.fixture(scope="module")
def probe(aws: Aws) -> Deployment:
    return deploy(aws, {"Word": "from a parameter"}, PROBE / "template.yaml")


def output_of(probe: Deployment, request: dict[str, Any]) -> dict[str, Any]:
    execution = probe.start(request, "Machine")
    while probe.status(execution) == "RUNNING":
        time.sleep(0.05)
    return dict(probe.aws.stepfunctions.describe_execution(executionArn=execution))


def test_retry_and_catch_go_by_the_class_of_the_exception(probe: Deployment) -> None:
    assert json.loads(output_of(probe, {"do": "fail twice"})["output"])["attempt"] == 3
    assert json.loads(output_of(probe, {"do": "refuse"})["output"]) == {"caught": "Refused"}
    failed = output_of(probe, {"do": "break"})
    assert (failed["status"], failed["error"]) == ("FAILED", "ZeroDivisionError")


def test_a_function_sees_what_aws_would_give_it_and_nothing_of_the_user(probe: Deployment) -> None:
    seen = json.loads(output_of(probe, {"do": "show the environment"})["output"])["environment"]
    assert seen["WORD"] == "from a parameter"
    assert seen["AWS_LAMBDA_LOG_FORMAT"] == "JSON"
    assert "A_SECRET_OF_THE_USER" not in seen
    assert "AWS_PROFILE" not in seen
    assert not [name for name in seen if "PROXY" in name.upper() or "BUNDLE" in name]
    assert not {"AUTH", "GATEWAY_PORT", "LOG_LEVEL", "SFN_WAIT_SCALE", "STATE_DIR"} & seen.keys()
    # The rest is Lambda's own, the shell's, or harmless; anything new deserves a look.
    assert {name for name in seen if not name.startswith(("AWS_", "_"))} <= {
        "HOME",
        "LANG",
        "LAMBDA_TASK_ROOT",
        "OLDPWD",
        "PATH",
        "PWD",
        "SHLVL",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "TMPDIR",
        "WORD",
    }
    assert seen["HOME"] != str(Path.home())


def test_the_layer_is_on_the_path(probe: Deployment) -> None:
    assert json.loads(output_of(probe, {"do": "greet"})["output"]) == {"greeting": "hello from the layer"}


def test_a_role_may_do_what_its_policy_says_and_no_more(aws: Aws, probe: Deployment) -> None:
    for name in ("allowed/one", "other/one"):
        aws.secretsmanager.create_secret(Name=name, SecretString="x")
    assert json.loads(output_of(probe, {"do": "read", "secret": "allowed/one"})["output"]) == {"read": "x"}
    denied = output_of(probe, {"do": "read", "secret": "other/one"})
    assert "AccessDeniedException" in denied["cause"]


def test_an_alarm_that_changes_its_state_is_an_event(running: Engine, probe: Deployment) -> None:
    cloudwatch: Any = isolated_session().client("cloudwatch", endpoint_url=running.endpoint_url)
    cloudwatch.set_alarm_state(AlarmName="probe-alarm", StateValue="ALARM", StateReason="a test says so")
    (message,) = probe.aws.sqs.receive_message(QueueUrl=probe.outputs["QueueUrl"], WaitTimeSeconds=10)["Messages"]
    event = json.loads(message["Body"])
    assert (event["source"], event["detail-type"]) == ("aws.cloudwatch", "CloudWatch Alarm State Change")
    assert event["detail"]["alarmName"] == "probe-alarm"
    assert event["detail"]["state"]["value"] == "ALARM"
    assert event["detail"]["previousState"]["value"] != "ALARM"
    assert event["resources"][0].endswith(":alarm:probe-alarm")


def test_a_template_that_cannot_be_deployed_is_one_sentence(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {Broken: {Type: 'AWS::No::Such', Properties: {}}}")
    with Engine() as engine, pytest.raises(DeploymentFailed, match=r"AWS::No::Such.*\.$"):
        deploy(connect(engine.endpoint_url), template=template)


def test_only_the_loopback_interface_is_listened_on(running: Engine) -> None:
    assert running.endpoint_url.startswith("http://127.0.0.1:")


def test_it_ends_with_its_block_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Engine() as engine:
        assert list(tmp_path.iterdir())
    assert eventually_gone(engine.pid)
    assert list(tmp_path.iterdir()) == []


def test_one_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Engine() as engine:
        engine.wait(0)  # alive: nothing is raised
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="killed by SIGKILL"):
            engine.wait()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys; sys.exit('the reason of it')", "did not start: the reason of it."),
        ("import sys; sys.exit(3)", "did not start: exit status 3."),
        (
            "import socket; s = socket.create_server(('127.0.0.1', 0)); print('{\"port\": %d}' % s.getsockname()[1])",
            "did not start",
        ),
    ],
)
def test_one_that_does_not_start_is_reported_with_the_reason(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "launcher.py"
    launcher.write_text(source)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(engine_module, "LAUNCHER", launcher)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with pytest.raises(EngineFailed, match=words), Engine():
        pass
    assert list(temporary.iterdir()) == []


def test_another_version_of_ministack_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = tmp_path / "launcher.py"
    real = engine_module.LAUNCHER.read_text(encoding="utf-8")
    launcher.write_text(real.replace('WRITTEN_FOR = "', 'WRITTEN_FOR = "0.'))
    monkeypatch.setattr(engine_module, "LAUNCHER", launcher)
    with pytest.raises(EngineFailed, match=r"needs ministack 0\.1\.5\.33, here is 1\.5\.33"), Engine():
        pass

"""``python -m local``: what it prints, its exit status, and that nothing of it stays, whatever ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from local.__main__ import main
from local.aws import connect
from local.fleet import counted, result_text
from local.rotate import FAILING_PHASES
from local.simulator import ClusterSpec, Simulator
from tests.local.processes import ROOT, Command, eventually_gone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = ("--rekey-seconds", "1")
SLOW = ("--rekey-seconds", "60")
STATEMENT = "local: The embedded AWS engine ended unexpectedly: killed by SIGKILL.\n"


def test_json_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    with Command(tmp_path, "rotate", "--json", "--reason", "because", *QUICK) as command:
        status, out, err = command.end()
    notification = json.loads(out)
    assert (status, notification["outcome"], notification["reason"]) == (0, "Rotated", "because")
    assert "CheckStatus" in err
    assert command.left_behind() == []


def test_output_without_a_terminal_is_plain_lines(tmp_path: Path) -> None:
    with Command(tmp_path, "rotate", "--external", *QUICK) as command:
        status, out, err = command.end()
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    for words in ("StartRekey", "Key before", "Key after", "External, provider 15", "Cost", "Rotated:"):
        assert words in out


def test_dry_run_that_would_rotate_is_a_success(tmp_path: Path) -> None:
    with Command(tmp_path, "rotate", "--dry-run", "--json") as command:
        status, out, _ = command.end()
    assert (status, json.loads(out)["outcome"]) == (0, "Planned")


def test_failed_rotation_is_no_success(tmp_path: Path) -> None:
    with Command(tmp_path, "rotate", "--fail", FAILING_PHASES[0], *QUICK) as command:
        status, out, _ = command.end()
    assert status == 1
    assert "RekeyFailed" in out


@pytest.mark.parametrize(
    "arguments",
    [(), ("rotate", "--fail", "NoSuchPhase"), ("up", "--names", "prod-a", "--clusters", "2")],
)
def test_usage_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Command(tmp_path, *arguments) as command:
        status, out, err = command.end()
    assert (status, out) == (2, "")
    assert "usage:" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("rotate --rekey-seconds 0", "argument --rekey-seconds: must be a number above zero, not 0"),
        ("rotate --rekey-seconds soon", "argument --rekey-seconds: must be a number above zero, not soon"),
        ("rotate --dry-run --fail RewrapDataEncryptionKeys", "--fail is about a rekey, and --dry-run sends none"),
        ("rotate --dry-run --trigger alarm", "--dry-run and --external are said by hand, not by --trigger alarm"),
        ("fleet --clusters 0", "argument --clusters: must be a whole number from 1 up, not 0"),
        ("fleet --clusters two", "argument --clusters: must be a whole number from 1 up, not two"),
        ("fleet --concurrency 0", "argument --concurrency: must be a whole number from 1 up, not 0"),
        ("fleet --clusters 4 --due 5", "--due 5 is more than --clusters 4"),
        ("fleet --clusters 4 --fail 5", "--fail 5 is more than the 4 that are due"),
        ("fleet --due 2 --fail 3", "--fail 3 is more than the 2 that are due"),
        ("up --wait-scale 2", "argument --wait-scale: must be a number from 0 to 1, not 2"),
        ("up --wait-scale nan", "argument --wait-scale: must be a number from 0 to 1, not nan"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: str, sentence: str
) -> None:
    try:
        status: object = main(arguments.split())
    except SystemExit as ended:  # how argparse refuses
        status = ended.code
    assert status == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f": {sentence}")


def test_an_unknown_target_of_make_is_one_sentence() -> None:
    done = subprocess.run(["make", "-s", "rotat"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - on the path
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("There is no target rotat; make help lists those there are.\n")


def test_a_command_interrupted_before_it_has_begun_ends_without_a_word(tmp_path: Path) -> None:
    slow = tmp_path / "slow" / "rich"
    slow.mkdir(parents=True)
    (slow / "__init__.py").write_text("import signal\nprint('importing', flush=True)\nsignal.pause()\n")
    with Command(tmp_path, "rotate", PYTHONPATH=str(slow.parent)) as command:
        command.read_until("importing")
        interrupt(command)
        ended = command.end()
    assert ended == (-signal.SIGINT, "", "")
    assert command.left_behind() == ["slow"]


@pytest.mark.parametrize(
    ("due", "unproven", "touched", "words"),
    [
        (2, [], [], "2 clusters due, all rotated and verified; no other was touched"),
        (1, [], [], "1 cluster due, all rotated and verified; no other was touched"),
        (2, ["b"], [], "1 of 2 clusters due rotated and verified; not so: b"),
        (2, ["b"], ["c", "d"], "rotated although nothing was due there: c, d"),
    ],
)
def test_the_last_line_of_a_fleet_run(due: int, unproven: list[str], touched: list[str], words: str) -> None:
    assert result_text(due, unproven, touched) == words


def test_one_is_counted_as_one() -> None:
    assert [counted(number, "other") for number in (0, 1, 2)] == ["0 others", "1 other", "2 others"]


THEIRS = {
    "AWS_PROFILE": "no-such-profile",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_REGION": "eu-central-1",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_CA_BUNDLE": "/no/such/bundle.pem",
    "REQUESTS_CA_BUNDLE": "/no/such/bundle.pem",
    "SSL_CERT_FILE": "/no/such/bundle.pem",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}


def test_two_at_the_same_time_one_of_them_among_hostile_settings(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    arguments = ("rotate", "--json", *QUICK)
    with Command(folders[0], *arguments) as one, Command(folders[1], *arguments, **THEIRS) as two:
        results = [one.end(), two.end()]
    assert [status for status, _, _ in results] == [0, 0], results
    assert len({json.loads(out)["newKey"]["keyID"] for _, out, _ in results}) == 2
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def interrupt_group(command: Command) -> None:
    os.killpg(command.process.pid, signal.SIGINT)


def interrupt(command: Command) -> None:
    command.process.send_signal(signal.SIGINT)


def interrupt_thrice(command: Command) -> None:
    for _ in range(3):
        command.process.send_signal(signal.SIGINT)


def terminate(command: Command) -> None:
    command.process.terminate()


def kill_engine(command: Command) -> None:
    os.kill(command.engine(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        (interrupt_group, 130, ""),
        (interrupt, 130, ""),
        (interrupt_thrice, 130, ""),
        (terminate, 143, ""),
        (kill_engine, 1, STATEMENT),
    ],
)
def test_rotation_cut_short_leaves_nothing(
    tmp_path: Path, how: Callable[[Command], None], status: int, words: str
) -> None:
    with Command(tmp_path, "rotate", *SLOW) as command:
        command.read_until("StartRekey")
        engine = command.engine()
        how(command)
        ended, _, err = command.end()
    assert (ended, err) == (status, words)
    assert eventually_gone(engine)
    assert command.left_behind() == []


@pytest.mark.parametrize(("arguments", "word"), [(("rotate", *SLOW), "StartRekey"), (("up",), "endpointUrl")])
def test_nothing_outlives_a_command_that_was_killed(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    with Command(tmp_path, *arguments) as command:
        command.read_until(word)
        engine = command.engine()
        command.process.kill()
        command.end()
    assert eventually_gone(engine)
    assert command.eventually_left_behind() == []


@pytest.mark.parametrize("how", [interrupt_group, terminate])
def test_up_says_where_everything_is_until_it_is_stopped(tmp_path: Path, how: Callable[[Command], None]) -> None:
    with Command(tmp_path, "up", "--names", "prod-a,west") as command:
        addresses = command.first_line()
        engine = command.engine()
        file = tmp_path / f"element-rekey-up-{os.getuid()}.json"
        assert json.loads(file.read_text()) == {"pid": command.process.pid, **addresses}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        how(command)
        status, rest, err = command.end()
    assert (status, rest) == (0, "")
    assert [cluster["name"] for cluster in addresses["clusters"]] == ["prod-a", "west"]
    assert "with the clusters prod-a, west." in err
    assert f"export AWS_ENDPOINT_URL={addresses['endpointUrl']} AWS_REGION=us-east-1" in err
    assert 'eval "$(make -s env)"' in err
    assert "--input file://events/rotate.json" in err
    assert eventually_gone(engine)
    assert command.left_behind() == []


def test_up_reports_that_the_engine_died(tmp_path: Path) -> None:
    with Command(tmp_path, "up") as command:
        command.first_line()
        kill_engine(command)
        status, _, err = command.end()
    assert status == 1
    assert err.endswith(STATEMENT)
    assert command.left_behind() == []


def test_anybody_can_drive_it_and_register_a_cluster_of_their_own(tmp_path: Path) -> None:
    own = ClusterSpec(name="mine", rekey_seconds=0.5)
    with Simulator([own]) as simulator, Command(tmp_path, "up", "--wait-scale", "0.02") as command:
        addresses = command.first_line()
        aws = connect(addresses["endpointUrl"])
        aws.secretsmanager.create_secret(
            Name=f"{addresses['secretPrefix']}/mine", SecretString=json.dumps(simulator["mine"].registration())
        )
        aws.stepfunctions.start_execution(
            stateMachineArn=addresses["stateMachineArns"]["RotateMasterKey"], input=json.dumps({"cluster": "mine"})
        )
        published = receive(aws.sqs, addresses["queueUrl"])
        assert (published["cluster"], published["outcome"]) == ("mine", "Rotated")
        assert aws.dynamodb.describe_table(TableName=addresses["tableName"])["Table"]["TableStatus"] == "ACTIVE"
        assert (
            aws.sns.get_topic_attributes(TopicArn=addresses["topicArn"])["Attributes"]["TopicArn"]
            == addresses["topicArn"]
        )
        told = command.read_errors_until("  mine  ").splitlines()[-1]
        assert re.fullmatch(r"  \d\d:\d\d:\d\d  mine  Rotated: master key replaced and verified", told)


def receive(sqs: Any, queue_url: str) -> dict[str, Any]:  # noqa: ANN401 - an SQS client
    answer = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=20)
    return dict(json.loads(answer["Messages"][0]["Body"]))

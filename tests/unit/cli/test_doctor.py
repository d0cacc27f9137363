"""``element-rekey doctor``: the deployment's hops, a cluster's, and a meeting without AWS."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.errors import AwsCallFailed
from element_rekey.outcomes import Outcome
from element_rekey.records import Execution, Failure, Request, Rotation
from element_rekey_cli.commands import doctor as module
from element_rekey_cli.hops import Hop, bad, good
from element_rekey_cli.meeting import Meeting
from tests.fakes import NOW
from tests.unit.cli.golden import assert_is
from tests.unit.cli.harness import USER, moto_client
from tests.unit.cli.schemas import assert_valid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.cli.harness import Harness

MAIL = {"Protocol": "email", "Endpoint": "ops@example.com", "SubscriptionArn": "arn:aws:sns:x"}
REGISTRATION = {"mvip": "192.0.2.1", "username": "rekey", "password": "s3cr3t"}


@dataclass
class Around:
    """What the deployment has around it."""

    subscriptions: list[dict[str, str]] = field(default_factory=lambda: [MAIL])
    dead_letters: int = 0

    def get_paginator(self, _operation: str) -> Around:
        return self

    def paginate(self, **_: str) -> Iterator[dict[str, Any]]:
        yield {"Subscriptions": self.subscriptions}

    def get_queue_attributes(self, **_: object) -> dict[str, Any]:
        return {"Attributes": {"ApproximateNumberOfMessages": str(self.dead_letters)}}


@pytest.fixture
def around(harness: Harness) -> Around:
    """The deployment, well; a person looks at it through a pipe."""
    made = Around()
    harness.others |= {"sns": made, "sqs": made}
    harness.deployment.parameters["ScheduleState"] = "ENABLED"  # type: ignore[index]  # a dictionary of the test's own
    harness.terminal = False
    return made


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Hop]:
    """What this machine sees of the cluster."""
    seen = [good("registration", "valid"), good("name", "mvip is 192.0.2.1")]
    monkeypatch.setattr(Meeting, "hops", lambda _self: iter(seen))
    return seen


def register(cluster: str = "prod-a", text: str = json.dumps(REGISTRATION)) -> None:
    moto_client("secretsmanager").create_secret(Name=f"element-rekey/{cluster}", SecretString=text)


def dry_run_ends(harness: Harness, **changes: Any) -> None:  # noqa: ANN401 - members
    def begin(execution: str, given: dict[str, Any]) -> None:
        assert given == {"cluster": "prod-a", "reason": "element-rekey doctor", "requestedBy": USER, "dryRun": True}
        harness.ledger.save(
            Rotation(Execution(execution, NOW), "prod-a", Request("prod-a", dry_run=True), ended_at=NOW, **changes)
        )

    harness.steps.on_start = begin


PLANNED = {"outcome": Outcome.PLANNED, "detail": "Would replace the current key.", "cluster_uuid": "u"}


def test_a_deployment_that_is_well(harness: Harness, around: Around) -> None:
    assert around.dead_letters == 0
    register()
    ran = harness.run("doctor")
    assert_is("doctor.txt", ran.out)
    assert ran.code == 0


def test_on_a_terminal_it_fits(harness: Harness, around: Around) -> None:
    harness.terminal = True
    around.subscriptions = [MAIL, {**MAIL, "Endpoint": "somebody.else@a-rather-long-name.example.com"}]
    ran = harness.run("doctor")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "                        somebody.else@a-rather-long-name.example.com" in ran.out


def verdicts(harness: Harness, *arguments: str) -> tuple[dict[str, str], dict[str, str]]:
    document = harness.run("doctor", *arguments, "--json").document
    assert_valid("command-doctor.v1", document)
    by_name = {one["name"]: one for one in document["hops"]}
    assert document["well"] is all(one["verdict"] != "FAIL" for one in document["hops"])
    return {name: one["verdict"] for name, one in by_name.items()}, {name: one["says"] for name, one in by_name.items()}


def test_what_is_wrong_with_a_deployment_is_told_with_what_mends_it(harness: Harness, around: Around) -> None:
    harness.deployment.parameters["ScheduleState"] = "DISABLED"  # type: ignore[index]  # as above
    around.subscriptions = []
    around.dead_letters = 3
    ran = harness.run("doctor")
    assert_is("doctor-ill.txt", ran.out)
    assert ran.code == 1


def test_a_subscription_that_nobody_confirmed_fails(harness: Harness, around: Around) -> None:
    around.subscriptions = [MAIL, {**MAIL, "SubscriptionArn": "PendingConfirmation", "Endpoint": "new@example.com"}]
    said = verdicts(harness)
    assert said[0]["subscriptions"] == "FAIL"
    assert said[1]["subscriptions"] == "not confirmed: new@example.com"


def test_a_cluster_is_looked_at_by_the_functions_and_from_here(
    harness: Harness, around: Around, hops: list[Hop]
) -> None:
    assert around.dead_letters == 0
    register()
    dry_run_ends(harness, **PLANNED)
    said, says = verdicts(harness, "prod-a")
    assert list(said) == [
        "stack",
        "schedule",
        "subscriptions",
        "dead letters",
        "secret",
        "functions",
        *(one.name for one in hops),
    ]
    assert says["functions"] == "Planned: Would replace the current key."
    harness.clock.advance(1)
    assert harness.run("doctor", "prod-a").code == 0


def test_what_only_the_functions_reach_is_no_failure(harness: Harness, around: Around, hops: list[Hop]) -> None:
    assert around.dead_letters == 0
    register()
    dry_run_ends(harness, **PLANNED)
    hops.append(bad("port", "nobody answers", "Check."))
    said, _ = verdicts(harness, "prod-a")
    assert (said["port (here)"], "port" in said) == ("note", False)


REFUSED = {"outcome": Outcome.WOULD_BE_REFUSED}
AWAY = Failure("ClusterUnavailable", "No answer.", "Check.")
STAGED = Failure("UpgradePending", "Staged.", "Wait.")


@pytest.mark.parametrize(
    ("changes", "says", "reached"),
    [
        ({**REFUSED, "failure": AWAY}, "ClusterUnavailable: No answer.", False),
        ({**REFUSED, "failure": STAGED, "cluster_uuid": "u"}, "UpgradePending: Staged.", True),
        ({"outcome": Outcome.FAILED}, "their dry run ended without an answer", False),
    ],
)
def test_what_the_functions_cannot_do_fails(
    harness: Harness,
    around: Around,
    hops: list[Hop],
    changes: dict[str, Any],
    says: str,
    reached: bool,  # noqa: FBT001 - a case
) -> None:
    assert around.dead_letters == 0
    register()
    dry_run_ends(harness, **changes)
    hops.append(bad("port", "nobody answers", "Check."))
    said, told = verdicts(harness, "prod-a")
    assert (said["functions"], told["functions"]) == ("FAIL", says)
    assert ("port (here)" in said) is reached


def test_functions_that_come_to_no_end_fail(harness: Harness, around: Around, hops: list[Hop]) -> None:
    assert around.dead_letters == 0
    register()
    said, says = verdicts(harness, "prod-a")
    assert said["functions"] == "FAIL"
    assert says["functions"] == "their dry run came to no end within 60 s; it goes on"
    assert said[hops[-1].name] == "ok"


def test_a_cluster_nobody_registered_is_looked_at_no_further(harness: Harness, around: Around) -> None:
    assert around.dead_letters == 0
    said, says = verdicts(harness, "nobody")
    assert list(said)[-1] == "secret"
    assert says["secret"].startswith("ClusterNotRegistered: ")


def test_a_secret_that_makes_no_sense_fails_and_the_functions_look_all_the_same(
    harness: Harness, around: Around, hops: list[Hop]
) -> None:
    assert around.dead_letters == 0
    register(text="{}")
    dry_run_ends(harness, outcome=Outcome.FAILED)
    said, says = verdicts(harness, "prod-a")
    assert says["secret"].startswith("RegistrationInvalid: ")
    assert said["functions"] == "FAIL"
    assert hops[0].name not in said


def test_a_secret_that_only_the_functions_may_read_is_no_failure(
    harness: Harness, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert around.dead_letters == 0

    def denied(_cluster: str) -> None:
        raise AwsCallFailed("Secrets Manager did not give it: AccessDenied")

    monkeypatch.setattr(harness.deployment.registry, "registration", denied)
    dry_run_ends(harness, **PLANNED)
    said, _ = verdicts(harness, "prod-a")
    assert (said["secret"], said["functions"]) == ("note", "ok")


# --- without AWS ---


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "prod-a.json"
    made.write_text(json.dumps(REGISTRATION))
    return made


def test_a_first_meeting_needs_no_aws(harness: Harness, hops: list[Hop], file: Path, tmp_path: Path) -> None:
    harness.terminal = False

    def nowhere(*_: object, **__: object) -> None:
        raise AssertionError("AWS was asked")

    harness.find = nowhere
    kept = tmp_path / "answers.json"
    ran = harness.run("doctor", "--direct", str(file), "--save", str(kept))
    assert ran.code == 0
    assert [line.split()[1] for line in ran.out.splitlines()[: len(hops)]] == [one.name for one in hops]
    assert json.loads(kept.read_text())["schema"] == "element-rekey.answers.v1"


def test_it_says_of_every_answer_whether_its_shape_is_known(
    harness: Harness, hops: list[Hop], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [("GetAPI", "one we know"), ("ListClusterFaults", "not one we know: ListClusterFaults.faults")]
    monkeypatch.setattr(module, "answered", lambda _meeting: iter(shapes))
    document = harness.run("doctor", "--direct", str(file), "--json").document
    assert [(one["verdict"], one["says"]) for one in document["hops"][len(hops) :]] == [
        ("ok", "GetAPI: one we know"),
        ("note", "ListClusterFaults: not one we know: ListClusterFaults.faults"),
    ]


def nothing(file: Path) -> None:
    file.unlink()


def no_json(file: Path) -> None:
    file.write_text('{"password": s3cr3t}')


@pytest.mark.parametrize(("spoil", "words"), [(nothing, "No such file"), (no_json, "it is not JSON")])
def test_a_file_that_cannot_be_read_is_named_and_not_quoted(
    harness: Harness, file: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(file)
    ran = harness.run("doctor", "--direct", str(file))
    assert ran.code == 2
    assert f"{file} cannot be read: {words}" in ran.err
    assert "s3cr3t" not in ran.err


@pytest.mark.parametrize("arguments", [("prod-a", "--direct", "x.json"), ("--save", "x.json")])
def test_options_that_make_no_sense_together_are_refused(harness: Harness, arguments: tuple[str, ...]) -> None:
    assert harness.run("doctor", *arguments).code == 2

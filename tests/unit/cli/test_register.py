"""``element-rekey register`` and ``unregister``: what is asked, what is looked at, and what is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from element_rekey_cli.commands import register as module
from element_rekey_cli.commands.register import Wanted
from element_rekey_cli.hops import Hop, bad, good
from element_rekey_cli.meeting import Meeting, Presented
from tests.fakes import NOW
from tests.unit.cli.harness import moto_client
from tests.unit.cli.scenario import well
from tests.unit.cli.schemas import assert_valid
from tests.unit.samples import DAY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.harness import Harness

PIN = ":".join(["5A"] * 32)
ADDRESS = ("--mvip", "192.0.2.1", "--username", "rekey")
PASSWORD = "s3cr3t"


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Hop]:
    """What a look at the cluster finds."""
    found = [good("cluster", "uuid-1 (prod-a)")]

    def look(meeting: Meeting) -> Any:  # noqa: ANN401 - an iterator
        meeting.uuid = "uuid-1" if found[0].name == "cluster" else ""
        return iter(found)

    monkeypatch.setattr(Meeting, "hops", look)
    monkeypatch.setattr(module, "presented", lambda _host, _port, _name: Presented(PIN, NOW + DAY))
    return found


def secret(cluster: str = "prod-a") -> tuple[dict[str, Any], dict[str, str]]:
    """The value of a secret, and its tags."""
    manager = moto_client("secretsmanager")
    name = f"element-rekey/{cluster}"
    tags = manager.describe_secret(SecretId=name).get("Tags", [])
    return json.loads(manager.get_secret_value(SecretId=name)["SecretString"]), {
        tag["Key"]: tag["Value"] for tag in tags
    }


def registered() -> list[str]:
    return [one["Name"] for one in moto_client("secretsmanager").list_secrets()["SecretList"]]


def test_what_is_missing_is_asked_for_and_the_certificate_is_confirmed(harness: Harness, hops: list[Hop]) -> None:
    ran = harness.run("register", "prod-a", "--max-key-age-days", "30", given=f"192.0.2.1\nrekey\n{PASSWORD}\ny\n")
    assert ran.code == 0, ran.err
    assert secret() == (
        {"mvip": "192.0.2.1", "username": "rekey", "password": PASSWORD, "certificateFingerprint": PIN},
        {"element-rekey:max-key-age-days": "30"},
    )
    assert f"  {PIN}" in ran.out
    assert "valid until 2026-11-24 03:00:00 UTC" in ran.out
    assert hops[0].says in ran.out
    assert "prod-a: Registered.\nNext: element-rekey rotate prod-a --dry-run\n" in ran.out
    assert PASSWORD not in ran.out + ran.err


def test_a_certificate_that_is_not_confirmed_registers_nothing(harness: Harness, hops: list[Hop]) -> None:
    ran = harness.run("register", "prod-a", *ADDRESS, given=f"{PASSWORD}\nn\n")
    assert (ran.code, registered()) == (1, [])
    assert "prod-a: Its certificate was not confirmed." in ran.out
    assert hops[0].says not in ran.out


def test_a_certificate_can_be_named_before(harness: Harness, hops: list[Hop]) -> None:
    ran = harness.run("register", "prod-a", *ADDRESS, "--fingerprint", PIN, "--json", given=f"{PASSWORD}\n")
    assert_valid("command-registration.v1", ran.document)
    assert ran.document["clusters"] == [
        {
            "cluster": "prod-a",
            "registered": True,
            "changed": True,
            "detail": "Registered.",
            "clusterUUID": "uuid-1",
            "certificateFingerprint": PIN,
        }
    ]
    assert hops[0].says in ran.err


def test_a_certificate_can_be_of_an_authority(harness: Harness, hops: list[Hop], tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----")
    options = ("--ca-bundle", str(bundle), "--server-name", "mvip.example.com")
    assert harness.run("register", "prod-a", *ADDRESS, *options, given=f"{PASSWORD}\n").code == 0
    value, tags = secret()
    assert (value["caBundle"], value["serverName"], tags) == (bundle.read_text(), "mvip.example.com", {})
    assert "certificateFingerprint" not in value
    assert hops


def test_a_key_of_ones_own_encrypts_the_secret(harness: Harness, hops: list[Hop]) -> None:
    kms = "arn:aws:kms:eu-central-1:123456789012:key/one"
    harness.deployment.parameters["SecretKmsKeyArn"] = kms  # type: ignore[index]  # a dictionary of the test's own
    harness.run("register", "prod-a", *ADDRESS, "--fingerprint", PIN, given=f"{PASSWORD}\n")
    assert moto_client("secretsmanager").describe_secret(SecretId="element-rekey/prod-a")["KmsKeyId"] == kms
    assert hops


def test_without_a_date_the_fingerprint_is_shown_alone(
    harness: Harness, hops: list[Hop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "presented", lambda *_: Presented(PIN, None))
    ran = harness.run("register", "prod-a", *ADDRESS, given=f"{PASSWORD}\ny\n")
    assert "presents a certificate, with the SHA-256 fingerprint" in ran.out
    assert hops


def unreachable(*_: object) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def test_where_nobody_answers_nothing_is_registered(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "presented", unreachable)
    ran = harness.run("register", "prod-a", *ADDRESS, given=f"{PASSWORD}\n")
    assert (ran.code, registered()) == (1, [])
    assert "Its certificate cannot be fetched from 192.0.2.1: [Errno 111] Connection refused." in ran.out


def test_an_address_that_is_none_is_told(harness: Harness) -> None:
    ran = harness.run("register", "prod-a", "--mvip", "https://x", "--username", "u", given=f"{PASSWORD}\n")
    assert (ran.code, registered()) == (1, [])
    assert "mvip must be an IP address or a host name" in ran.out


def test_a_cluster_that_this_machine_does_not_reach_can_be_registered_unseen(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "presented", unreachable)
    ran = harness.run("register", "prod-a", *ADDRESS, "--unseen", "--json", given=f"{PASSWORD}\n")
    assert ran.code == 0
    assert "clusterUUID" not in ran.document["clusters"][0]


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_cluster_that_is_not_fit_is_asked_about(harness: Harness, hops: list[Hop], answer: str, code: int) -> None:
    hops.append(bad("release", "an upgrade is pending", "Wait."))
    ran = harness.run("register", "prod-a", *ADDRESS, "--fingerprint", PIN, given=f"{PASSWORD}\n{answer}\n")
    assert (ran.code, len(registered())) == (code, 1 - code)


def test_a_cluster_that_does_not_say_who_it_is_is_not_registered(harness: Harness, hops: list[Hop]) -> None:
    hops[:] = [bad("login", "CredentialsRefused: HTTP 401", "Correct it.")]
    ran = harness.run("register", "prod-a", *ADDRESS, "--fingerprint", PIN, given=f"{PASSWORD}\n")
    assert (ran.code, registered()) == (1, [])
    assert "It was looked at, and is not fit; see above." in ran.out


@pytest.mark.parametrize(
    ("cluster", "options", "words"),
    [
        ("all", (), "A cluster cannot be called all"),
        ("element-key-compromise-x", (), "Its name begins as those of the alarms"),
        ("a b", (), "The name of its secret is not a cluster's name."),
        ("prod-a", ("--max-key-age-days", "soon"), "expected a whole number of days"),
    ],
)
def test_what_no_run_could_select_is_refused(
    harness: Harness, cluster: str, options: tuple[str, ...], words: str
) -> None:
    ran = harness.run("register", cluster, *ADDRESS, *options)
    assert (ran.code, registered()) == (1, [])
    assert words in ran.out


def test_who_is_registered_already_is_left_as_it_is(harness: Harness) -> None:
    harness.register("prod-a")
    ran = harness.run("register", "prod-a", *ADDRESS)
    assert (ran.code, ran.out) == (0, "prod-a: It is registered already.\n")
    assert secret() == ({}, {})


@pytest.mark.parametrize("tags", [(), ("--max-key-age-days", "30")])
def test_who_was_unregistered_can_be_registered_again(harness: Harness, hops: list[Hop], tags: tuple[str, ...]) -> None:
    harness.register("prod-a", max_key_age_days="60")
    assert harness.run("unregister", "prod-a", "--yes").code == 0
    assert harness.run("status").out == "No cluster is registered.\n"
    ran = harness.run("register", "prod-a", *ADDRESS, "--fingerprint", PIN, *tags, given=f"{PASSWORD}\n")
    assert "prod-a: Registered again; its deleted secret was restored." in ran.out
    value, tagged = secret()
    assert value["password"] == PASSWORD
    assert tagged == ({"element-rekey:max-key-age-days": "30"} if tags else {})
    assert hops


def test_a_secret_that_aws_does_not_make_is_one_sentence(
    harness: Harness, hops: list[Hop], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not you"}}, "CreateSecret")

    monkeypatch.setattr(moto_client("secretsmanager"), "create_secret", denied)
    ran = harness.run("register", "prod-a", *ADDRESS, "--fingerprint", PIN, given=f"{PASSWORD}\n")
    assert (ran.code, PASSWORD in ran.err) == (3, False)
    assert hops


@pytest.mark.parametrize("arguments", [(), ("prod-a", "--from-file", "x.csv")])
def test_a_cluster_or_a_file_is_named(harness: Harness, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "x.csv").write_text("")
    named = tuple(str(tmp_path / one) if one == "x.csv" else one for one in arguments)
    assert harness.run("register", *named).code == 2


# --- many ---

HEADINGS = "cluster,mvip,username,password,certificateFingerprint,maxKeyAgeDays"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.csv"


def test_many_are_registered_from_a_file(harness: Harness, hops: list[Hop], file: Path) -> None:
    harness.register("prod-c")
    rows = (f"prod-a,192.0.2.1,rekey,{PASSWORD},{PIN},30", f"all,x,u,{PASSWORD},{PIN},", "prod-c,x,u,p,,")
    file.write_text("\n".join([HEADINGS, *rows]), encoding="utf-8-sig")
    ran = harness.run("register", "--from-file", str(file), "--json")
    assert [(one["cluster"], one["registered"], one["changed"]) for one in ran.document["clusters"]] == [
        ("prod-a", True, True),
        ("all", False, False),
        ("prod-c", True, False),
    ]
    assert ran.code == 1
    assert secret()[1] == {"element-rekey:max-key-age-days": "30"}
    assert hops


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cluster,mvip,user\n", "unknown columns: user; known are cluster, mvip, username"),
        ("cluster,mvip\n", "columns missing: username, password"),
        ("", "columns missing: cluster, mvip, username, password"),
        (f"{HEADINGS}\nprod-a,192.0.2.1,rekey,,,\n", "line 2: a value is missing, or there is one too many."),
        (f"{HEADINGS}\na,b,c,d,e,f,g\n", "line 2: a value is missing, or there is one too many."),
        (f"{HEADINGS}\na\n", "line 2: a value is missing, or there is one too many."),
    ],
)
def test_a_file_that_is_wrong_registers_nothing(harness: Harness, file: Path, text: str, words: str) -> None:
    file.write_text(text)
    ran = harness.run("register", "--from-file", str(file))
    assert (ran.code, registered()) == (2, [])
    assert words in ran.err


def test_no_representation_shows_a_password() -> None:
    assert repr(Wanted("prod-a", password=PASSWORD)) == "Wanted(prod-a)"


# --- unregister ---


@pytest.mark.parametrize(("answer", "left"), [("y\n", []), ("n\n", ["element-rekey/prod-a"])])
def test_unregistering_is_asked_about_and_keeps_the_history(harness: Harness, answer: str, left: list[str]) -> None:
    well(harness)
    ran = harness.run("unregister", "prod-a", given=answer)
    assert (ran.code, registered()) == (0, left)
    assert "Rotated" in harness.run("history", "prod-a").out


def test_unregistered_as_a_document(harness: Harness) -> None:
    well(harness)
    ran = harness.run("unregister", "prod-a", "--yes", "--json")
    assert_valid("command-registration.v1", ran.document)
    (line,) = ran.document["clusters"]
    assert (line["registered"], line["changed"]) == (False, True)


def test_while_a_rotation_runs_nobody_is_unregistered(harness: Harness) -> None:
    well(harness)
    running = harness.steps.add("one", NOW, cluster="prod-a")
    harness.steps.happened(running, "TaskStateEntered", NOW, stateEnteredEventDetails={"name": "StartRekey"})
    ran = harness.run("unregister", "prod-a", "--yes")
    assert (ran.code, registered()) == (1, ["element-rekey/prod-a"])
    assert "runs: wait for its end. element-rekey show one" in ran.err


def test_who_is_not_registered_cannot_be_unregistered(harness: Harness) -> None:
    assert harness.run("unregister", "nobody", "--yes").code == 4

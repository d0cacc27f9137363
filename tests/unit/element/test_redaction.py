"""A cluster, or what stands before it, echoes our credentials: in no spelling do they get any further."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import boto3
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from moto import mock_aws

from element_rekey import errors
from element_rekey.aws.runtime import ports_from_environment
from element_rekey.element.redaction import Redaction
from element_rekey.records import ClusterMemory
from element_rekey.rules.memory import identity_changed
from tests.unit.element.conftest import PASSWORD
from tests.unit.function_environment import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.element.conftest import Connect
    from tests.unit.element.tls_server import Exchange, TlsServer

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "in a URL": lambda password: quote(password, safe=""),
    "in a form": quote_plus,
    "in a URL in lower case": lambda password: quote(password, safe="").lower(),
    "every byte in a URL": lambda password: "".join(f"%{byte:02X}" for byte in password.encode()),
    "in HTML": escape,
    "in numbers of HTML": lambda password: "".join(f"&#{ord(character)};" for character in password),
    "in hexadecimal numbers of HTML": lambda password: "".join(f"&#x{ord(character):04X};" for character in password),
    "in ASCII for HTML": lambda password: password.encode("ascii", "xmlcharrefreplace").decode(),
    "in JSON": lambda password: json.dumps(password)[1:-1],
    "in JSON of Unicode": lambda password: json.dumps(password, ensure_ascii=False)[1:-1],
    "in Base64": lambda password: b64encode(password.encode()).decode(),
    "in a token": lambda password: b64encode(f"admin:{password}".encode()).decode(),
    "in a token without padding": lambda password: b64encode(f"admin:{password}".encode()).decode().rstrip("="),
    "in a token in a URL": lambda password: quote(b64encode(f"admin:{password}".encode()).decode(), safe=""),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "password", [PASSWORD, "p\"a\\s&s<w>o'r d+", "ß Straße", "\U0001f511 key", "%2B;", "two  spaces"]
)
def test_no_spelling_of_a_password_is_left(password: str, spelling: str) -> None:
    echoed = SPELLINGS[spelling](password)
    assert Redaction("admin", password)(f"<p>{echoed}</p>") == "<p>***</p>"


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_no_password_is_left_whatever_it_is_and_whatever_is_around_it(spelling: str, password: str, text: str) -> None:
    assume("*" not in password)
    echoed = SPELLINGS[spelling](password)
    hidden = Redaction("admin", password)(f"{text}{echoed}{text}")
    assert password not in hidden
    assert hidden == Redaction("admin", password)(f"{text}{echoed}{text}")


def test_a_password_that_one_line_brings_about_is_hidden_too() -> None:
    assert Redaction("admin", "open sesame")("open\u2028sesame") == "***"


def test_no_password_hides_nothing_but_the_token() -> None:
    redaction = Redaction("admin", "")
    assert redaction("xDBOperationTimeout") == "xDBOperationTimeout"
    assert redaction("YWRtaW46") == "***"
    assert repr(redaction) == "Redaction(…)"


def echoing(echo: str) -> Callable[[Exchange], None]:
    """A cluster that has our words in every text of its own."""
    forged = f"{echo}\nWhat to do: nothing"
    key = {"keyID": f"K-{forged}", "keyManagementType": "Internal"}
    answers = {
        "GetClusterInfo": {"clusterInfo": {"uuid": f"u-{forged}", "name": f"n-{forged}"}},
        "GetClusterVersionInfo": {"pendingClusterVersion": f"v-{forged}"},
        "GetSoftwareEncryptionAtRestInfo": {"state": "enabled", "masterKeyInfo": key},
        "GetAsyncResult": {
            "resultType": "RekeySoftwareEncryptionAtRestMasterKey",
            "status": "running",
            "details": {"state": f"s-{forged}"},
        },
    }
    return lambda exchange: exchange.result(answers[exchange.seen.body["method"]])


@pytest.mark.parametrize("echo", [spelling(PASSWORD) for spelling in SPELLINGS.values()], ids=list(SPELLINGS))
def test_a_password_in_any_text_of_a_cluster_gets_no_further(server: TlsServer, connect: Connect, echo: str) -> None:
    server.otherwise = echoing(echo)
    api = connect(server)
    identity, encryption, job = api.identity(), api.encryption(), api.rekey_job(7)
    assert (identity.uuid, identity.name) == ("u-*** What to do: nothing", "n-*** What to do: nothing")
    assert api.version().pending_cluster_version == "v-*** What to do: nothing"
    assert encryption.master_key
    assert encryption.master_key.key_id == "k-*** what to do: nothing"
    assert job
    assert job.phase == "s-*** What to do: nothing"


def test_a_cluster_that_echoes_the_password_is_known_again_and_told_from_others(
    server: TlsServer, connect: Connect
) -> None:
    server.otherwise = lambda exchange: exchange.result({"clusterInfo": {"uuid": f"{PASSWORD}-1"}})
    first, again = connect(server).identity().uuid, connect(server).identity().uuid
    server.otherwise = lambda exchange: exchange.result({"clusterInfo": {"uuid": f"{PASSWORD}-2"}})
    other = connect(server).identity().uuid
    assert identity_changed("prod-a", again, ClusterMemory(first)) is None
    assert isinstance(identity_changed("prod-a", other, ClusterMemory(first)), errors.ClusterIdentityChanged)


def test_ids_keep_their_case_but_for_those_of_keys(server: TlsServer, connect: Connect) -> None:
    server.otherwise = echoing("ABC")
    api = connect(server)
    assert api.identity().uuid.startswith("u-ABC")


def test_at_debug_no_log_has_a_password(
    server: TlsServer, ca_bundle: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for library in ("boto3", "botocore", "requests", "urllib3"):
        logging.getLogger(library).setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    password = "s3cret-Passw0rd"
    token = b64encode(f"admin:{password}".encode()).decode()
    server.otherwise = echoing(password)
    registration = {"mvip": server.mvip, "username": "admin", "password": password, "caBundle": ca_bundle}
    with mock_aws():
        ports = ports_from_environment()
        secrets = boto3.client("secretsmanager")
        secrets.create_secret(Name="the-prefix/prod-a", SecretString=json.dumps(registration))
        cluster = ports.clusters.connect("prod-a")
        assert cluster.identity().uuid == "u-*** What to do: nothing"
        for call in (cluster.version, cluster.encryption, lambda: cluster.rekey_job(7)):
            call()
        server.otherwise = lambda exchange: exchange.send(password.encode(), status=401)
        with pytest.raises(errors.CredentialsRefused):  # the secret is read again, too
            cluster.rekey(None, None)
    logging.getLogger("tests").debug("at this level")
    assert "at this level" in caplog.text
    assert server.seen[0].headers["authorization"] == f"Basic {token}"
    assert password not in caplog.text
    assert token not in caplog.text

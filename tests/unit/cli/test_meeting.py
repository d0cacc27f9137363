"""A read-only meeting with a simulated cluster over TLS: every hop, what is wrong with it, and what is kept of it."""

from __future__ import annotations

import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey.cluster import Certificate, CertificateOf, EncryptionState, RekeyJob, Unfamiliar
from element_rekey.codec import decode
from element_rekey.element.client import ElementApi
from element_rekey.records import Registration
from element_rekey_cli import meeting as module
from element_rekey_cli.answers_kept import Heard, Listening, document, scrubbed
from element_rekey_cli.hops import Hop, Verdict
from element_rekey_cli.meeting import EXPIRES_SOON, Meeting, answered, presented
from element_rekey_cli.tool import now
from local.simulator import ClusterSpec, Fault, ProviderSpec, Simulator
from tests.fakes import NOW
from tests.unit.samples import DAY, key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator import RunningCluster

INTERNAL, EXTERNAL = "prod-in", "prod-ex"
NETWORK = ["registration", "name", "port", "certificate"]
ELEMENT = ["login", "cluster", "release", "faults", "encryption"]
UNFAMILIAR = (Unfamiliar("encryptionKeyInfo.keyManagementType", '"Somewhere"'),)


@pytest.fixture
def no_network() -> None:
    """Clusters are met over the wire, on loopback."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    specs = [
        ClusterSpec(name=INTERNAL, rekey_seconds=0.1, seed=1, providers=(), fault_cache_seconds=0.0),
        ClusterSpec(name=EXTERNAL, rekey_seconds=0.1, seed=2, key_provider_id=15, self_signed=True, username="j-doe"),
    ]
    with Simulator(specs) as running:
        yield running


@pytest.fixture
def internal(simulator: Simulator) -> Iterator[RunningCluster]:
    yield simulator[INTERNAL]
    simulator[INTERNAL].clear_faults()


@pytest.fixture
def external(simulator: Simulator) -> Iterator[RunningCluster]:
    yield simulator[EXTERNAL]
    simulator[EXTERNAL].clear_faults()


def met(cluster: RunningCluster, **different: object) -> tuple[Meeting, dict[str, Hop]]:
    meeting = Meeting(cluster.name, {**cluster.registration(), **different}, now)
    hops = list(meeting.hops())
    return meeting, {one.name: one for one in hops}


def test_a_cluster_that_is_well_is_well_at_every_hop(internal: RunningCluster) -> None:
    meeting, hops = met(internal)
    assert list(hops) == [*NETWORK, *ELEMENT, "key providers", "a rotation"]
    assert {one.verdict for one in hops.values()} == {Verdict.GOOD}
    assert hops["a rotation"].says == "Would replace the current key."
    assert hops["key providers"].says == "none; keys are internal"
    assert internal.cluster.current_key.key_id in hops["encryption"].says
    assert meeting.uuid
    assert internal.cluster.rekeys == ()


def test_an_external_key_has_its_provider_tested(external: RunningCluster) -> None:
    _, hops = met(external)
    assert "provider 15" in hops["encryption"].says
    assert hops["provider's test"].says == "provider 15 passes"
    assert hops["key providers"].says == "15 with 1 key servers"
    external.inject(Fault(fault="providerTestFails", times=9))
    _, hops = met(external)
    assert hops["provider's test"].verdict is Verdict.BAD
    assert hops["a rotation"].says.startswith("KeyProviderUnusable: ")


@pytest.mark.parametrize(
    ("ends", "verdict", "says"),
    [
        (NOW + 365 * DAY, Verdict.GOOD, "the first of their certificates expires in 365 days"),
        (NOW + 29 * DAY, Verdict.NOTE, "the first of their certificates expires in 29 days"),
        (NOW - DAY, Verdict.NOTE, "the first of their certificates has expired"),
        (None, Verdict.NOTE, "when their certificates expire is not told"),
    ],
)
def test_the_certificates_of_key_servers_are_named_by_their_end(
    external: RunningCluster, monkeypatch: pytest.MonkeyPatch, ends: datetime | None, verdict: Verdict, says: str
) -> None:
    known = (Certificate(CertificateOf.KEY_SERVER, "00", ends, 6),)
    monkeypatch.setattr(ElementApi, "key_server_certificates", lambda *_: known)
    meeting = Meeting(external.name, external.registration(), lambda: NOW)
    (hop,) = (one for one in meeting.hops() if one.name == "key servers")
    assert (hop.verdict, hop.says) == (verdict, says)


def test_a_registration_can_be_read_already(internal: RunningCluster) -> None:
    meeting = Meeting(INTERNAL, decode(Registration, internal.registration()), now)
    assert [one.verdict for one in meeting.hops()] == [Verdict.GOOD] * 11


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mvip": "x", "username": "u"}, "password: missing."),
        ({"mvip": "https://x", "username": "u", "password": "p"}, "mvip must be an IP address or a host name"),
        ({"mvip": "x", "username": "u", "password": "p", "apiVersion": "?"}, "apiVersion must be two numbers"),
        ([], "the input: expected an object"),
    ],
)
def test_a_registration_that_makes_no_sense_ends_it(given: object, words: str) -> None:
    (hop,) = Meeting("prod-a", given, now).hops()
    assert (hop.name, hop.verdict) == ("registration", Verdict.BAD)
    assert words in hop.says
    assert hop.mend


def test_a_name_that_does_not_resolve_ends_it(internal: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    _, hops = met(internal, mvip="mvip.example.com")
    assert list(hops) == ["registration", "name"]
    assert hops["name"].says == "mvip.example.com does not resolve: Name or service not known"


def test_a_port_where_nobody_answers_ends_it(internal: RunningCluster) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        _, hops = met(internal, mvip=f"127.0.0.1:{unused.getsockname()[1]}")
    assert list(hops) == ["registration", "name", "port"]
    assert hops["port"].verdict is Verdict.BAD


def test_a_port_without_tls_ends_it(internal: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_handshake(*_: object) -> None:
        raise ssl.SSLError("wrong version number")

    monkeypatch.setattr(module, "presented", no_handshake)
    _, hops = met(internal)
    assert list(hops) == NETWORK
    assert hops["certificate"].says.startswith("no TLS handshake: ")


def test_the_certificate_is_shown_with_its_end(external: RunningCluster) -> None:
    host, port = external.mvip.split(":")
    shown = presented(host, int(port))
    assert shown.fingerprint == external.certificate_fingerprint
    assert shown.expires
    assert shown.expires > datetime.now(UTC)


@pytest.mark.parametrize(
    ("expires", "verdict", "words"),
    [
        (None, Verdict.GOOD, "without an end that can be read"),
        (timedelta(days=29), Verdict.NOTE, ": soon over"),
        (timedelta(days=-1), Verdict.NOTE, ": over"),
    ],
)
def test_a_certificate_that_ends_is_told(
    internal: RunningCluster, monkeypatch: pytest.MonkeyPatch, expires: timedelta | None, verdict: Verdict, words: str
) -> None:
    assert timedelta(days=29) < EXPIRES_SOON
    end = now() + expires if expires else None
    monkeypatch.setattr(module, "presented", lambda *_: module.Presented("AA:BB", end))
    _, hops = met(internal)
    assert hops["certificate"].verdict is verdict
    assert words in hops["certificate"].says
    assert "a rotation" in hops  # it is told, and stops nothing


@pytest.mark.parametrize(
    ("different", "error"),
    [({"password": "wrong"}, "CredentialsRefused"), ({"certificateFingerprint": "00" * 32}, "CertificateRefused")],
)
def test_where_the_way_is_blocked_nothing_else_is_asked(
    external: RunningCluster, different: dict[str, str], error: str
) -> None:
    _, hops = met(external, **different)
    assert list(hops) == [*NETWORK, "login"]
    assert hops["login"].says.startswith(f"{error}: ")
    assert hops["login"].mend


def test_a_cluster_that_is_not_fit_says_so_at_each_hop(internal: RunningCluster) -> None:
    internal.inject(Fault(fault="upgradePending"), Fault(fault="clusterFault", code="nodeOffline"))
    _, hops = met(internal)
    assert hops["release"].verdict is Verdict.BAD
    assert hops["faults"].verdict is Verdict.NOTE
    assert "nodeOffline" in hops["faults"].says
    assert hops["a rotation"].says.startswith("UpgradePending: ")


def test_a_cluster_without_encryption_has_nothing_to_rotate() -> None:
    with Simulator([ClusterSpec(name=INTERNAL, encryption_enabled=False, providers=(ProviderSpec(),))]) as simulator:
        _, hops = met(simulator[INTERNAL])
    assert hops["encryption"].says == "software encryption at rest is not enabled"
    assert hops["a rotation"].says.startswith("EncryptionDisabled: ")


@pytest.mark.parametrize(
    ("job", "verdict", "says"),
    [
        (None, Verdict.GOOD, "is not known any more"),
        (RekeyJob(7, complete=False, phase="RewrapDataEncryptionKeys"), Verdict.NOTE, "runs: RewrapDataEncryptionKeys"),
        (RekeyJob(7, complete=False), Verdict.NOTE, "runs: phase not told"),
        (RekeyJob(7, complete=True), Verdict.GOOD, "ended well"),
    ],
)
def test_the_last_rekey_is_told(
    internal: RunningCluster, monkeypatch: pytest.MonkeyPatch, job: RekeyJob | None, verdict: Verdict, says: str
) -> None:
    state = EncryptionState(enabled=True, master_key=key("key-7", None), rekey_async_result_id=7)
    monkeypatch.setattr(ElementApi, "encryption", lambda _self: state)
    monkeypatch.setattr(ElementApi, "rekey_job", lambda _self, _handle: job)
    _, hops = met(internal)
    assert hops["last rekey"].verdict is verdict
    assert hops["last rekey"].says == f"asyncHandle 7 {says}"
    assert "of unknown age" in hops["encryption"].says


def test_the_last_rekey_can_have_ended_with_an_error(internal: RunningCluster) -> None:
    internal.inject(Fault(fault="phaseFailure", phase="RewrapDataEncryptionKeys"))
    api = Listening(INTERNAL, decode(Registration, internal.registration()), now, [])
    handle = api.rekey(None, None)
    deadline = now() + timedelta(seconds=10)
    while not (job := api.rekey_job(handle)) or not job.complete:
        assert now() < deadline
    api.close()
    _, hops = met(internal)
    assert hops["last rekey"].says.startswith(f"asyncHandle {handle} ended with the error ")


# --- the shapes of answers ---


def test_every_answer_is_of_a_shape_we_know(external: RunningCluster) -> None:
    meeting, _ = met(external)
    assert dict(answered(meeting)) == dict.fromkeys(
        [
            "GetAPI",
            "GetClusterInfo",
            "GetClusterVersionInfo",
            "ListClusterFaults",
            "GetSoftwareEncryptionAtRestInfo",
            "ListKeyProvidersKmip",
            "ListKeyServersKmip",
            "TestKeyProviderKmip",
        ],
        "one we know",
    )


def test_an_answer_of_another_shape_is_told(internal: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    internal.inject(Fault(fault="nullResult", method="ListClusterFaults"))
    state = EncryptionState(enabled=True, master_key=key(), unfamiliar=UNFAMILIAR)
    real = ElementApi.encryption

    def unfamiliar(api: ElementApi) -> EncryptionState:
        real(api)
        return state

    monkeypatch.setattr(ElementApi, "encryption", unfamiliar)
    meeting, hops = met(internal)
    assert hops["faults"].verdict is Verdict.BAD
    shapes = dict(answered(meeting)) | meeting.shapes
    assert shapes["ListClusterFaults"].startswith("not one we know: ")
    assert shapes["GetSoftwareEncryptionAtRestInfo"] == (
        'one we know, but for encryptionKeyInfo.keyManagementType is "Somewhere"'
    )


def test_an_error_is_an_answer_too(internal: RunningCluster) -> None:
    internal.inject(Fault(fault="rpcError", method="ListKeyProvidersKmip", name="xUnknownAPIMethod"))
    meeting, hops = met(internal)
    assert hops["key providers"].verdict is Verdict.BAD
    assert dict(answered(meeting))["ListKeyProvidersKmip"] == "an error of the cluster"
    assert Heard("ListKeyProvidersKmip", {}, "xUnknownAPIMethod") in meeting.heard


def test_what_is_kept_has_no_secret_no_name_and_no_address(external: RunningCluster) -> None:
    meeting, _ = met(external)
    kept = json.dumps(document(meeting.heard, "0.2.0"))
    for secret in (external.password, external.username, external.name, "127.0.0.1", "kms.example.com", "key-manager"):
        assert secret not in kept
    assert meeting.uuid not in kept
    assert external.cluster.current_key.key_id not in kept
    for word in ("GetSoftwareEncryptionAtRestInfo", "keyManagementType", "external", "12.3", "keyProviderID"):
        assert word in kept


def test_of_texts_only_words_of_element_are_kept() -> None:
    given = {
        "status": "running",
        "name": "prod-a",
        "attributes": {"owner of this": "j.doe"},
        "supportedVersions": ["12.3"],
        "nodes": [{"mip": "192.0.2.1", "nodeID": 1, "online": True, "load": None}],
    }
    assert scrubbed(given) == {
        "status": "running",
        "name": "(text of 6 characters)",
        "attributes": {},
        "supportedVersions": ["12.3"],
        "nodes": [{"mip": "(text of 9 characters)", "nodeID": 1, "online": True, "load": None}],
    }


def test_errors_are_kept_by_their_names() -> None:
    kept = document([Heard("GetAsyncResult", {}, "xDBNoSuchPath")], "1")
    assert kept["answers"] == [{"method": "GetAsyncResult", "error": "xDBNoSuchPath"}]

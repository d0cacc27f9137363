from __future__ import annotations

import hashlib
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from element_rekey import errors
from element_rekey.cluster import Certificate, CertificateOf
from element_rekey.element.transport import Timeouts, Transport, parse_mvip
from element_rekey.records import Registration
from local.simulator.certificates import as_documented
from tests.unit.element.conftest import now, tls_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from element_rekey.ports import ElementCluster
    from local.simulator.certificates import Identity
    from tests.unit.element.conftest import Connect, Serve
    from tests.unit.element.tls_server import Exchange, TlsServer

    Present = Callable[[trustme.LeafCert], TlsServer]


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def info(exchange: Exchange) -> None:
    exchange.result({"clusterInfo": {"uuid": "u", "name": "A"}})


def fingerprint(certificate: trustme.LeafCert) -> str:
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    return hashlib.sha256(der).hexdigest()


def pem(certificate: trustme.LeafCert) -> str:
    return certificate.cert_chain_pems[0].bytes().decode()


@pytest.fixture(scope="module")
def another_ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def own(another_ca: trustme.CA) -> trustme.LeafCert:
    """As Element ships them: signed by nobody we know, for no name of use, and expired."""
    return another_ca.issue_cert("solidfire.invalid", not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=LONG_AGO)


@pytest.fixture
def present(serve: Serve) -> Present:
    def start(certificate: trustme.LeafCert) -> TlsServer:
        server = serve(tls_of(certificate))
        server.otherwise = info
        return server

    return start


def refusal(api: ElementCluster, server: TlsServer) -> str:
    """Both kinds of call are refused for the same reason, and the server has seen neither."""
    whys = []
    for call in (api.identity, lambda: api.rekey(None, None)):
        with pytest.raises(errors.ElementRekeyError) as caught:
            call()
        assert type(caught.value) is errors.CertificateRefused
        whys.append(str(caught.value))
    assert server.seen == []
    assert whys[0] == whys[1]
    return whys[0]


def test_bundle(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    assert connect(server).identity().uuid == "u"


def test_bundle_of_the_certificate_itself(ca: trustme.CA, present: Present, connect: Connect) -> None:
    certificate = ca.issue_cert("127.0.0.1")
    server = present(certificate)
    assert connect(server, ca_bundle=pem(certificate)).identity().uuid == "u"


@pytest.mark.parametrize(
    ("names", "until", "why"),
    [
        (["127.0.0.1"], LONG_AGO, "expired"),
        (["127.0.0.2"], None, "127.0.0.1"),
        (["other.example"], None, "127.0.0.1"),
    ],
)
def test_bundle_refuses(
    ca: trustme.CA, present: Present, connect: Connect, names: list[str], until: datetime | None, why: str
) -> None:
    certificate = ca.issue_cert(*names, not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=until)
    server = present(certificate)
    said = refusal(connect(server), server)
    assert why in said
    assert fingerprint(certificate) in said


def test_bundle_refuses_another_authority(another_ca: trustme.CA, present: Present, connect: Connect) -> None:
    certificate = another_ca.issue_cert("127.0.0.1")
    server = present(certificate)
    assert fingerprint(certificate) in refusal(connect(server), server)


def test_the_common_name_is_no_name(ca: trustme.CA, present: Present, connect: Connect) -> None:
    server = present(ca.issue_cert("a@example.com", common_name="localhost"))
    assert "localhost" in refusal(connect(server, mvip=f"localhost:{server.port}"), server)


def test_public_authorities_do_not_know_the_test_ca(server: TlsServer, connect: Connect) -> None:
    refusal(connect(server, ca_bundle=""), server)


def test_public_authorities(
    server: TlsServer, connect: Connect, ca_bundle: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authorities = tmp_path / "public.pem"
    authorities.write_text(ca_bundle)
    monkeypatch.setattr("element_rekey.element.transport.DEFAULT_CA_BUNDLE_PATH", str(authorities))
    server.otherwise = info
    assert connect(server, ca_bundle="").identity().uuid == "u"


def test_a_bundle_stands_alone(
    ca: trustme.CA, another_ca: trustme.CA, server: TlsServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ca.cert_pem.tempfile() as public:  # what requests would add, if it were let
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", public)
        refusal(connect(server, ca_bundle=another_ca.cert_pem.bytes().decode()), server)


def test_a_certificate_that_is_not_shown_again(ca: trustme.CA, present: Present, connect: Connect) -> None:
    server = present(ca.issue_cert("127.0.0.2"))

    def once(raw: socket.socket, _: object) -> None:
        if server.connections > 1:
            raw.shutdown(socket.SHUT_RDWR)

    server.before_handshake = once
    with pytest.raises(errors.CertificateRefused, match="fingerprint is not available"):
        connect(server).identity()


@pytest.mark.parametrize(("names", "server_name"), [(["mvip.example"], "mvip.example"), (["10.1.2.3"], "10.1.2.3")])
def test_server_name(ca: trustme.CA, present: Present, connect: Connect, names: list[str], server_name: str) -> None:
    server = present(ca.issue_cert(*names))
    assert server.tls is not None
    asked: list[str | None] = []
    server.tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    assert connect(server, server_name=server_name).identity().uuid == "u"
    assert asked == [None if server_name[0] == "1" else server_name]


def test_server_name_refuses_the_address(server: TlsServer, connect: Connect) -> None:
    assert "mvip.example" in refusal(connect(server, server_name="mvip.example"), server)


@pytest.mark.parametrize("spell", [str, str.upper, lambda digits: ":".join(digits[i : i + 2] for i in range(0, 64, 2))])
def test_pin(own: trustme.LeafCert, present: Present, connect: Connect, spell: Callable[[str], str]) -> None:
    server = present(own)
    api = connect(server, ca_bundle="", certificate_fingerprints=(spell(fingerprint(own)),))
    assert api.identity().uuid == "u"


def test_pin_refuses_before_anything_is_sent(own: trustme.LeafCert, present: Present, connect: Connect) -> None:
    server = present(own)
    said = refusal(connect(server, ca_bundle="", certificate_fingerprints=("0" * 64,)), server)
    assert fingerprint(own) in said
    assert "certificateFingerprint" in said


NEXT = "1" * 64


@pytest.mark.parametrize("order", [0, 1], ids=["the current one", "the next one"])
def test_one_of_several_pins_is_enough_and_which_one_it_was_is_known(
    own: trustme.LeafCert, present: Present, connect: Connect, order: int
) -> None:
    pins = [fingerprint(own), NEXT]
    api = connect(present(own), ca_bundle="", certificate_fingerprints=(pins[order], pins[1 - order]))
    assert api.certificate() is None
    api.identity()
    assert api.certificate() == Certificate(CertificateOf.CLUSTER, fingerprint(own), LONG_AGO)


def test_a_certificate_may_be_replaced_by_the_next_one_between_two_calls(
    own: trustme.LeafCert, another_ca: trustme.CA, present: Present, connect: Connect
) -> None:
    following = another_ca.issue_cert("other.example")
    server = present(own)
    api = connect(server, ca_bundle="", certificate_fingerprints=(fingerprint(own), fingerprint(following)))
    api.identity()
    server.tls = tls_of(following)
    server.drop_connections()
    api.rekey_job(7)
    seen = api.certificate()
    assert seen
    assert seen.fingerprint == fingerprint(following)


def test_none_of_several_pins_refuses_before_anything_is_sent(
    own: trustme.LeafCert, present: Present, connect: Connect
) -> None:
    server = present(own)
    api = connect(server, ca_bundle="", certificate_fingerprints=("0" * 64, NEXT))
    said = refusal(api, server)
    assert (
        f"refused: it is none of the registered certificateFingerprints. Its fingerprint is {fingerprint(own)}" in said
    )
    assert api.certificate() is None


def test_a_pin_is_trust_enough_beside_a_bundle_that_says_nothing_of_it(
    ca: trustme.CA, own: trustme.LeafCert, present: Present, connect: Connect
) -> None:
    for certificate in (own, ca.issue_cert("127.0.0.2"), ca.issue_cert("127.0.0.1")):
        pins = (fingerprint(certificate), NEXT)
        assert connect(present(certificate), certificate_fingerprints=pins).identity().uuid == "u"


def test_a_bundle_beside_a_pin_does_not_vouch_for_another_certificate(
    ca: trustme.CA, present: Present, connect: Connect
) -> None:
    server = present(ca.issue_cert("127.0.0.1"))
    assert "certificateFingerprint" in refusal(connect(server, certificate_fingerprints=("0" * 64,)), server)


def test_a_bundle_beside_a_pin_has_to_be_one(own: trustme.LeafCert, present: Present, connect: Connect) -> None:
    with pytest.raises(errors.RegistrationInvalid, match="caBundle"):
        connect(present(own), ca_bundle="nonsense", certificate_fingerprints=(fingerprint(own),))


def test_no_pin_at_all_is_none(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    assert connect(server, certificate_fingerprints=("",)).identity().uuid == "u"
    with pytest.raises(errors.CertificateRefused):
        connect(server, ca_bundle="", certificate_fingerprints=("",)).identity()


# --- as documented for Element: RSA-2048, TLS 1.2, no name in the certificate ---


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return as_documented("prod-a", tmp_path_factory.mktemp("element"))


@pytest.fixture
def element(serve: Serve, documented: Identity) -> TlsServer:
    server = serve(documented.context)
    server.otherwise = info
    return server


def test_a_certificate_without_any_name_is_trusted_by_its_pin(
    element: TlsServer, documented: Identity, connect: Connect
) -> None:
    pins = (documented.fingerprint,)
    for bundle in ("", documented.authority_pem):
        api = connect(element, ca_bundle=bundle, certificate_fingerprints=pins)
        assert api.identity().uuid == "u"
        seen = api.certificate()
        assert seen
        assert seen.expires
        assert 3640 < (seen.expires - now()).days <= 3650


@pytest.mark.parametrize("server_name", ["", "prod-a.example"])
def test_a_certificate_without_any_name_says_what_to_do(
    element: TlsServer, documented: Identity, connect: Connect, server_name: str
) -> None:
    said = refusal(connect(element, ca_bundle=documented.authority_pem, server_name=server_name), element)
    assert "use the fingerprint alone (certificateFingerprint), or serverName with a name that is in it. Its" in said


def test_another_reason_than_the_name_gives_no_such_advice(
    own: trustme.LeafCert, present: Present, connect: Connect
) -> None:
    server = present(own)
    assert "serverName" not in refusal(connect(server), server)


@pytest.mark.parametrize("pinned", [False, True])
def test_a_certificate_swapped_between_calls(
    ca: trustme.CA, another_ca: trustme.CA, present: Present, connect: Connect, *, pinned: bool
) -> None:
    first = ca.issue_cert("127.0.0.1")
    second = another_ca.issue_cert("127.0.0.1")
    server = present(first)
    api = connect(server, ca_bundle="", certificate_fingerprints=(fingerprint(first),)) if pinned else connect(server)
    api.identity()
    server.tls = tls_of(second)
    with pytest.raises(errors.CertificateRefused, match=fingerprint(second)):
        api.rekey(None, None)
    assert server.methods == ["GetClusterInfo"]


def test_old_protocols_are_refused(server: TlsServer, connect: Connect) -> None:
    assert server.tls is not None
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(errors.ClusterUnavailable):
        connect(server).identity()


# --- trust ---


@pytest.mark.parametrize("changes", [{}, {"certificate_fingerprints": ("00" * 32,)}], ids=["public CAs", "a pin"])
def test_what_python_makes_openssl_check_stays(changes: dict[str, Any]) -> None:
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).verify_flags
    registration = Registration(mvip="10.0.0.1", username="u", password="p", **changes)
    flags = Transport("prod-a", registration, Timeouts(), now)._tls.verify_flags  # noqa: SLF001 - no call tells them
    assert usual
    assert flags & usual == usual


def test_an_address_of_no_cluster_yet_names_none() -> None:
    with pytest.raises(errors.RegistrationInvalid) as caught:
        parse_mvip("https://10.0.0.1")
    assert caught.value.cluster == ""


# --- what a refused certificate says ---


def test_a_refused_certificate_is_asked_for_by_the_same_name(ca: trustme.CA, serve: Serve, connect: Connect) -> None:
    server = serve(tls_of(ca.issue_cert("other.example")))
    assert server.tls is not None
    asked: list[str | None] = []
    server.tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    with pytest.raises(errors.CertificateRefused):
        connect(server, server_name="mvip.example").identity()
    assert asked == ["mvip.example", "mvip.example"]


def test_looking_at_a_refused_certificate_takes_no_longer_than_connecting(
    ca: trustme.CA, serve: Serve, connect: Connect
) -> None:
    server = serve(tls_of(ca.issue_cert("127.0.0.2")))

    def stall(_: socket.socket, over: threading.Event) -> None:
        if server.connections > 1:
            over.wait(10)

    server.before_handshake = stall
    started = time.monotonic()
    with pytest.raises(errors.CertificateRefused) as caught:
        connect(server, timeouts=Timeouts(connect=0.3)).identity()
    assert time.monotonic() - started < 5
    assert caught.value.what == (
        f"The certificate of 127.0.0.1 port {server.port} is refused: IP address mismatch, certificate is not valid "
        "for '127.0.0.1'. If it is the cluster's, use the fingerprint alone (certificateFingerprint), or serverName "
        "with a name that is in it. Its fingerprint is not available."
    )
    assert caught.value.cluster == "prod-a"


def test_another_certificate_than_the_registered_one_is_reported_as_such(server: TlsServer, connect: Connect) -> None:
    with pytest.raises(errors.CertificateRefused, match=r"refused: it is not the registered certificateFingerprint\. "):
        connect(server, certificate_fingerprints=("0" * 64,)).identity()


def test_a_refused_connection_says_so(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.close_listener()
    says = rf"No connection to 127\.0\.0\.1 port {server.port}: \[Errno [0-9]+\] Connection refused\. "
    with pytest.raises(errors.ClusterUnavailable, match=says):
        connect(server).identity()

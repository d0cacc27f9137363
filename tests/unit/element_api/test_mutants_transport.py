"""What changes to the transport's code went unnoticed by the tests beside this one: docs/mutation.md."""

from __future__ import annotations

import json
import os
import ssl
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey import errors
from element_rekey.element.client import ElementApi
from element_rekey.element.transport import Timeouts, Transport, parse_mvip
from element_rekey.records import Registration
from tests.unit.element_api.conftest import now, tls_of

if TYPE_CHECKING:
    import socket
    import threading

    import trustme

    from tests.unit.element_api.conftest import Connect, Serve
    from tests.unit.element_api.tls_server import Exchange, TlsServer

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
LIMIT = 4 * 1024 * 1024


def info(exchange: Exchange) -> None:
    exchange.result({"clusterInfo": {"uuid": "u", "name": "A"}, "asyncHandle": 7})


# --- never twice


def test_a_broken_record_after_the_request_does_not_send_it_again(server: TlsServer, connect: Connect) -> None:
    """TLS errors are no read errors to urllib3: with retries of its own it would send a POST again."""

    def broken(exchange: Exchange) -> None:
        os.write(exchange.connection.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        exchange.close()

    server.script = [broken]
    server.otherwise = info
    with pytest.raises(errors.RekeyOutcomeUnknown, match=r"before a whole answer came \(SSLError\)"):
        connect(server).rekey(None, None)
    assert server.methods == [REKEY]


def test_calls_are_posted(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    connect(server).rekey(None, None)
    assert [seen.verb for seen in server.seen] == ["POST"]


# --- trust


@pytest.mark.parametrize("changes", [{}, {"certificate_fingerprint": "00" * 32}], ids=["public CAs", "a pin"])
def test_what_python_makes_openssl_check_stays(changes: dict[str, str]) -> None:
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).verify_flags
    registration = Registration(mvip="10.0.0.1", username="u", password="p", **changes)
    flags = Transport("prod-a", registration, Timeouts(), now)._tls.verify_flags  # noqa: SLF001 - no call tells them
    assert usual
    assert flags & usual == usual


def test_an_address_of_no_cluster_yet_names_none() -> None:
    with pytest.raises(errors.RegistrationInvalid) as caught:
        parse_mvip("https://10.0.0.1")
    assert caught.value.cluster == ""


# --- limits, to the last unit


def test_a_connection_is_kept_for_four_seconds(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    moment = now()
    api = connect(server, clock=lambda: moment)
    connections = []
    for idle in (timedelta(0), timedelta(0), timedelta(seconds=4), timedelta(seconds=4, milliseconds=1)):
        moment += idle
        api.identity()
        connections.append(server.connections)
    assert connections == [1, 1, 1, 2]


@pytest.mark.parametrize("excess", [0, 1])
def test_an_answer_may_be_four_mebibytes_long(server: TlsServer, connect: Connect, excess: int) -> None:
    document = json.dumps({"id": 1, "result": {"asyncHandle": 7}}).encode().ljust(LIMIT + excess)
    server.script = [lambda exchange: exchange.send(document)]
    if excess:
        with pytest.raises(errors.RekeyOutcomeUnknown, match=f"longer than {LIMIT} bytes"):
            connect(server).rekey(None, None)
    else:
        assert connect(server).rekey(None, None) == 7


# --- what a refused certificate says


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
        "for '127.0.0.1'. Its fingerprint is not available."
    )
    assert caught.value.cluster == "prod-a"


def test_another_certificate_than_the_registered_one_is_reported_as_such(server: TlsServer, connect: Connect) -> None:
    with pytest.raises(errors.CertificateRefused, match=r"refused: it is not the registered certificateFingerprint\. "):
        connect(server, certificate_fingerprint="0" * 64).identity()


def test_a_refused_connection_says_so(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.close_listener()
    says = rf"No connection to 127\.0\.0\.1 port {server.port}: \[Errno [0-9]+\] Connection refused\. "
    with pytest.raises(errors.ClusterUnavailable, match=says):
        connect(server).identity()


# --- the registration


@pytest.mark.parametrize(
    ("member", "value", "says"),
    [
        ("mvip", "https://10.0.0.1", "mvip must be an IP address or a host name"),
        ("server_name", "a b", "serverName must be"),
        ("certificate_fingerprint", "ab:cd", "certificateFingerprint must be"),
        ("ca_bundle", "nonsense", "caBundle must hold"),
    ],
)
def test_a_wrong_registration_is_reported_by_cluster_and_member(member: str, value: str, says: str) -> None:
    registration = replace(Registration("10.0.0.1", "admin", "secret"), **{member: value})
    with pytest.raises(errors.RegistrationInvalid, match=f"^Cluster prod-a: {says}"):
        ElementApi("prod-a", registration, refresh=lambda: registration, clock=now)

from __future__ import annotations

import json
import os
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey import errors
from element_rekey.element.client import ElementApi
from element_rekey.element.transport import clock_offset, parse_mvip
from element_rekey.records import Registration
from tests.unit.element.conftest import PASSWORD, now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from element_rekey.ports import ElementCluster
    from tests.unit.element.conftest import Connect, Serve
    from tests.unit.element.tls_server import Exchange, TlsServer


def info(exchange: Exchange) -> None:
    exchange.result({"clusterInfo": {"uuid": "u", "name": "A"}, "asyncHandle": 7})


def unauthorized(exchange: Exchange) -> None:
    exchange.send(b"<p>401 Unauthorized.</p>", status=401)


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
LIMIT = 4 * 1024 * 1024


# --- one connection ---


def test_the_request(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    api = connect(server)
    api.identity()
    api.identity()
    assert server.seen[0].headers == {
        "host": server.mvip,
        "accept-encoding": "identity",
        "content-type": "application/json-rpc",
        "user-agent": "element-rekey",
        "content-length": server.seen[0].headers["content-length"],
        "authorization": basic("admin", PASSWORD),
    }
    assert [seen.body["id"] for seen in server.seen] == [1, 2]


def test_reads_share_a_connection(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    api = connect(server)
    for _ in range(5):
        api.identity()
    assert server.connections == 1


def test_the_rekey_has_its_own(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    api = connect(server)
    api.identity()
    api.rekey(None, None)
    api.identity()
    assert [seen.connection for seen in server.seen] == [1, 2, 2]


@pytest.mark.parametrize("step", [timedelta(seconds=5), timedelta(hours=-1)])
def test_an_idle_connection_is_replaced(server: TlsServer, connect: Connect, step: timedelta) -> None:
    server.otherwise = info
    times = iter(now() + step * number for number in range(99))
    api = connect(server, clock=lambda: next(times))
    api.identity()
    api.identity()
    assert server.connections == 2


def test_a_connection_the_server_closed_is_replaced(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    api = connect(server)
    api.identity()
    server.drop_connections()
    api.identity()
    assert server.connections == 2


def test_a_broken_answer_costs_the_connection(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    server.script = [
        lambda exchange: exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b" " * 5_000_000)
    ]
    api = connect(server)
    with pytest.raises(errors.ClusterUnavailable, match="longer than"):
        api.identity()
    api.identity()
    assert server.connections == 2


@pytest.mark.parametrize(
    ("head", "chunked"),
    [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", True),
        ("HTTP/1.1 200 OK\r\nConnection: close", False),
        ("HTTP/1.0 200 OK\r\nContent-Type: text/html", False),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", True),
    ],
)
def test_ways_to_frame_an_answer(server: TlsServer, connect: Connect, head: str, *, chunked: bool) -> None:
    def behave(exchange: Exchange) -> None:
        body = json.dumps({"id": exchange.seen.body["id"], "result": {"asyncHandle": 7}})
        if chunked:
            body = f"3\r\n{body[:3]}\r\n{len(body) - 3:x}\r\n{body[3:]}\r\n0\r\n\r\n"
        exchange.raw(f"{head}\r\n\r\n{body}".encode())
        exchange.keep_alive = chunked

    server.otherwise = behave
    api = connect(server)
    assert [api.rekey(None, None), api.rekey(None, None)] == [7, 7]


def test_cookies_are_not_kept(server: TlsServer, connect: Connect) -> None:
    server.otherwise = lambda exchange: exchange.answer(
        {"id": exchange.seen.body["id"], "result": {"faults": []}}, headers=("Set-Cookie: session=1; Path=/",)
    )
    api = connect(server)
    api.faults()
    api.faults()
    assert "cookie" not in server.seen[1].headers


def test_ipv6(serve: Serve, connect: Connect) -> None:
    server = serve(address="::1")
    server.otherwise = info
    assert connect(server).identity().uuid == "u"
    assert server.seen[0].headers["host"] == server.mvip


def test_host_name(server: TlsServer, connect: Connect) -> None:
    server.otherwise = info
    assert connect(server, mvip=f"localhost:{server.port}").identity().uuid == "u"


def test_the_environment_decides_nothing(
    server: TlsServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login evil password evil\n")
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(nothing))
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    server.otherwise = info
    assert connect(server).identity().uuid == "u"
    assert server.seen[0].headers["authorization"] == basic("admin", PASSWORD)
    assert not (tmp_path / "keys").exists()


# --- HTTP 401 ---


def calls(api: ElementCluster) -> list[Callable[[], object]]:
    return [api.identity, lambda: api.rekey(None, None)]


@pytest.mark.parametrize("call", [0, 1])
def test_new_credentials_are_tried_once(server: TlsServer, connect: Connect, ca_bundle: str, call: int) -> None:
    server.otherwise = info
    server.script = [unauthorized]
    fresh = Registration(server.mvip, "root", "new", ca_bundle=ca_bundle)
    api = connect(server, refresh=lambda: fresh)
    assert calls(api)[call]()
    calls(api)[call]()
    sent = [seen.headers["authorization"] for seen in server.seen]
    assert sent == [basic("admin", PASSWORD), basic("root", "new"), basic("root", "new")]
    assert [seen.body["id"] for seen in server.seen] == [1, 2, 3]


@pytest.mark.parametrize("call", [0, 1])
def test_new_credentials_refused_too(server: TlsServer, connect: Connect, ca_bundle: str, call: int) -> None:
    server.otherwise = unauthorized
    reads: list[int] = []

    def refresh() -> Registration:
        reads.append(1)
        return Registration(server.mvip, "admin", f"new{len(reads)}", ca_bundle=ca_bundle)

    with pytest.raises(errors.CredentialsRefused):
        calls(connect(server, refresh=refresh))[call]()
    assert len(reads) == 1
    assert len(server.seen) == 2


@pytest.mark.parametrize("call", [0, 1])
def test_another_address_is_never_asked_by_who_looked_at_the_first(
    serve: Serve, server: TlsServer, connect: Connect, ca_bundle: str, call: int
) -> None:
    server.otherwise = unauthorized
    other = serve()
    other.otherwise = info
    fresh = Registration(other.mvip, "admin", "new", ca_bundle=ca_bundle)
    api = connect(server, refresh=lambda: fresh)
    with pytest.raises(errors.ClusterUnavailable, match="registration changed"):
        calls(api)[call]()
    server.otherwise = info  # some readers go on after ClusterUnavailable: what they see has to be of one cluster
    assert calls(api)[call]()
    assert other.seen == []
    assert len(server.seen) == 2


def test_a_registration_that_cannot_be_read_is_reported(server: TlsServer, connect: Connect) -> None:
    def refresh() -> Registration:
        raise errors.AwsCallFailed("no")

    server.otherwise = unauthorized
    with pytest.raises(errors.AwsCallFailed):
        connect(server, refresh=refresh).rekey(None, None)


def test_a_registration_that_became_invalid_is_not_adopted(server: TlsServer, connect: Connect, ca_bundle: str) -> None:
    server.otherwise = info
    server.script = [unauthorized]
    api = connect(server, refresh=lambda: Registration(server.mvip, "LDAP:admin", "new", ca_bundle=ca_bundle))
    with pytest.raises(errors.RegistrationInvalid):
        api.identity()
    assert api.identity().uuid == "u"


# --- the registration ---


@pytest.mark.parametrize(
    ("mvip", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 443)),
        ("10.0.0.1:8443", ("10.0.0.1", 8443)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("::1", ("::1", 443)),
        ("FE80::1", ("fe80::1", 443)),
        ("[fe80::1]", ("fe80::1", 443)),
        ("[2001:db8::10]:8443", ("2001:db8::10", 8443)),
        ("::ffff:10.0.0.1", ("::ffff:10.0.0.1", 443)),
        ("cluster", ("cluster", 443)),
        ("mvip-a.example.com.", ("mvip-a.example.com.", 443)),
        ("3com.example:1", ("3com.example", 1)),
    ],
)
def test_mvip(mvip: str, expected: tuple[str, int]) -> None:
    host, port = parse_mvip(mvip)
    assert (host.replace("::ffff:a00:1", "::ffff:10.0.0.1"), port) == expected


@pytest.mark.parametrize(
    "mvip",
    [
        "", " ", "https://10.0.0.1", "10.0.0.1/json-rpc", "admin:hunter2@10.0.0.1", "10.0.0.1:", "10.0.0.1:0",
        "10.0.0.1:65536", "10.0.0.1:x", "10.0.0.1:٤٤٣", "10.0.0", "10.0.0.256", "10.0.0.1.", "1", "[10.0.0.1]", "[]",
        "[::1", "::1]", "[::1]443", "[::1]:", "[fe80::1%eth0]", "fe80::1%eth0", "::1:::2", "2001:db8::g", "a b", "a\n",
        "a.b:c:d", "-a.example", "a-.example", "a..example", ".", "bücher.example", "a_b", "a" * 64, "a." * 127 + "aaa",
    ],
)  # fmt: skip
def test_mvip_refused(mvip: str) -> None:
    with pytest.raises(errors.RegistrationInvalid) as caught:
        parse_mvip(mvip, "prod-a")
    assert caught.value.cluster == "prod-a"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("mvip", "https://10.0.0.1"),
        ("server_name", "a b"),
        ("server_name", "a:443"),
        ("certificate_fingerprints", ("ab:cd",)),
        ("certificate_fingerprints", ("g" * 64,)),
        ("certificate_fingerprints", ("a" * 64, "a" * 40)),
        ("username", "LDAP:cn=jane"),
        ("ca_bundle", "nonsense"),
        ("ca_bundle", "nönsense"),
        ("ca_bundle", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("api_version", "12"),
        ("api_version", "12.3.1"),
        ("api_version", "latest"),
    ],
)
def test_registration_refused(member: str, value: str | tuple[str, ...]) -> None:
    changes: dict[str, Any] = {member: value}
    registration = replace(Registration("10.0.0.1", "admin", PASSWORD), **changes)
    with pytest.raises(errors.RegistrationInvalid) as caught:
        ElementApi("prod-a", registration, refresh=lambda: registration, clock=now)
    words = {"server_name": "serverName", "certificate_fingerprints": "certificateFingerprint"}
    assert words.get(member, member.replace("_bundle", "Bundle").replace("_version", "Version")) in str(caught.value)


@pytest.mark.parametrize(
    ("member", "value", "says"),
    [
        ("mvip", "https://10.0.0.1", "mvip must be an IP address or a host name"),
        ("server_name", "a b", "serverName must be"),
        ("certificate_fingerprints", ("ab:cd",), "certificateFingerprint must be"),
        (
            "username",
            "LDAP:jane",
            "username must have no colon: .*local cluster administrator works.* without a prefix",
        ),
        ("ca_bundle", "nonsense", "caBundle must hold"),
    ],
)
def test_a_wrong_registration_is_reported_by_cluster_and_member(
    member: str, value: str | tuple[str, ...], says: str
) -> None:
    changes: dict[str, Any] = {member: value}
    registration = replace(Registration("10.0.0.1", "admin", "secret"), **changes)
    with pytest.raises(errors.RegistrationInvalid, match=f"^Cluster prod-a: {says}"):
        ElementApi("prod-a", registration, refresh=lambda: registration, clock=now)


# --- the clock ---


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Fri, 02 Jan 2026 12:00:00 GMT", timedelta(0)),
        ("Fri, 02 Jan 2026 12:00:00 -0000", timedelta(0)),
        ("Fri, 02 Jan 2026 11:59:59 GMT", timedelta(0)),
        ("Fri, 02 Jan 2026 12:00:02 GMT", timedelta(0)),
        ("Fri, 02 Jan 2026 12:00:03 GMT", timedelta(seconds=2.5)),
        ("Fri, 02 Jan 2026 11:59:58 GMT", timedelta(seconds=-2.5)),
        ("Fri, 02 Jan 2026 14:00:03 +0200", timedelta(seconds=2.5)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("noon", None),
        ("", None),
        (None, None),
    ],
)
def test_clock_offset(date: str | None, expected: timedelta | None) -> None:
    assert clock_offset(date, NOON, NOON + timedelta(seconds=2)) == expected


# --- never twice ---


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


# --- limits, to the last unit ---


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

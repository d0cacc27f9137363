"""The simulator on real TLS sockets: HTTP and JSON-RPC as Element speaks them, and the faults that need a socket."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from local.simulator import ClusterSpec, Fault, RunningCluster, Simulator, SimulatorError
from local.simulator.certificates import ELEMENT_SUITES
from local.simulator.server import ClusterServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.simulator.certificates import Identity
    from local.simulator.cluster import SimulatedCluster

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
INFO = "GetSoftwareEncryptionAtRestInfo"


def address(running: RunningCluster) -> tuple[str, int]:
    host, _, port = running.mvip.rpartition(":")
    return host.strip("[]"), int(port)


def authorization(running: RunningCluster, password: str | None = None) -> str:
    pair = f"{running.username}:{running.password if password is None else password}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


class Patient(http.client.HTTPSConnection):
    """Time enough to connect, however busy the machine, and `patience` seconds for each answer."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, patience: float) -> None:
        super().__init__(host, port, context=context, timeout=5.0)
        self.patience = patience

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.patience)


class Client:
    """One connection to a cluster, kept alive between calls. `timeout` is the patience with an answer, in seconds."""

    def __init__(self, running: RunningCluster, timeout: float = 5.0) -> None:
        self.running = running
        host, port = address(running)
        context = ssl.create_default_context(cadata=running.ca_pem)
        self.http = Patient(host, port, context, timeout)

    def send(
        self,
        body: bytes | None,
        path: str = "/json-rpc/12.3",
        verb: str = "POST",
        **headers: str,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        given = {"Authorization": authorization(self.running)} | {name: text for name, text in headers.items() if text}
        self.http.request(verb, path, body, {name: text for name, text in given.items() if text != "none"})
        answer = self.http.getresponse()
        return answer, answer.read()

    def rpc(self, method: str, **params: object) -> Any:  # noqa: ANN401 - whatever JSON there is
        _, body = self.send(json.dumps({"method": method, "params": params, "id": 1}).encode())
        return json.loads(body)

    def control(self, verb: str, what: str, document: object = None) -> tuple[int, Any]:
        body = None if document is None else json.dumps(document).encode()
        answer, text = self.send(body, f"/simulator/{what}", verb)
        return answer.status, json.loads(text) if answer.getheader("Content-Type") == "application/json" else text


class Connect(Protocol):
    def __call__(self, running: RunningCluster, timeout: float = ...) -> Client: ...


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients, and closes them at the end."""
    made: list[Client] = []

    def make(running: RunningCluster, timeout: float = 5.0) -> Client:
        made.append(Client(running, timeout))
        return made[-1]

    yield make
    for one in made:
        one.http.close()


@pytest.fixture
def client(running: RunningCluster, connect: Connect) -> Client:
    return connect(running)


@pytest.fixture
def alone() -> Iterator[RunningCluster]:
    """A cluster that a test may ruin."""
    with Simulator([ClusterSpec(name="alone", rekey_seconds=0.0)]) as simulator:
        yield simulator["alone"]


# -- JSON-RPC over HTTP


@pytest.mark.parametrize("identity", [0, 7, "x", None, [1], 1.5])
def test_the_id_is_echoed_exactly(client: Client, identity: object) -> None:
    _, body = client.send(json.dumps({"method": "GetClusterMasterNodeID", "params": {}, "id": identity}).encode())
    answer = json.loads(body)
    assert answer["id"] == identity
    assert set(answer) == {"id", "result"}


def test_a_missing_id_and_missing_or_null_params_are_fine(client: Client) -> None:
    for document in ({"method": "GetClusterMasterNodeID"}, {"method": "GetClusterMasterNodeID", "params": None}):
        answer = json.loads(client.send(json.dumps(document).encode())[1])
        assert answer == {"id": None, "result": {"nodeID": 1}}


def test_extra_members_any_content_type_and_a_trailing_slash_are_tolerated(client: Client) -> None:
    body = b'{"json-rpc": "2.0", "method": "GetClusterMasterNodeID", "params": {}, "id": 1}'
    for content_type in ("application/json-rpc", "text/plain", ""):
        answer, text = client.send(body, "/json-rpc/12.3/", **{"Content-Type": content_type})
        assert answer.status == 200
        assert json.loads(text)["result"] == {"nodeID": 1}


def test_a_call_can_be_a_get_with_a_query(client: Client) -> None:
    path = "/json-rpc/12.3?method=getkeyproviderkmip&keyProviderID=15&x=1"
    _, text = client.send(None, path, "GET")
    answer = json.loads(text)
    assert answer["result"]["kmipKeyProvider"]["keyProviderID"] == 15
    assert (answer["id"], answer["unusedParameters"]) == (None, {"x": "1"})


def test_a_parameter_nobody_knows_is_reported_and_ignored(client: Client, running: RunningCluster) -> None:
    answer = client.rpc(REKEY, keyProviderId=15)
    assert answer["unusedParameters"] == {"keyProviderId": 15}
    assert running.cluster.rekeys[-1].handle == answer["result"]["asyncHandle"]
    assert running.cluster.rekeys[-1].new.provider_id is None


def test_errors_of_the_api_come_with_status_200(client: Client) -> None:
    answer, text = client.send(b'{"method": "FlyToTheMoon", "id": 3}')
    assert answer.status == 200
    assert json.loads(text) == {
        "id": 3,
        "error": {"code": 500, "name": "xUnknownAPIMethod", "message": "xUnknownAPIMethod  method=FlyToTheMoon"},
    }


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"id": 4}', b'{"method": 5}', b"[" * 100_000])
def test_what_is_no_request_is_an_error_of_the_api(client: Client, body: bytes) -> None:
    answer, text = client.send(body)
    assert answer.status == 200
    assert json.loads(text)["error"]["name"] == "xUnknownRPCMethod"


@pytest.mark.parametrize("header", ["none", "Basic", "Basic !!", "Bearer x", "Basic cmVrZXk6d3Jvbmc=", "Basic /w=="])
def test_without_the_right_account_there_is_a_page_and_nothing_happens(
    client: Client, running: RunningCluster, header: str
) -> None:
    before = len(running.cluster.rekeys)
    answer, text = client.send(json.dumps({"method": REKEY}).encode(), Authorization=header)
    assert (answer.status, answer.getheader("Content-Type")) == (401, "text/html")
    assert b"401 Unauthorized." in text
    assert answer.getheader("WWW-Authenticate", "").startswith("Basic ")
    assert len(running.cluster.rekeys) == before


@pytest.mark.parametrize("path", ["/", "/json-rpc", "/json-rpc/12.5", "/json-rpc/12", "/json-rpc/x", "/simulator/x"])
def test_an_unknown_path_or_version_is_a_page(client: Client, path: str) -> None:
    answer, text = client.send(b'{"method": "GetAPI"}', path)
    assert (answer.status, answer.getheader("Content-Type")) == (404, "text/html")
    assert b"<p>404 Not Found</p>" in text


def test_other_verbs_and_giant_bodies_are_pages(client: Client) -> None:
    assert client.send(b"{}", verb="PUT")[0].status == 405
    assert client.send(b"{}", "/simulator/state", "PUT")[0].status == 405
    assert client.send(b"x" * (1 << 20) + b"x")[0].status == 413


def test_calls_share_a_connection_and_an_answer_is_one_write(running: RunningCluster) -> None:
    context = ssl.create_default_context(cadata=running.ca_pem)
    body = b'{"method": "GetClusterMasterNodeID", "id": 1}'
    head = f"POST /json-rpc/12.3 HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization(running)}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with context.wrap_socket(socket.create_connection(address(running)), server_hostname="127.0.0.1") as connection:
        for _ in range(2):
            connection.sendall(request)
            # One TLS record is read at a time, so head and body together mean one write.
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b'{"id": 1, "result": {"nodeID": 1}}')
            assert b"Connection: close" not in answer


def test_the_date_header_is_the_clusters_clock(client: Client, running: RunningCluster) -> None:
    def offset() -> timedelta:
        date = client.send(b'{"method": "GetAPI"}')[0].getheader("Date")
        return parsedate_to_datetime(date or "") - datetime.now(UTC)

    assert abs(offset()) < timedelta(seconds=30)
    running.inject(Fault("clockSkew", seconds=-3 * 3600))
    assert abs(offset() + timedelta(hours=3)) < timedelta(seconds=30)


def test_sixteen_callers_at_once_begin_one_rekey(connect: Connect) -> None:
    with Simulator([ClusterSpec(rekey_seconds=60.0)]) as simulator:
        running = simulator["prod-a"]
        answers: list[dict[str, Any]] = []

        def call() -> None:
            answers.append(connect(running).rpc(REKEY))

        threads = [threading.Thread(target=call) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted("result" in answer for answer in answers) == [False] * 15 + [True]
        assert len(running.cluster.rekeys) == 1


# -- TLS


def test_the_certificate_is_good_for_every_name_and_its_fingerprint_is_reported(running: RunningCluster) -> None:
    context = ssl.create_default_context(cafile=running.ca_file)
    for name in ("127.0.0.1", "::1", "localhost", "prod-a"):
        with context.wrap_socket(socket.create_connection(address(running)), server_hostname=name) as connection:
            der = connection.getpeercert(binary_form=True) or b""
            assert hashlib.sha256(der).hexdigest().upper() == running.certificate_fingerprint.replace(":", "")
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(
            socket.create_connection(address(running)), server_hostname="127.0.0.1"
        )


def test_a_cluster_can_have_tls_as_documented_for_element() -> None:
    with Simulator([ClusterSpec(tls="element")]) as simulator:
        running = simulator["prod-a"]
        trusted = running.registration()
        assert trusted.keys() == {"mvip", "username", "password", "certificateFingerprint"}
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(socket.create_connection(address(running))) as connection:
            assert connection.version() == "TLSv1.2"
            suite = connection.cipher()
            assert suite
            assert suite[0] in ELEMENT_SUITES
            der = connection.getpeercert(binary_form=True) or b""
        assert hashlib.sha256(der).hexdigest().upper() == trusted["certificateFingerprint"].replace(":", "")
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 2048
        assert list(certificate.extensions) == []
        running.inject(Fault("certificateReplaced"))
        with context.wrap_socket(socket.create_connection(address(running))) as connection:
            assert connection.version() == "TLSv1.2"
            assert connection.getpeercert(binary_form=True) != der


@pytest.mark.parametrize("suites", ["AES256-SHA256", "AES128-SHA"])
def test_it_takes_no_other_cipher_suite(suites: str) -> None:
    with Simulator([ClusterSpec(tls="element")]) as simulator:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers(suites)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(socket.create_connection(address(simulator["prod-a"])))


def test_a_cluster_can_listen_on_ipv6_with_a_certificate_of_its_own(connect: Connect) -> None:
    with Simulator([ClusterSpec(host="::1", self_signed=True)]) as simulator:
        running = simulator["prod-a"]
        assert running.mvip.startswith("[::1]:")
        assert connect(running).rpc("GetClusterMasterNodeID")["result"] == {"nodeID": 1}


def test_the_registration_is_what_a_client_needs(running: RunningCluster) -> None:
    registration = running.registration()
    assert set(registration) == {"mvip", "username", "password", "caBundle"}
    assert registration["caBundle"] == Path(running.ca_file).read_text()
    assert running.url == f"https://{registration['mvip']}"


# -- faults on the wire


def call_raw(running: RunningCluster, method: str) -> None:
    """Sends a call and reads the socket beneath TLS to its end, so that a reset is not taken for an end of file."""
    context = ssl.create_default_context(cadata=running.ca_pem)
    body = json.dumps({"method": method}).encode()
    head = f"POST /json-rpc/12.3 HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization(running)}\r\n"
    with context.wrap_socket(socket.create_connection(address(running)), server_hostname="127.0.0.1") as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while os.read(connection.fileno(), 65536):
            pass


@pytest.mark.parametrize(
    ("rule", "begun"),
    [
        (Fault("resetBeforeProcessing", method=REKEY), 0),
        (Fault("resetAfterProcessing", method=REKEY), 1),
        (Fault("masterMove", method=REKEY, connections=0), 0),
        (Fault("masterMove", method=REKEY, connections=0, applied=True), 1),
        (Fault("applyDelay", seconds=3600), 0),
    ],
)
def test_a_reset_is_a_tcp_reset_before_or_after_the_work(alone: RunningCluster, rule: Fault, begun: int) -> None:
    alone.inject(rule)
    with pytest.raises(ConnectionResetError):
        call_raw(alone, REKEY)
    assert len(alone.cluster.rekeys) == begun


@pytest.mark.parametrize("applied", [False, True])
def test_a_stalled_call_is_never_answered(connect: Connect, alone: RunningCluster, *, applied: bool) -> None:
    alone.inject(Fault("stall", method=REKEY, applied=applied))
    with pytest.raises(TimeoutError):
        connect(alone, timeout=0.2).rpc(REKEY)
    assert len(alone.cluster.rekeys) == applied


def test_a_stall_that_ends_closes_the_connection(client: Client, running: RunningCluster) -> None:
    running.inject(Fault("stall", seconds=0.05))
    with pytest.raises(http.client.RemoteDisconnected):
        client.rpc("GetAPI")


def test_a_dripping_answer_is_whole_in_the_end(client: Client, running: RunningCluster) -> None:
    running.inject(Fault("drip", seconds=0.005))
    begun = time.monotonic()
    answer = client.rpc("GetClusterMasterNodeID")
    assert answer["result"] == {"nodeID": 1}
    assert time.monotonic() - begun >= 0.005 * len(json.dumps(answer))


def test_a_truncated_body_is_shorter_than_announced(client: Client, running: RunningCluster) -> None:
    running.inject(Fault("truncatedBody"))
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.rpc("GetClusterMasterNodeID")
    assert caught.value.partial == b'{"id": 1, "result'


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("nullResult", 200, b'{"id": 1, "result": null}'),
        ("nullBody", 200, b"null"),
        ("emptyBody", 200, b""),
        ("html401", 401, b"401 Unauthorized."),
        ("html404", 404, b"404 Not Found"),
        ("html502", 502, b"502 Bad Gateway"),
        ("html503", 503, b"503 Service Unavailable"),
        ("redirect307", 307, b""),
    ],
)
def test_an_answer_can_be_something_else(
    client: Client, running: RunningCluster, name: str, status: int, body: bytes
) -> None:
    running.inject(Fault(name, method="GetAPI"))
    answer, text = client.send(b'{"method": "GetAPI", "id": 1}')
    assert answer.status == status
    assert text == body or body in text != b""
    assert answer.getheader("Location") == ("/json-rpc/12.3" if status == 307 else None)
    assert answer.getheader("Content-Type") == ("application/json" if status == 200 else "text/html")
    assert "result" in client.rpc("GetAPI")


def test_refused_connections_are_reset_before_tls(connect: Connect, alone: RunningCluster) -> None:
    kept = connect(alone)
    kept.rpc("GetAPI")
    alone.inject(Fault("refuseConnections", connections=2))
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            connect(alone).rpc("GetAPI")
    assert "result" in connect(alone).rpc("GetAPI")
    with pytest.raises((http.client.RemoteDisconnected, OSError)):
        kept.rpc("GetAPI")
    assert alone.cluster.calls == {"GetAPI": 2}


def test_connections_can_be_refused_from_a_certain_call_on(connect: Connect, alone: RunningCluster) -> None:
    alone.inject(Fault("refuseConnections", method=INFO))
    one = connect(alone)
    answer, _ = one.send(json.dumps({"method": INFO}).encode())
    # The call itself is answered, on a connection that ends with it; the next has to connect.
    assert answer.getheader("Connection") == "close"
    with pytest.raises(ConnectionResetError):
        one.rpc(REKEY)
    assert alone.cluster.rekeys == ()
    assert "result" in connect(alone).rpc(REKEY)


def test_a_master_that_moves_takes_its_connections_along(connect: Connect, alone: RunningCluster) -> None:
    kept = connect(alone)
    kept.rpc("GetAPI")
    alone.inject(Fault("masterMove"))
    with pytest.raises((http.client.RemoteDisconnected, OSError)):
        kept.rpc("GetAPI")
    with pytest.raises(ConnectionResetError):
        connect(alone).rpc("GetAPI")
    assert connect(alone).rpc("GetClusterMasterNodeID")["result"] == {"nodeID": 2}


def test_a_replaced_certificate_meets_new_connections_and_ends_old_ones(
    connect: Connect, alone: RunningCluster
) -> None:
    kept = connect(alone)
    kept.rpc("GetAPI")
    first = alone.certificate_fingerprint
    alone.inject(Fault("certificateReplaced"))
    with pytest.raises((http.client.RemoteDisconnected, OSError)):
        kept.rpc("GetAPI")
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(alone).rpc("GetAPI")
    host, port = address(alone)
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, port), timeout=5))
    fingerprint = alone.certificate_fingerprint
    assert hashlib.sha256(der).hexdigest().upper() == fingerprint.replace(":", "") != first.replace(":", "")


def test_a_changed_password_is_the_one_the_cluster_tells(connect: Connect, alone: RunningCluster) -> None:
    first = alone.password
    alone.inject(Fault("passwordChanged"))
    assert alone.password != first
    old = connect(alone).send(b'{"method": "GetAPI"}', Authorization=authorization(alone, first))
    assert old[0].status == 401
    assert "result" in connect(alone).rpc("GetAPI")


# -- the control endpoint


def test_faults_can_be_put_looked_at_and_taken_away(client: Client, running: RunningCluster) -> None:
    rules = [
        {"fault": "rpcError", "method": "GetAPI", "name": "xDBClosing", "times": None},
        {"fault": "upgradePending"},
    ]
    status, in_force = client.control("PUT", "faults", rules)
    assert (status, [one["rule"]["fault"] for one in in_force]) == (200, ["rpcError", "upgradePending"])
    assert client.rpc("GetAPI")["error"]["name"] == "xDBClosing"
    assert client.rpc("GetClusterVersionInfo")["result"]["pendingClusterVersion"] == "12.5.0.897"
    assert [one["used"] for one in client.control("GET", "faults")[1]] == [1, 1]
    assert client.control("DELETE", "faults") == (200, [])
    assert "result" in client.rpc("GetAPI")
    assert running.cluster.fault_report() == []


@pytest.mark.parametrize("body", [b'[{"fault": "html502"}, {"fault": "fire"}]', b"\xff", b""])
def test_rules_are_taken_all_or_none(client: Client, running: RunningCluster, body: bytes) -> None:
    running.inject(Fault("rpcError", method=REKEY, name="xDBClosing"))
    answer, text = client.send(body, "/simulator/faults", "PUT")
    assert answer.status == 400
    assert json.loads(text)["error"].endswith(".")
    assert [one["rule"]["fault"] for one in client.control("GET", "faults")[1]] == ["rpcError"]


def test_faults_do_not_touch_the_control_endpoint(client: Client, running: RunningCluster) -> None:
    running.inject(Fault("html502", times=None))
    assert client.control("GET", "faults")[0] == 200
    running.clear_faults()
    assert client.send(None, "/simulator/state", "GET", Authorization="none")[0].status == 401


def test_the_state_tells_rekeys_requests_and_the_key(connect: Connect, alone: RunningCluster) -> None:
    one = connect(alone)
    handle = one.rpc(REKEY, keyManagementType="External", keyProviderID=15)["result"]["asyncHandle"]
    status, report = one.control("GET", "state")
    key = alone.cluster.current_key
    assert status == 200
    assert (report["name"], report["uuid"], report["requests"]) == ("alone", alone.cluster.uuid, {REKEY: 1})
    assert report["softwareEncryptionAtRest"]["masterKeyInfo"]["keyID"] == key.key_id
    assert report["heldKeyIDs"] == [key.key_id]
    (rekey,) = report["rekeys"]
    assert (rekey["asyncHandle"], rekey["by"], rekey["own"]) == (handle, "rekey", True)
    assert (rekey["phase"], rekey["finished"], rekey["failed"]) == ("Ready", True, False)
    assert rekey["params"] == {"keyManagementType": "external", "keyProviderID": 15}
    assert datetime.fromisoformat(rekey["begun"]) == alone.cluster.rekeys[0].begun
    assert alone.password not in json.dumps(report)


def test_a_fault_put_over_the_wire_ends_the_other_connections(connect: Connect, alone: RunningCluster) -> None:
    kept, one = connect(alone), connect(alone)
    kept.rpc("GetAPI")
    answer, _ = one.send(b'{"fault": "certificateReplaced"}', "/simulator/faults", "PUT")
    assert (answer.status, answer.getheader("Connection")) == (200, "close")
    with pytest.raises((http.client.RemoteDisconnected, OSError)):
        kept.rpc("GetAPI")


# -- start and stop


def test_stopping_leaves_no_file_port_or_thread_behind(connect: Connect) -> None:
    before = set(threading.enumerate())
    simulator = Simulator([ClusterSpec(name="one"), ClusterSpec(name="two")]).start()
    running = simulator["one"]
    folder = Path(running.ca_file).parent
    assert sorted(path.name for path in folder.iterdir()) == ["one-ca.pem", "two-ca.pem"]
    kept = connect(running)
    kept.rpc("GetAPI")
    running.inject(Fault("stall", seconds=3600.0))
    stalled = connect(running, timeout=0.1)
    with pytest.raises(TimeoutError):
        stalled.rpc("GetAPI")
    begun = time.monotonic()
    simulator.stop()
    assert time.monotonic() - begun < 2
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(running))
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(2)  # a connection's thread may still be on its way out
    assert not [thread for thread in left if thread.is_alive()]
    simulator.stop()


def test_a_cluster_that_cannot_start_leaves_none_running(
    running: RunningCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = address(running)[1]
    listening: list[ClusterServer] = []

    class Seen(ClusterServer):
        def __init__(self, cluster: SimulatedCluster, identity: Callable[[], Identity]) -> None:
            super().__init__(cluster, identity)
            listening.append(self)

    monkeypatch.setattr("local.simulator.running.ClusterServer", Seen)
    simulator = Simulator([ClusterSpec(name="one"), ClusterSpec(name="two", port=taken)])
    with pytest.raises(SimulatorError, match=f"Cluster two cannot listen on 127.0.0.1 port {taken}"):
        simulator.start()
    assert [server.cluster.spec.name for server in listening] == ["one"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listening[0].port))
    assert not list(simulator)


def test_names_are_unique() -> None:
    with pytest.raises(SimulatorError, match="same name"):
        Simulator([ClusterSpec(), ClusterSpec()])

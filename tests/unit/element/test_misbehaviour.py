from __future__ import annotations

import gzip
import json
import socket
import time
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from urllib3.response import HTTPResponse

from element_rekey import errors
from element_rekey.element.transport import Timeouts
from tests.unit.element.conftest import PASSWORD

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from element_rekey.element.client import ElementApi
    from tests.unit.element.conftest import Connect, Serve
    from tests.unit.element.tls_server import Exchange, TlsServer

    Behaviour = Callable[[Exchange], None]


def html(status: int, text: str = "", *headers: str) -> Behaviour:
    return lambda exchange: exchange.send(f"<p>{text}</p>".encode(), status=status, headers=headers)


def body(data: bytes) -> Behaviour:
    return lambda exchange: exchange.send(data)


def raw(data: bytes) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.raw(data)
        exchange.close()

    return behave


def redirect(status: int) -> Behaviour:
    return lambda exchange: exchange.send(
        b"", status=status, headers=(f"Location: https://{exchange.server.mvip}/json-rpc/12.3",)
    )


def header_drip(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    exchange.drip(b"x")


def body_drip(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    exchange.drip(b" ")


def endless_body(exchange: Exchange) -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 5 * 1024 * 1024)
    exchange.close()


def endless_chunk(exchange: Exchange) -> None:
    """A size below zero means everything to the HTTP library; so much that nobody waits for the end of it."""
    exchange.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
    block = b" " * 1024 * 1024
    exchange.close()
    for _ in range(200):
        exchange.raw(block)
        exchange.server.sent += len(block)


def length(value: bytes) -> Behaviour:
    """A good answer under a length that makes no sense."""
    return raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + value + b'\r\n\r\n{"id": 1, "result": {"asyncHandle": 1}} ')


def packed(exchange: Exchange) -> None:
    document = json.dumps({"id": exchange.seen.body["id"], "result": {"asyncHandle": 1}}).encode()
    exchange.send(gzip.compress(document), headers=("Content-Encoding: gzip",))


def error(name: object) -> Behaviour:
    return lambda exchange: exchange.answer({"id": exchange.seen.body["id"], "error": {"name": name, "message": "m"}})


def both(exchange: Exchange) -> None:
    exchange.result({"asyncHandle": 1}, error={"name": "xUnknownAPIMethod", "message": "m"})


TRANSIENT = [
    "xDBClosing", "xDBConnectionLoss", "xDBInvalidState", "xDBNoServerResponse", "xDBNoSuchPath", "xDBOperationTimeout",
    "xDBSessionExpired", "xDBSessionMoved", "xDBVersionMismatch", "xNoHandler", "xNotPrimary", "xNotReadyForIO",
    "xRecvTimeout", "xRpcTimeout", "xSliceNotRegistered",
]  # fmt: skip


NOT_DISPATCHED = [
    "xInvalidAPIParameter", "xInvalidParameter", "xInvalidParameterType", "xMissingParameter", "xUnknownAPIMethod",
    "xUnknownAPIVersion", "xUnknownRPCMethod", "xUnknownUsername", "xUnrecognizedEnumString",
]  # fmt: skip


# The request arrived, and what comes back does not show what became of it: a read can be repeated, the rekey must not.
DOUBTFUL: dict[str, Behaviour] = {
    "reset": lambda exchange: exchange.reset(),
    "close": lambda exchange: exchange.close(),
    "stall": lambda exchange: exchange.stall(),
    "header drip": header_drip,
    "body drip": body_drip,
    "endless body": endless_body,
    "body cut off": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"id": 1, '),
    "chunk cut off": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}"),
    "chunk without a size": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "chunk of a negative size": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n"),
    "chunk of a size below zero by one": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
        b'{"id": 1, "result": {"asyncHandle": 1}}\r\n0\r\n\r\n'
    ),
    "chunk of an endless size": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 99 + b"\r\n{}"),
    "endless chunk": endless_chunk,
    "negative length": length(b"-1"),
    "two lengths": length(b"38, 39"),
    "length with a sign": length(b"+39"),
    "length with a line below it": length(b"3_9"),
    "length of too many digits": length(b"9" * 5000),
    "no length": raw(b'HTTP/1.1 200 OK\r\n\r\n{"id": 1, '),
    "no HTTP": raw(b"220 ready\r\n"),
    "endless header": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "empty": body(b""),
    "null": body(b"null"),
    "list": body(b"[]"),
    "number": body(b"1"),
    "HTML": body(b"<html>"),
    "half-written JSON": body(b'{"id": 1, "result": {"asyncHandle"'),
    "no UTF-8": body(b'{"id": 1, "result": "\xff"}'),
    "too deep": body(b"[" * 100_000),
    "long number": body(b'{"id": 1' + b"0" * 5000 + b"}"),
    "gzip unasked": packed,
    "HTTP 500 with a result": lambda exchange: exchange.answer(
        {"id": exchange.seen.body["id"], "result": {"asyncHandle": 1}}, status=500
    ),
    **{f"HTTP {status}": redirect(status) for status in (301, 302, 303, 307, 308)},
    "redirect to nonsense": html(302, "", "Location: http://[::1"),
    **{f"HTTP {status} ": html(status, "text") for status in (204, 400, 403, 407, 429, 500, 502, 504)},
    "HTTP 503": html(503, "text", "Retry-After: 1"),
    **{name: error(name) for name in TRANSIENT},
}

# The same, and it came whole: network and account are in order, and the form of the answer is new to us.
UNFAMILIAR: dict[str, Behaviour] = {
    "another id": lambda exchange: exchange.answer({"id": 4711, "result": {"asyncHandle": 1}}),
    "id of another kind": lambda exchange: exchange.answer({"id": {}, "result": {"asyncHandle": 1}}),
    "id that is true": lambda exchange: exchange.answer({"id": True, "result": {"asyncHandle": 1}}),
    "no result": lambda exchange: exchange.answer({"id": exchange.seen.body["id"]}),
    "bare result": lambda exchange: exchange.answer({"asyncHandle": 1}),
    "null result": lambda exchange: exchange.result(None),
    "list as result": lambda exchange: exchange.result([]),
    "result and error": both,
    "error without a name": error(None),
    "error with an empty name": error(""),
    "error is text": lambda exchange: exchange.answer({"id": exchange.seen.body["id"], "error": "no"}),
}


# Short only where waiting is the point, so that a busy machine does not change what is shown.
PATIENCE = {
    "stall": Timeouts(read=0.2),
    "header drip": Timeouts(total=0.5),
    "body drip": Timeouts(total=0.5),
}


# (what a read raises, what the rekey raises) where the answer shows that nothing was done, or that a person must look.
CLEAR: dict[str, tuple[Behaviour, type[errors.ElementRekeyError], type[errors.ElementRekeyError]]] = {
    "HTTP 401": (html(401, "401 Unauthorized."), errors.CredentialsRefused, errors.CredentialsRefused),
    "HTTP 401 cut off": (
        raw(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 99\r\n\r\n<html>"),
        errors.CredentialsRefused,
        errors.CredentialsRefused,
    ),
    "HTTP 404": (html(404, "404 Not Found"), errors.ClusterUnavailable, errors.ClusterUnavailable),
    "xPermissionDenied": (error("xPermissionDenied"), errors.PermissionDenied, errors.PermissionDenied),
    "HTTP 500 with an error": (
        lambda exchange: exchange.error("xUnknownAPIMethod", status=500),
        errors.ElementApiError,
        errors.ElementApiError,
    ),
    "error without an id": (
        lambda exchange: exchange.answer({"error": {"name": "xUnknownException", "message": "map::at"}}),
        errors.ElementApiError,
        errors.RekeyRefused,
    ),
    "error beside a null result": (
        lambda exchange: exchange.answer({"id": None, "result": None, "error": {"name": "xAPINotPermitted"}}),
        errors.ElementApiError,
        errors.RekeyRefused,
    ),
    **{name: (error(name), errors.ElementApiError, errors.ElementApiError) for name in NOT_DISPATCHED},
    **{
        name: (error(name), errors.ElementApiError, errors.RekeyRefused)
        for name in ("xUnknownException", "xExceededLimit", "xSomethingNew")
    },
}


def silent_traceback(caught: pytest.ExceptionInfo[errors.ElementRekeyError]) -> None:
    """Nothing that a log or a state could show carries a credential, nor the body of an answer."""
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(caught.value)
    for secret in (PASSWORD, "Basic", "Authorization", "YWRtaW46", "<p>", "<html>"):
        assert secret not in shown
    assert caught.value.cluster == "prod-a"
    assert "\n" not in str(caught.value)


REKEY = "RekeySoftwareEncryptionAtRestMasterKey"


def answering_with(result: object) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.result(result)


def answered(text: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(text.encode())


def http_status(number: int) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(b"", status=number)


def refusing(name: str, message: str = "m") -> Callable[[Exchange], None]:
    return lambda exchange: exchange.error(name, message)


@pytest.mark.parametrize("case", DOUBTFUL)
def test_doubtful_for_a_read(server: TlsServer, connect: Connect, case: str) -> None:
    server.script = [DOUBTFUL[case]]
    started = time.monotonic()
    with pytest.raises(errors.ElementRekeyError) as caught:
        connect(server, timeouts=PATIENCE.get(case, Timeouts())).identity()
    assert type(caught.value) is errors.ClusterUnavailable
    assert "GetClusterInfo" in str(caught.value)
    assert server.methods == ["GetClusterInfo"]
    assert time.monotonic() - started < 5
    silent_traceback(caught)


@pytest.mark.parametrize("case", UNFAMILIAR)
def test_unfamiliar_to_a_read(server: TlsServer, connect: Connect, case: str) -> None:
    server.script = [UNFAMILIAR[case]]
    with pytest.raises(errors.ElementRekeyError) as caught:
        connect(server).identity()
    assert type(caught.value) is errors.AnswerNotUnderstood
    assert "GetClusterInfo was answered, but the answer" in str(caught.value)
    assert server.methods == ["GetClusterInfo"]
    silent_traceback(caught)


@pytest.mark.parametrize("case", DOUBTFUL | UNFAMILIAR)
def test_doubtful_for_the_rekey(server: TlsServer, connect: Connect, case: str) -> None:
    server.script = [(DOUBTFUL | UNFAMILIAR)[case]]
    with pytest.raises(errors.ElementRekeyError) as caught:
        connect(server, timeouts=PATIENCE.get(case, Timeouts())).rekey(None, None)
    assert type(caught.value) is errors.RekeyOutcomeUnknown
    assert server.methods == ["RekeySoftwareEncryptionAtRestMasterKey"]  # sent once, whatever happens
    silent_traceback(caught)


# --- patience ---

PROVIDER_TEST = "TestKeyProviderKmip"
LATE = ["stall", "header drip", "body drip"]


def after(seconds: float, then: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        exchange.server.over.wait(seconds)
        then(exchange)

    return answer


def test_a_test_of_a_provider_may_take_longer_than_any_other_call(server: TlsServer, connect: Connect) -> None:
    impatient = Timeouts(read=0.1, total=0.2, provider_test=30.0)
    server.otherwise = after(0.6, lambda exchange: exchange.result({}))
    assert connect(server, timeouts=impatient).test_key_provider(15) is None
    with pytest.raises(errors.ClusterUnavailable):
        connect(server, timeouts=impatient).key_providers()


@pytest.mark.parametrize("case", LATE)
def test_a_provider_whose_test_is_not_answered_in_time_is_unusable(
    server: TlsServer, connect: Connect, case: str
) -> None:
    server.script = [DOUBTFUL[case]]
    with pytest.raises(errors.ElementRekeyError) as caught:
        connect(server, timeouts=Timeouts(provider_test=0.5)).test_key_provider(15)
    assert type(caught.value) is errors.KeyProviderUnusable
    assert caught.value.what == "TestKeyProviderKmip of KMIP key provider 15 got no whole answer within 0.5 seconds."
    assert caught.value.cluster == "prod-a"
    assert server.methods == [PROVIDER_TEST]
    silent_traceback(caught)


@pytest.mark.parametrize("case", sorted(DOUBTFUL.keys() - set(LATE)))
def test_a_test_whose_answer_is_lost_otherwise_says_nothing_of_the_provider(
    server: TlsServer, connect: Connect, case: str
) -> None:
    server.script = [DOUBTFUL[case]]
    with pytest.raises(errors.ElementRekeyError) as caught:
        connect(server).test_key_provider(15)
    assert type(caught.value) is errors.ClusterUnavailable


def test_no_more_is_read_than_an_answer_may_have(server: TlsServer, connect: Connect) -> None:
    server.script = [endless_chunk]
    with pytest.raises(errors.RekeyOutcomeUnknown, match="the answer is longer than 5242880 bytes"):
        connect(server).rekey(None, None)
    assert server.sent < 32 * 1024 * 1024  # what the buffers between the two hold, and not what there is to come


def test_whatever_the_libraries_raise_once_the_rekey_was_sent_its_outcome_is_unknown(
    server: TlsServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("read length must be non-negative or -1")

    monkeypatch.setattr(HTTPResponse, "stream", broken)
    with pytest.raises(errors.RekeyOutcomeUnknown, match=r"before a whole answer came \(ValueError\)"):
        connect(server).rekey(None, None)


def test_an_answer_too_long_is_not_the_beginning_of_the_next(server: TlsServer, connect: Connect) -> None:
    server.script = [endless_body, lambda exchange: exchange.result({"clusterInfo": {"uuid": "u"}})]
    api = connect(server)
    with pytest.raises(errors.ClusterUnavailable):
        api.identity()
    assert api.identity().uuid == "u"
    assert server.connections == 2


# --- what is decided by the name of an error is decided by the name as it came


@pytest.mark.parametrize("password", ["Operation", "xDBOperationTimeout", "out", "x"])
def test_a_password_in_a_name_makes_no_refusal_of_what_may_have_been_applied(
    server: TlsServer, connect: Connect, password: str
) -> None:
    server.script = [error("xDBOperationTimeout")]
    with pytest.raises(errors.RekeyOutcomeUnknown) as caught:
        connect(server, password=password).rekey(None, None)
    assert "xDBOperationTimeout" not in str(caught.value)
    assert "***" in caught.value.what


def test_a_password_in_a_name_changes_no_decision_of_a_read(server: TlsServer, connect: Connect) -> None:
    job = {"resultType": "RekeySoftwareEncryptionAtRestMasterKey", "status": "running"}
    server.script = [
        error("xAsyncHandleDoesNotExist"),
        error("xDBOperationTimeout"),
        error("xPermissionDenied"),
        lambda exchange: exchange.result(job),
        lambda exchange: exchange.result({"faults": [{"code": "nodeOffline"}]}),
    ]
    api = connect(server, password="e")
    assert api.rekey_job(7) is None
    with pytest.raises(errors.ClusterUnavailable, match=r"xDBOp\*\*\*rationTim"):
        api.rekey_job(7)
    with pytest.raises(errors.PermissionDenied):
        api.identity()
    assert api.rekey_job(7)
    assert [fault.code for fault in api.faults()] == ["nodeOffline"]


def test_a_name_that_cannot_be_seen_is_no_name(server: TlsServer, connect: Connect) -> None:
    server.script = [error("\u200b\n")]
    with pytest.raises(errors.RekeyOutcomeUnknown, match="neither a result nor an error with a name"):
        connect(server).rekey(None, None)


def test_a_name_with_line_ends_is_the_name_without_them(server: TlsServer, connect: Connect) -> None:
    server.script = [error("xDBConnectionLoss\n")]
    with pytest.raises(errors.RekeyOutcomeUnknown):
        connect(server).rekey(None, None)


@pytest.mark.parametrize("case", CLEAR)
def test_clear_to_a_read(server: TlsServer, connect: Connect, case: str) -> None:
    behaviour, expected, _ = CLEAR[case]
    server.script = [behaviour]
    with pytest.raises(errors.ElementRekeyError) as caught:
        connect(server).identity()
    assert type(caught.value) is expected
    assert len(server.seen) == 1
    silent_traceback(caught)


@pytest.mark.parametrize("case", CLEAR)
def test_clear_to_the_rekey(server: TlsServer, connect: Connect, case: str) -> None:
    behaviour, _, expected = CLEAR[case]
    server.script = [behaviour]
    with pytest.raises(errors.ElementRekeyError) as caught:
        connect(server).rekey(None, None)
    assert type(caught.value) is expected
    assert len(server.seen) == 1
    silent_traceback(caught)


def test_the_name_of_a_refusal_is_kept(server: TlsServer, connect: Connect) -> None:
    server.script = [error("xSomethingNew")]
    with pytest.raises(errors.RekeyRefused, match=r"xSomethingNew \(m\)") as caught:
        connect(server).rekey(None, None)
    assert caught.value.name == "xSomethingNew"


# --- before the first byte of a request ---


def refused(serve: Serve, _: ExitStack) -> str:
    server = serve()
    server.close_listener()
    return server.mvip


def backlog_full(_: Serve, stack: ExitStack) -> str:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    address = listener.getsockname()
    for _ignored in range(2):  # from now on the kernel drops what asks for a connection
        waiting = stack.enter_context(socket.socket())
        waiting.settimeout(0)
        waiting.connect_ex(address)
    return f"127.0.0.1:{address[1]}"


def unknown_name(_: Serve, stack: ExitStack) -> str:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(socket, "getaddrinfo", resolve)
    return "cluster.example.com"


def handshake(behave: Callable[[socket.socket, threading.Event], object]) -> Callable[[Serve, ExitStack], str]:
    def before(serve: Serve, _: ExitStack) -> str:
        server = serve(None)
        server.before_handshake = behave
        return server.mvip

    return before


def drip_handshake(raw: socket.socket, over: threading.Event) -> None:
    raw.sendall(b"\x16\x03\x03\x40\x00")  # a TLS record of 16 KiB
    while not over.wait(0.02):
        raw.sendall(b"\x00")


BEFORE: dict[str, Callable[[Serve, ExitStack], str]] = {
    "refused": refused,
    "connect time-out": backlog_full,
    "unknown name": unknown_name,
    "no TLS": handshake(lambda raw, _: raw.sendall(b"220 ready\r\n" * 10)),
    "close in the handshake": handshake(lambda raw, _: raw.recv(1)),
    "stall in the handshake": handshake(lambda _, over: over.wait()),
    "drip in the handshake": handshake(drip_handshake),
}


@pytest.mark.parametrize("case", BEFORE)
def test_without_a_connection_nothing_was_sent(serve: Serve, connect: Connect, case: str) -> None:
    with ExitStack() as stack:
        mvip = BEFORE[case](serve, stack)
        api = connect(serve(), mvip=mvip, timeouts=Timeouts(connect=0.2))
        for call in (api.identity, lambda: api.rekey(None, None)):
            started = time.monotonic()
            with pytest.raises(errors.ElementRekeyError) as caught:
                call()
            assert type(caught.value) is errors.ClusterUnavailable
            assert "No connection to " in str(caught.value)
            assert time.monotonic() - started < 2
            silent_traceback(caught)


def test_a_deadline_that_passed_while_connecting_stops_the_request(server: TlsServer, connect: Connect) -> None:
    server.before_handshake = lambda _, over: over.wait(0.2)
    api = connect(server, timeouts=Timeouts(total=0.1))
    with pytest.raises(errors.ClusterUnavailable, match=r"port \d+: the time for the whole call ran out\."):
        api.rekey(None, None)
    assert server.seen == []


def test_a_deadline_that_passed_between_two_reads(
    server: TlsServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\n")
        exchange.stall()

    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 100 * len(server.seen))
    server.script = [begin]
    with pytest.raises(errors.RekeyOutcomeUnknown):
        connect(server).rekey(None, None)


# --- the cluster's own words ---


def test_words_of_the_cluster_are_quoted_on_one_line_without_our_password(server: TlsServer, connect: Connect) -> None:
    message = f"bad\r\n\x1b[31mthing {PASSWORD} YWRtaW46czNjcjpldC1ww6Rzc3dvcmQ= " + "x" * 1000
    server.script = [lambda exchange: exchange.error("xUnknownException", message)]
    with pytest.raises(errors.ElementApiError) as caught:
        connect(server).identity()
    assert "bad [31mthing *** *** xxx" in str(caught.value)
    assert len(caught.value.what) < 400
    silent_traceback(caught)


def test_an_empty_password_hides_nothing(server: TlsServer, connect: Connect) -> None:
    server.script = [lambda exchange: exchange.error("xUnknownException", "map::at")]
    with pytest.raises(errors.ElementApiError, match="map::at"):
        connect(server, password="").identity()


def test_the_client_shows_no_secret(server: TlsServer, connect: Connect) -> None:
    assert PASSWORD not in repr(connect(server))


# --- why an answer is of no use ---


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (http_status(503), "the answer is HTTP 503"),
        (answered("<p>"), "the answer is no JSON"),
        (answered("[]"), "the answer is no JSON object"),
        (answered('{"id": 99, "result": {}}'), "the answer is one to another call"),
        (answered('{"id": 1}'), "the answer (HTTP 200) holds neither a result nor an error with a name"),
        (answering_with({}), "the answer has no asyncHandle"),
        (
            refusing("xDBConnectionLoss"),
            "the answer is xDBConnectionLoss (m), which can come after the change was made",
        ),
    ],
)
def test_an_unknown_outcome_says_why(
    server: TlsServer, api: ElementApi, behaviour: Callable[[Exchange], None], why: str
) -> None:
    server.script = [behaviour]
    with pytest.raises(errors.RekeyOutcomeUnknown) as caught:
        api.rekey(None, None)
    assert caught.value.what == f"{REKEY} was sent, but {why}."


@pytest.mark.parametrize(
    ("number", "says"),
    [(401, f"{REKEY} was answered with HTTP 401."), (404, "HTTP 404: /json-rpc/12.3 is not served there.")],
)
def test_a_call_that_was_not_looked_at_says_why(server: TlsServer, api: ElementApi, number: int, says: str) -> None:
    server.script = [http_status(number)]
    with pytest.raises(errors.ElementRekeyError) as caught:
        api.rekey(None, None)
    assert caught.value.what == says

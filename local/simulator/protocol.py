"""From an HTTP request to an HTTP reply: accounts, paths, the JSON-RPC envelope, and what wire faults make of it.

Pure: it reads a request and says what to send and how; `server` does the sending.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from local.simulator.calls import Call, Exchange
from local.simulator.errors import RpcError, SimulatorError
from local.simulator.faults import Fault, FaultName, parse_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.simulator.cluster import SimulatedCluster

_ENDPOINT = re.compile(r"/json-rpc/(\d{1,4}\.\d{1,4})/?", re.ASCII)
_JSON: Final = "application/json"
_HTML: Final = "text/html"

# The phrases "401 Unauthorized." and "404 Not Found" are those the vendor's SDKs look for.
_PAGES: Final = {
    401: ("Unauthorized", "401 Unauthorized."),
    404: ("Not Found", "404 Not Found"),
    405: ("Method Not Allowed", "405 Method Not Allowed"),
    413: ("Content Too Large", "413 Content Too Large"),
    502: ("Bad Gateway", "502 Bad Gateway"),
    503: ("Service Unavailable", "503 Service Unavailable"),
}
REASONS: Final = {200: "OK", 204: "No Content", 307: "Temporary Redirect", 400: "Bad Request"} | {
    status: reason for status, (reason, _) in _PAGES.items()
}


class Manner(StrEnum):
    """How a reply goes out."""

    WHOLE = "whole"
    RESET = "reset"
    STALL = "stall"
    DRIP = "drip"
    TRUNCATE = "truncate"


@dataclass(frozen=True)
class HttpRequest:
    """What of an HTTP request matters. `authorization` is the header's text, empty where there was none."""

    verb: str
    target: str
    authorization: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Reply:
    """An HTTP reply and the manner of its sending; `seconds` belongs to the manner (stall, or pause between bytes)."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()
    manner: Manner = Manner.WHOLE
    seconds: float = 0.0


def reply_to(cluster: SimulatedCluster, request: HttpRequest) -> Reply:
    """The cluster's reply to a request, injected faults included."""
    username, password = _credentials(request.authorization)
    path = urlsplit(request.target).path
    if path.startswith("/simulator/"):
        refused = cluster.refusal(username, password, cluster.spec.api_version)
        return page(refused) if refused else _control(cluster, request.verb, path, request.body)
    endpoint = _ENDPOINT.fullmatch(path)
    version = endpoint[1] if endpoint else ""
    if not endpoint or request.verb not in {"GET", "POST"}:
        return page(cluster.refusal(username, password, version) or 405)
    identity, method, params = _envelope(request)
    if cluster.spec.assumptions.echoed_id == "text" and isinstance(identity, int):
        identity = str(identity)
    if method is None:
        refused = cluster.refusal(username, password, version)
        error = RpcError(cluster.spec.assumptions.malformed_request_error, "The request is not a JSON-RPC request.")
        return page(refused) if refused else _json({"error": error.to_json(), "id": identity})
    exchange = cluster.exchange(Call(method, params, version, username, password))
    reply = _plain(exchange, identity)
    return reply if exchange.fault is None else _damaged(exchange.fault, reply, request, identity)


def _plain(exchange: Exchange, identity: object) -> Reply:
    if exchange.refused is not None:
        return page(exchange.refused)
    return _json({"id": identity} | dict(exchange.outcome or {}))


def _damaged(rule: Fault, reply: Reply, request: HttpRequest, identity: object) -> Reply:
    """What a wire fault makes of a reply."""
    seconds = rule.seconds or 0.0
    manners = {
        FaultName.RESET_BEFORE: Manner.RESET,
        FaultName.RESET_AFTER: Manner.RESET,
        FaultName.APPLY_DELAY: Manner.RESET,
        FaultName.MASTER_MOVE: Manner.RESET,
        FaultName.STALL: Manner.STALL,
        FaultName.DRIP: Manner.DRIP,
        FaultName.TRUNCATED_BODY: Manner.TRUNCATE,
    }
    name = FaultName(rule.fault)
    if name in manners:
        return replace(reply, manner=manners[name], seconds=seconds)
    replies: dict[FaultName, Callable[[], Reply]] = {
        FaultName.NULL_RESULT: lambda: _json({"id": identity, "result": None}),
        FaultName.NULL_BODY: lambda: _json(None),
        FaultName.EMPTY_BODY: lambda: Reply(200, b""),
        FaultName.HTML_401: lambda: page(401),
        FaultName.HTML_404: lambda: page(404),
        FaultName.HTML_502: lambda: page(502),
        FaultName.HTML_503: lambda: page(503),
        FaultName.REDIRECT_307: lambda: Reply(307, b"", _HTML, (("Location", request.target),)),
    }
    return replies[name]()


def _credentials(authorization: str) -> tuple[str, str]:
    """The account of a Basic Authorization header; two empty texts, which match no account, where there is none."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        username, _, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return username, password


def _envelope(request: HttpRequest) -> tuple[object, str | None, object]:
    """The id, method and params of a request; method None where it is no JSON-RPC request."""
    if request.verb == "GET":
        query = dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))
        return None, query.pop("method", None), query
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError):
        return None, None, None
    if not isinstance(document, dict):
        return None, None, None
    method = document.get("method")
    return document.get("id"), method if isinstance(method, str) else None, document.get("params")


def _json(document: object) -> Reply:
    return Reply(200, json.dumps(document).encode())


def page(status: int) -> Reply:
    """A page of HTML: Element answers so to whatever fails before JSON-RPC."""
    title, text = _PAGES[status]
    body = f"<html><head><title>{title}</title></head><body><p>{text}</p></body></html>\n"
    headers = (("WWW-Authenticate", 'Basic realm="SolidFire Cluster"'),) if status == 401 else ()  # noqa: PLR2004
    return Reply(status, body.encode(), _HTML, headers)


def _control(cluster: SimulatedCluster, verb: str, path: str, body: bytes) -> Reply:
    """The simulator's own endpoints; faults do not touch them."""
    handlers: Mapping[tuple[str, str], Callable[[], object]] = {
        ("/simulator/state", "GET"): cluster.report,
        ("/simulator/faults", "GET"): cluster.fault_report,
        ("/simulator/faults", "PUT"): lambda: _put_faults(cluster, body),
        ("/simulator/faults", "DELETE"): cluster.clear_faults,
    }
    if path not in {known for known, _ in handlers}:
        return page(404)
    if (path, verb) not in handlers:
        return page(405)
    try:
        return _json(handlers[path, verb]() or [])
    except SimulatorError as error:
        return replace(_json({"error": str(error)}), status=400)


def _put_faults(cluster: SimulatedCluster, body: bytes) -> list[dict[str, object]]:
    """Replaces all rules by those of the body, all or none."""
    rules = parse_rules(body.decode(errors="replace"))
    cluster.clear_faults()
    for rule in rules:
        cluster.inject(rule)
    return cluster.fault_report()

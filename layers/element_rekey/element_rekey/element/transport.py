"""HTTPS to one Element cluster: one request, one answer, one deadline, and the trust its registration states.

What goes wrong is distinguished by when it happens. While the connection is being made nothing can have reached the
cluster: ``ClusterUnavailable`` or ``CertificateRefused``. From then on it may have: ``AnswerUnusable``.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPResponse
from socket import create_connection
from typing import TYPE_CHECKING, Any, Final, cast

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from element_rekey.errors import CertificateRefused, ClusterUnavailable, ElementRekeyError, RegistrationInvalid

from .certificates import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from element_rekey.records import Registration

_HTTPS_PORT: Final = 443
_HIGHEST_PORT: Final = 65535
_BODY_LIMIT_BYTES: Final = 4 * 1024 * 1024  # GetAPI, the longest answer, lists every method of every version: < 1 MiB
_ANSWER_LIMIT_BYTES: Final = _BODY_LIMIT_BYTES + 1024 * 1024  # with its headers, and its chunks if they are not tiny
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_CHUNK_BYTES: Final = 64 * 1024
# Servers commonly close a connection after five idle seconds, and firewalls forget idle ones without a word.
_KEEP_ALIVE: Final = timedelta(seconds=4)
# These statuses say all there is to say; a cut-off page of HTML behind them must not make them doubtful.
_STATUS_IS_ENOUGH: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND})

_MVIP: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_NUMBERS_AND_DOTS: Final = re.compile(r"[0-9.]+")
_SHA256_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{64}")
_ANOTHER_NAME: Final = frozenset({62, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


class AnswerUnusable(Exception):
    """The request may have reached the cluster, and what came back does not say what became of it."""


class AnswerLate(AnswerUnusable):
    """No whole answer came in time."""


_LATE: Final = (TimeoutError, requests.Timeout, ReadTimeoutError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one request may take, in seconds.

    A test of a key provider and two other calls that stall fit into the time of a function. No other call is known to
    be slow: the reads are answered from the cluster's own database (the list of faults from one kept for 30 seconds),
    and a rekey with its handle as soon as it has begun. While another node becomes cluster master every call fails for
    a minute or two; that is for the retries of the state machine to outlast.
    """

    connect: float = 5.0  # for each address of the name, and for the TLS handshake
    read: float = 15.0  # without a single byte
    total: float = 20.0  # until the last byte; name resolution is bounded by the resolver
    provider_test: float = 45.0  # in place of both; the cluster itself contacts every host name of the key server


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer."""

    status: int
    body: bytes
    clock_offset: timedelta | None  # how far the cluster's clock is ahead of ours, where its Date header says


def parse_mvip(mvip: str, cluster: str = "") -> tuple[str, int]:
    """Host and port of an address or host name, ``[IPv6]`` or bare IPv6, with ``:port`` where it is not 443.

    Raises RegistrationInvalid; it does not repeat the value, which could be a URL with a password in it.
    """
    bare_ipv6 = mvip.count(":") > 1 and not mvip.startswith("[")
    match = _MVIP.fullmatch(f"[{mvip}]" if bare_ipv6 else mvip)
    host = _host(match["host"]) if match else ""
    port = int(match["port"] or _HTTPS_PORT) if match else 0
    if not host or not 0 < port <= _HIGHEST_PORT:
        what = "mvip must be an IP address or a host name, with :port if need be, and nothing else."
        raise RegistrationInvalid(what, cluster=cluster)
    return host, port


def _host(text: str) -> str:
    """The address or host name without brackets; empty when it is neither."""
    try:
        if text.startswith("["):
            return str(ipaddress.IPv6Address(text[1:-1])) if "%" not in text else ""
        if _NUMBERS_AND_DOTS.fullmatch(text):
            return str(ipaddress.IPv4Address(text))
    except ValueError:
        return ""
    return text if _HOST_NAME.fullmatch(text) else ""


def clock_offset(date: str | None, sent_at: datetime, received_at: datetime) -> timedelta | None:
    """How far the clock behind a ``Date`` header is ahead of ours; None without a readable header.

    The header counts whole seconds and was written at some moment of the exchange. While both readings can be of the
    same instant the clocks agree as far as anybody can see, and zero keeps the cluster's own fractions intact.
    """
    try:
        earliest = parsedate_to_datetime(date or "")
        earliest = earliest.replace(tzinfo=earliest.tzinfo or UTC)
        latest = earliest + timedelta(seconds=1)
        if earliest <= received_at and sent_at <= latest:
            return timedelta(0)
        return ((earliest - received_at) + (latest - sent_at)) / 2  # midpoint to midpoint
    except (ValueError, OverflowError):
        return None


class _Socket(ssl.SSLSocket):
    """A TLS socket of which no read outlasts the request's deadline, so that neither headers nor body can drip past it.

    Nor is more read from it than an answer may have, whatever the HTTP library makes of the lengths it gets: a chunk
    of a negative size means everything to it. The handshake needs no such care: ``ssl`` counts its time-out over the
    whole of it.
    """

    seconds_left: Callable[[], float]
    count: Callable[[int], None]

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read, or close: ``ssl`` calls this on a connection that was reset early, and then forgets the socket."""
        try:
            return super().recv(buflen, flags)
        except OSError:
            self.close()
            raise

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Read what is there, waiting no longer than the request may take. Raises TimeoutError, AnswerUnusable."""
        seconds_left = self.seconds_left()
        if seconds_left <= 0:
            raise TimeoutError
        self.settimeout(min(seconds_left, self.gettimeout() or math.inf))
        received = super().recv_into(buffer, nbytes, flags)
        self.count(received)
        return received


class _Response(HTTPResponse):
    """An answer of which the length, where it gives one, is one: Python reads -1, +5 and 1_0 as numbers, too."""

    def begin(self) -> None:
        """Read status and headers. Raises AnswerUnusable."""
        super().begin()
        lengths = self.headers.get_all("Content-Length", [])
        if self.status not in _STATUS_IS_ENOUGH and not all(map(_LENGTH.fullmatch, lengths)):
            raise AnswerUnusable("the answer has a Content-Length that is no number")


class _Connection(HTTPSConnection):
    """A connection that names its own failures, because urllib3 and requests blur when something failed."""

    response_class = _Response

    def __init__(self, *, transport: Transport, **kwargs: Any) -> None:  # noqa: ANN401 - urllib3's own
        super().__init__(**kwargs)
        self._transport = transport

    def connect(self) -> None:
        """Connect and check the certificate; not a byte of a request is sent before this returns.

        Raises ClusterUnavailable or CertificateRefused, which urllib3 and requests hand on as they are.
        """
        try:
            super().connect()
        except ssl.SSLCertVerificationError as error:
            raise self._transport.certificate_refused(error) from None
        except (OSError, HTTPError) as error:
            raise self._transport.unreachable(str(error.__cause__ or error)) from None
        connected = cast("_Socket", self.sock)
        connected.seconds_left = self._transport.seconds_left
        connected.count = self._transport.count
        self._transport.check_certificate(connected)
        self.is_verified = True  # by the pin alone, if there is one: urllib3 cannot know
        if connected.seconds_left() <= 0:
            raise self._transport.unreachable("the time for the whole call ran out")


class _Pool(HTTPSConnectionPool):
    """Makes our connections."""

    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """Sends through our pool, so that nothing else decides about proxies or trust."""

    def __init__(self, new_pool: Callable[[], _Pool]) -> None:
        super().__init__(max_retries=0)
        self._new_pool = new_pool
        self._pool = new_pool()

    def get_connection_with_tls_context(self, *_: object, **__: object) -> _Pool:
        """Our pool, whatever the request and the session say."""
        return self._pool

    def cert_verify(self, *_: object) -> None:
        """Change nothing: by default requests adds the public CAs to whatever the pool trusts."""

    def close(self) -> None:
        """Drop the connection; the next request makes a new one."""
        self._pool.close()
        self._pool = self._new_pool()


class Transport:
    """One kept-alive HTTPS connection to one cluster, used by one thread."""

    def __init__(
        self, cluster: str, registration: Registration, timeouts: Timeouts, clock: Callable[[], datetime]
    ) -> None:
        """Prepare, without connecting. Raises RegistrationInvalid."""
        self._cluster = cluster
        self._timeouts = timeouts
        self._clock = clock
        self._deadline = math.inf
        self._received = 0
        self._last_used = clock()
        self._host, self._port = parse_mvip(registration.mvip, cluster)
        self._server_name = _host(registration.server_name)
        if registration.server_name and not self._server_name:
            raise RegistrationInvalid("serverName must be a host name or an IP address.", cluster=cluster)
        self._pins = [pin.replace(":", "").lower() for pin in registration.certificate_fingerprints if pin]
        if not all(map(_SHA256_HEXADECIMAL.fullmatch, self._pins)):
            what = "certificateFingerprint must be a SHA-256 fingerprint, 64 hexadecimal digits, or a list of them."
            raise RegistrationInvalid(what, cluster=cluster)
        self.presented = b""  # the certificate (DER) of the cluster that was connected to last
        self._tls = self._trust(registration.ca_bundle)
        authority = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"https://{authority}:{self._port}"
        self._session = requests.Session()
        # As bytes, because requests would encode text as Latin-1; with credentials set, no .netrc is looked into.
        self._session.auth = HTTPBasicAuth(registration.username.encode(), registration.password.encode())
        self._session.headers.clear()
        self._session.headers.update(
            {
                "Accept-Encoding": "identity",  # answers are short, and what is not unpacked cannot swell
                "Content-Type": "application/json-rpc",
                "User-Agent": "element-rekey",
            }
        )
        self._session.mount(self._url, _Adapter(self._new_pool))

    def post(self, path: str, body: bytes, *, fresh_connection: bool, patience: float | None = None) -> HttpAnswer:
        """POST once and read the answer, within ``patience`` seconds where that is given.

        A connection idle for longer than a few seconds is replaced first, by the wall clock, since the monotonic one
        may stand still while a function is frozen. ``fresh_connection`` replaces it always: on a kept one a reset does
        not show whether the request arrived. What still fails on a kept connection is not sent again here.

        Raises ClusterUnavailable or CertificateRefused when certainly nothing was sent, else AnswerUnusable, which is
        AnswerLate where time ran out.
        """
        sent_at = self._clock()
        if fresh_connection or not timedelta(0) <= sent_at - self._last_used <= _KEEP_ALIVE:
            self._session.close()
        self._deadline = time.monotonic() + (patience or self._timeouts.total)
        self._received = 0
        request = self._session.prepare_request(requests.Request("POST", self._url + path, data=body))
        # Straight to the adapter: following redirects, keeping cookies and minding the environment are the session's.
        adapter = self._session.get_adapter(self._url)
        try:
            timeout = (self._timeouts.connect, patience or self._timeouts.read)
            with adapter.send(request, stream=True, timeout=timeout) as response:
                self._last_used = self._clock()
                return HttpAnswer(
                    response.status_code,
                    b"" if response.status_code in _STATUS_IS_ENOUGH else _read_body(response),
                    clock_offset(response.headers.get("Date"), sent_at, self._last_used),
                )
        except (ElementRekeyError, AnswerUnusable):
            raise
        except Exception as error:  # noqa: BLE001 - sent is sent, whatever the libraries raise at what comes back
            # The class only: the text of some quotes what the other side sent.
            why = f"the connection failed before a whole answer came ({type(error).__name__})"
            raise (AnswerLate if isinstance(error, _LATE) else AnswerUnusable)(why) from None

    def close(self) -> None:
        """Drop the connection."""
        self._session.close()

    def seconds_left(self) -> float:
        """Seconds until the deadline of the current request; negative once it has passed."""
        return self._deadline - time.monotonic()

    def count(self, received: int) -> None:
        """Count the bytes of the current answer. Raises AnswerUnusable above the limit."""
        self._received += received
        if self._received > _ANSWER_LIMIT_BYTES:
            raise AnswerUnusable(f"the answer is longer than {_ANSWER_LIMIT_BYTES} bytes")

    def check_certificate(self, connected: ssl.SSLSocket) -> None:
        """Compare the certificate with the registered fingerprints, if there are any, and keep it.

        Raises CertificateRefused.
        """
        certificate = _certificate(connected)
        presented = fingerprint(certificate)
        if self._pins and not any(hmac.compare_digest(presented, pin) for pin in self._pins):
            known = "the registered certificateFingerprint"
            raise self._refusal(f"it is not {known}" if len(self._pins) == 1 else f"it is none of {known}s", presented)
        self.presented = certificate

    def certificate_refused(self, error: ssl.SSLCertVerificationError) -> CertificateRefused:
        """The error for a certificate the handshake refused, with its fingerprint so that a person can compare.

        A failed handshake does not give the certificate away, hence a second one that trusts anybody and says nothing.
        """
        why = error.verify_message.rstrip(".")
        if error.verify_code in _ANOTHER_NAME:
            why += ". If it is the cluster's, use the fingerprint alone (certificateFingerprint), or serverName with a "
            why += "name that is in it"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with (
                create_connection((self._host, self._port), timeout=self._timeouts.connect) as raw,
                context.wrap_socket(raw, server_hostname=self._server_name or self._host) as connected,
            ):
                return self._refusal(why, fingerprint(_certificate(connected)))
        except OSError:
            return self._refusal(why, "not available")

    def unreachable(self, why: str) -> ClusterUnavailable:
        """The error for a connection that did not come about."""
        return ClusterUnavailable(f"No connection to {self._host} port {self._port}: {why}.", cluster=self._cluster)

    def _refusal(self, why: str, presented: str) -> CertificateRefused:
        what = f"The certificate of {self._host} port {self._port} is refused: {why}. Its fingerprint is {presented}."
        return CertificateRefused(what, cluster=self._cluster)

    def _trust(self, ca_bundle: str) -> ssl.SSLContext:
        """The registered fingerprints, or else the registered bundle, or else the public CAs that come with requests.

        Built by hand: the ready-made contexts obey SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the chain and the host name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the cluster's own certificate may be the bundle
        context.sslsocket_class = _Socket
        if ca_bundle:
            try:
                context.load_verify_locations(cadata=ca_bundle)
            except (ssl.SSLError, ValueError, TypeError):
                what = "caBundle must hold certificates in PEM form."
                raise RegistrationInvalid(what, cluster=self._cluster) from None
        elif not self._pins:
            context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
        if self._pins:
            # A fingerprint names one certificate; no name in it and no authority behind it could say more. Element's
            # own certificates have neither (docs/adr/0016).
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _new_pool(self) -> _Pool:
        server_name = self._server_name or None
        return _Pool(self._host, self._port, ssl_context=self._tls, server_hostname=server_name, transport=self)


def _read_body(response: requests.Response) -> bytes:
    """The body as sent. Raises AnswerUnusable above the limit, and what urllib3 raises."""
    body = bytearray()
    for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
        body += chunk
        if len(body) > _BODY_LIMIT_BYTES:
            raise AnswerUnusable(f"the answer is longer than {_BODY_LIMIT_BYTES} bytes")
    return bytes(body)


def _certificate(connected: ssl.SSLSocket) -> bytes:
    """The certificate presented, as DER."""
    return connected.getpeercert(binary_form=True) or b""

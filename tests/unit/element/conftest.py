from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import trustme

from element_rekey.element.client import ElementApi
from element_rekey.element.transport import Timeouts
from element_rekey.records import Registration
from tests.unit.element.tls_server import TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSWORD = "s3cr:et-pässword"


class Connect(Protocol):
    def __call__(
        self,
        server: TlsServer,
        *,
        refresh: Callable[[], Registration] | None = None,
        clock: Callable[[], datetime] = ...,
        timeouts: Timeouts = ...,
        **registration: str | tuple[str, ...],
    ) -> ElementApi: ...


class Serve(Protocol):
    def __call__(self, tls: ssl.SSLContext | None = ..., *, address: str = ...) -> TlsServer: ...


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_bundle(ca: trustme.CA) -> str:
    return ca.cert_pem.bytes().decode()


@pytest.fixture(scope="session")
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    return tls_of(ca.issue_cert("127.0.0.1", "::1", "localhost"))


def tls_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def serve(server_tls: ssl.SSLContext) -> Iterator[Serve]:
    servers: list[TlsServer] = []

    def start(tls: ssl.SSLContext | None = server_tls, *, address: str = "127.0.0.1") -> TlsServer:
        servers.append(TlsServer(tls, address))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(serve: Serve) -> TlsServer:
    return serve()


@pytest.fixture
def connect(ca_bundle: str) -> Iterator[Connect]:
    clients: list[ElementApi] = []

    def client(
        server: TlsServer,
        *,
        refresh: Callable[[], Registration] | None = None,
        clock: Callable[[], datetime] = now,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        **registration: str | tuple[str, ...],
    ) -> ElementApi:
        members: dict[str, Any] = {"ca_bundle": ca_bundle} | registration
        registered = replace(Registration(server.mvip, "admin", PASSWORD), **members)
        clients.append(
            ElementApi("prod-a", registered, refresh=refresh or (lambda: registered), clock=clock, timeouts=timeouts)
        )
        return clients[-1]

    yield client
    for api in clients:
        api.close()


@pytest.fixture
def api(server: TlsServer, connect: Connect) -> ElementApi:
    return connect(server)

"""A scripted HTTPS server on a real socket: each request is answered by the next behaviour of a script."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from datetime import datetime


@dataclass
class Seen:
    """A request as it came over the wire."""

    connection: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    verb: str


class Exchange:
    """One request and the means to answer it, well or badly."""

    def __init__(self, server: TlsServer, connection: ssl.SSLSocket, seen: Seen) -> None:
        self.server = server
        self.connection = connection
        self.seen = seen
        self.keep_alive = True

    def answer(self, document: object, *, status: int = 200, headers: tuple[str, ...] = ()) -> None:
        self.send(json.dumps(document).encode(), status=status, headers=headers)

    def result(self, result: object, **members: object) -> None:
        self.answer({"id": self.seen.body["id"], "result": result} | members)

    def error(self, name: str, message: str = "", *, status: int = 200) -> None:
        error = {"code": 500, "name": name, "message": message}
        self.answer({"id": self.seen.body["id"], "error": error}, status=status)

    def send(self, body: bytes, *, status: int = 200, headers: tuple[str, ...] = ()) -> None:
        date = (f"Date: {format_datetime(self.server.clock(), usegmt=True)}",) if self.server.clock else ()
        lines = (f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *date, *headers, "", "")
        self.raw("\r\n".join(lines).encode("latin-1") + body)

    def raw(self, data: bytes) -> None:
        self.connection.sendall(data)

    def close(self) -> None:
        self.keep_alive = False

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keep_alive = False

    def stall(self) -> None:
        """Keep silent until the test is over."""
        self.server.over.wait()
        self.keep_alive = False

    def drip(self, data: bytes) -> None:
        """Send something often enough for any read time-out, for longer than any deadline."""
        with contextlib.suppress(OSError):
            while not self.server.over.wait(0.02):
                self.raw(data)
        self.keep_alive = False


@dataclass
class TlsServer:
    """Serves until closed; ``script`` holds what to do with the coming requests, ``otherwise`` is for the rest."""

    tls: ssl.SSLContext | None
    address: str = "127.0.0.1"
    clock: Callable[[], datetime] | None = None
    script: list[Callable[[Exchange], None]] = field(default_factory=list)
    otherwise: Callable[[Exchange], None] = lambda exchange: exchange.result({})
    before_handshake: Callable[[socket.socket, threading.Event], object] | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    sent: int = 0
    """What a behaviour counts here."""
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._listener = socket.create_server((self.address, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def mvip(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def methods(self) -> list[str]:
        return [seen.body["method"] for seen in self.seen]

    def drop_connections(self) -> None:
        """Close every connection, as a server does with idle ones."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def close_listener(self) -> None:
        """Refuse connections from now on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()

    def close(self) -> None:
        self.over.set()
        self.close_listener()
        self.drop_connections()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(raw)
            thread = threading.Thread(target=self._serve, args=(raw, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        with raw, contextlib.suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.before_handshake:
                self.before_handshake(raw, self.over)
            if self.tls is None:
                return
            with self.tls.wrap_socket(raw, server_side=True) as connection:
                self._open.append(connection)
                with connection.makefile("rb") as reader:
                    while self._exchange(connection, reader, number):
                        pass

    def _exchange(self, connection: ssl.SSLSocket, reader: Any, number: int) -> bool:  # noqa: ANN401 - a file
        verb, _, rest = reader.readline().decode().partition(" ")
        if not rest:
            return False
        headers: dict[str, str] = {}
        while line := reader.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = json.loads(reader.read(int(headers["content-length"])))
        seen = Seen(number, rest.partition(" ")[0], headers, body, verb)
        self.seen.append(seen)
        exchange = Exchange(self, connection, seen)
        behaviour = self.script.pop(0) if self.script else self.otherwise
        behaviour(exchange)
        return exchange.keep_alive

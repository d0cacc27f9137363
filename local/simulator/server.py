"""The HTTPS server of one simulated cluster: sockets, TLS, HTTP/1.1, and the wire faults that need a socket."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import struct
import sys
import threading
import traceback
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Final, cast

from local.simulator.protocol import REASONS, HttpRequest, Manner, Reply, page, reply_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.simulator.certificates import Identity
    from local.simulator.cluster import SimulatedCluster

_IDLE_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
_LARGEST_BODY: Final = 1 << 20


class ClusterServer(socketserver.ThreadingTCPServer):
    """Serves one cluster on loopback until `stop`. `identity` gives the certificate for a new connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, cluster: SimulatedCluster, identity: Callable[[], Identity]) -> None:
        self.cluster = cluster
        self.identity = identity
        self.stopping = threading.Event()
        self._connections: set[_Connection] = set()
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if cluster.spec.host == "::1" else socket.AF_INET
        super().__init__((cluster.spec.host, cluster.spec.port), _Connection)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": _POLL_SECONDS}, name=f"simulator-{cluster.spec.name}"
        )

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Begins to accept connections, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stops accepting, ends all connections, and waits for their threads."""
        self.stopping.set()
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._changed:
            for connection in self._connections:
                connection.hang_up()
            self._changed.wait_for(lambda: not self._connections, timeout=_STOP_SECONDS)

    def close_idle_connections(self) -> None:
        """Ends the kept-alive connections on which no request is being answered."""
        with self._changed:
            for connection in self._connections:
                connection.hang_up_if_idle()

    def enter(self, connection: _Connection) -> None:
        """Counts a connection in."""
        with self._changed:
            self._connections.add(connection)

    def leave(self, connection: _Connection) -> None:
        """Counts a connection out."""
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002 - the base's signature
        """Whether to go on with a connection just accepted; a refused one is reset before TLS begins."""
        if not self.cluster.refuses_connection():
            return True
        _reset_on_close(cast("socket.socket", request))
        return False

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Closes a connection as it is: an orderly shutdown would turn a reset into an end of file."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base's signature
        """A connection that breaks is the client's business; anything else is a defect here and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class _Connection(BaseHTTPRequestHandler):
    """One connection, on its own thread."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS

    def setup(self) -> None:
        self.idle = False
        self.turn = threading.Lock()
        self.owner = cast("ClusterServer", self.server)
        self.epoch = self.owner.cluster.epoch
        raw = cast("socket.socket", self.request)
        raw.settimeout(self.timeout)
        self.owner.enter(self)
        try:
            self.request = self.owner.identity().context.wrap_socket(raw, server_side=True)
            super().setup()
        except BaseException:
            # The base calls `finish` only after a `setup` that went well.
            self.owner.leave(self)
            raise

    def finish(self) -> None:
        try:
            super().finish()
            self.connection.close()
        finally:
            self.owner.leave(self)

    def handle_one_request(self) -> None:
        self.idle = True
        super().handle_one_request()

    def parse_request(self) -> bool:
        self.idle = False
        return super().parse_request()

    def _serve(self) -> None:
        """Answers one request."""
        length = self.headers.get("Content-Length", "0")
        size = int(length) if re.fullmatch(r"[0-9]{1,12}", length) else 0
        if size > _LARGEST_BODY:
            # Read to its end all the same: closed upon unread bytes, the connection would lose the answer.
            while size > 0 and (chunk := self.rfile.read(min(size, _LARGEST_BODY))):
                size -= len(chunk)
            self._send(page(413))
            return
        request = HttpRequest(self.command, self.path, self.headers.get("Authorization", ""), self.rfile.read(size))
        reply = reply_to(self.owner.cluster, request)
        if self.epoch != self.owner.cluster.epoch:
            self.owner.close_idle_connections()  # the call itself brought about a fault that ends connections
        self._send(reply)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - names the base looks for

    def log_message(self, *_: object) -> None:
        """Nothing: the cluster keeps the log."""

    def hang_up_if_idle(self) -> None:
        """Ends the connection if no request is being answered on it: once an answer is out, it is idle."""
        with self.turn:
            if self.idle:
                self.hang_up()

    def hang_up(self) -> None:
        """Ends the connection from another thread; the TLS layer belongs to the connection's own."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.request, socket.SHUT_RDWR)

    def _send(self, reply: Reply) -> None:
        if reply.manner is not Manner.WHOLE:
            self._send_badly(reply)
            return
        with self.turn:
            # One write: two would cost 40 ms each time (Nagle's algorithm against delayed acknowledgement).
            self.connection.sendall(self._head(reply) + reply.body)
            self.idle = True

    def _send_badly(self, reply: Reply) -> None:
        head = self._head(reply)
        match reply.manner:
            case Manner.RESET:
                self.close_connection = True
                _reset_on_close(self.connection)
            case Manner.STALL:
                self.close_connection = True
                self.owner.stopping.wait(reply.seconds)
            case Manner.TRUNCATE:
                self.close_connection = True
                self.connection.sendall(head + reply.body[: len(reply.body) // 2])
            case Manner.DRIP:
                self.connection.sendall(head)
                for at in range(len(reply.body)):
                    if self.owner.stopping.wait(reply.seconds):
                        return
                    self.connection.sendall(reply.body[at : at + 1])

    def _head(self, reply: Reply) -> bytes:
        if self.epoch != self.owner.cluster.epoch:
            self.close_connection = True
        lines = [
            f"HTTP/1.1 {reply.status} {REASONS[reply.status]}",
            f"Date: {format_datetime(self.owner.cluster.cluster_time(), usegmt=True)}",
            "Server: Element simulator",
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.body)}",
            *(f"{name}: {value}" for name, value in reply.headers),
        ]
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _reset_on_close(connection: socket.socket) -> None:
    """Has a connection end with a TCP reset, rather than an end of file, when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

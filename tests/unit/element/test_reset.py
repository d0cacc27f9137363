"""A connection that is reset before its handshake."""

from __future__ import annotations

import gc
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
import urllib3.util.connection

from element_rekey.element.transport import Timeouts, Transport
from element_rekey.errors import ClusterUnavailable
from element_rekey.records import Registration
from tests.unit.element.conftest import now

if TYPE_CHECKING:
    from collections.abc import Iterator

RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)


@pytest.fixture
def connected() -> threading.Event:
    """Whether the client knows that it is connected; a reset before that is another error."""
    return threading.Event()


@pytest.fixture
def resetting(connected: threading.Event) -> Iterator[int]:
    """The port of a server that resets the one connection it accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            connection, _ = listener.accept()
            connected.wait(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_WHEN_CLOSED)
            connection.close()

        server = threading.Thread(target=reset)
        server.start()
        yield listener.getsockname()[1]
        server.join()


def test_a_connection_reset_before_the_handshake_is_closed(
    resetting: int, connected: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ssl`` forgets such a socket, and whoever collects garbage next would be blamed for it."""
    connect = urllib3.util.connection.create_connection

    def connect_and_be_late(*given: Any, **named: Any) -> socket.socket:  # noqa: ANN401 - of urllib3
        sock: socket.socket = connect(*given, **named)
        connected.set()
        select.select([sock], [], [], 10)  # until the reset is here
        return sock

    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect_and_be_late)
    registration = Registration(f"127.0.0.1:{resetting}", "admin", "pw", certificate_fingerprints=("0" * 64,))
    transport = Transport("prod-a", registration, Timeouts(), now)
    with pytest.raises(ClusterUnavailable, match="Connection reset by peer"):
        transport.post("/json-rpc/12.3", b"{}", fresh_connection=True)
    gc.collect()  # a socket left open is a ResourceWarning here, and an error

"""This project's own client."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bench.callers.protocol import Target, serve
from element_rekey.element.client import ElementApi
from element_rekey.records import Registration


class Ours:
    """See the module."""

    def __init__(self, target: Target) -> None:
        pem = Path(target.ca_file).read_text(encoding="ascii")
        registration = Registration(target.mvip, target.username, target.password, ca_bundle=pem)
        self._handle = target.handle
        self._api = ElementApi("bench", registration, refresh=lambda: registration, clock=lambda: datetime.now(UTC))

    def identity(self) -> object:
        """``GetClusterInfo``."""
        return self._api.identity()

    def job(self) -> object:
        """``GetAsyncResult``."""
        return self._api.rekey_job(self._handle)

    def encryption(self) -> object:
        """``GetSoftwareEncryptionAtRestInfo``."""
        return self._api.encryption()

    def close(self) -> None:
        """Drop the connection."""
        self._api.close()


if __name__ == "__main__":
    serve(Ours)

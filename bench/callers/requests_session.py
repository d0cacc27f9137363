"""``requests.Session``: the connection is kept."""

from __future__ import annotations

from typing import Any

import requests

from bench.callers.protocol import Target, request, serve

SECONDS = 20


class RequestsSession:
    """See the module."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._session = requests.Session()
        self._session.auth = (target.username, target.password)
        self._session.verify = target.ca_file

    def identity(self) -> object:
        """``GetClusterInfo``."""
        return self._call(request("GetClusterInfo"))

    def job(self) -> object:
        """``GetAsyncResult``."""
        return self._call(request("GetAsyncResult", asyncHandle=self._target.handle, keepResult=True))

    def encryption(self) -> object:
        """``GetSoftwareEncryptionAtRestInfo``."""
        return self._call(request("GetSoftwareEncryptionAtRestInfo"))

    def close(self) -> None:
        """Drop the connection."""
        self._session.close()

    def _call(self, body: dict[str, Any]) -> object:
        answer: object = self._session.post(self._target.url, json=body, timeout=SECONDS).json()["result"]
        return answer


if __name__ == "__main__":
    serve(RequestsSession)

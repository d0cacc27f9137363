"""``requests.post``, as in most scripts: a connection for each call."""

from __future__ import annotations

from typing import Any

import requests

from bench.callers.protocol import Target, request, serve

SECONDS = 20


class RequestsPost:
    """See the module."""

    def __init__(self, target: Target) -> None:
        self._target = target

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
        """It keeps nothing."""

    def _call(self, body: dict[str, Any]) -> object:
        to = self._target
        auth = (to.username, to.password)
        answer: object = requests.post(to.url, json=body, auth=auth, verify=to.ca_file, timeout=SECONDS).json()[
            "result"
        ]
        return answer


if __name__ == "__main__":
    serve(RequestsPost)

"""The standard library's ``http.client`` with a kept connection: about the least that Python can do."""

from __future__ import annotations

import http.client
import json
import ssl
from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

from bench.callers.protocol import Target, request, serve

SECONDS = 20


class HttpClient:
    """See the module."""

    def __init__(self, target: Target) -> None:
        url = urlsplit(target.url)
        context = ssl.create_default_context(cafile=target.ca_file)
        self._connection = http.client.HTTPSConnection(url.netloc, timeout=SECONDS, context=context)
        self._path = url.path
        account = b64encode(f"{target.username}:{target.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {account}"}
        self._handle = target.handle

    def identity(self) -> object:
        """``GetClusterInfo``."""
        return self.call(request("GetClusterInfo"))

    def job(self) -> object:
        """``GetAsyncResult``."""
        return self.call(request("GetAsyncResult", asyncHandle=self._handle, keepResult=True))

    def encryption(self) -> object:
        """``GetSoftwareEncryptionAtRestInfo``."""
        return self.call(request("GetSoftwareEncryptionAtRestInfo"))

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()

    def call(self, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """The result of a call."""
        self._connection.request("POST", self._path, json.dumps(body), self._headers)
        return json.load(self._connection.getresponse())["result"]


if __name__ == "__main__":
    serve(HttpClient)

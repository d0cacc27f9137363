"""NetApp's SDK, made to verify the certificate, which it does not do unless told to."""

from __future__ import annotations

import logging

from solidfire.factory import ElementFactory

from bench.callers.protocol import Target, serve

logging.disable(logging.INFO)  # unless told not to, it writes every call to standard error


class NetAppSdk:
    """See the module."""

    def __init__(self, target: Target) -> None:
        self._handle = target.handle
        self._element = ElementFactory.create(
            target.mvip, target.username, target.password, verify_ssl=target.ca_file, print_ascii_art=False
        )

    def identity(self) -> object:
        """``GetClusterInfo``."""
        answer: object = self._element.get_cluster_info()
        return answer

    def job(self) -> object:
        """``GetAsyncResult``."""
        answer: object = self._element.get_async_result(self._handle, keep_result=True)
        return answer

    def encryption(self) -> object:
        """``GetSoftwareEncryptionAtRestInfo``."""
        answer: object = self._element.get_software_encryption_at_rest_info()
        return answer

    def close(self) -> None:
        """It keeps nothing."""


if __name__ == "__main__":
    serve(NetAppSdk)

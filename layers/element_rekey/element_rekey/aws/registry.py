"""The registered clusters: a secret ``<prefix>/<cluster>`` in Secrets Manager is a registration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from element_rekey.codec import CodecError, decode
from element_rekey.element.client import ElementApi
from element_rekey.errors import AwsCallFailed, ClusterNotRegistered, RegistrationInvalid
from element_rekey.records import Registered, Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from mypy_boto3_secretsmanager import SecretsManagerClient

    from element_rekey.ports import ElementCluster

_ABSENT = frozenset({"ResourceNotFoundException", "InvalidRequestException"})  # never made, or marked for deletion


FRESH = timedelta(minutes=1)
"""How long a secret is used before it is read again, so that a correction works at once in a warm container, too."""


@dataclass(frozen=True, slots=True)
class _Connected:
    registration: Registration
    read_at: datetime
    api: ElementApi


class SecretsRegistry:
    """``ports.Clusters`` over Secrets Manager; keeps one connected client per cluster for the life of its container."""

    def __init__(self, client: SecretsManagerClient, prefix: str, clock: Callable[[], datetime]) -> None:
        """Look under ``prefix`` through ``client``."""
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._connected: dict[str, _Connected] = {}

    def connect(self, cluster: str, *, afresh: bool = False) -> ElementCluster:
        """The cluster registered as ``cluster``; ``afresh``: by its registration of this moment, not of a minute ago.

        Raises ClusterNotRegistered, RegistrationInvalid, AwsCallFailed.
        """
        now, known = self._clock(), self._connected.get(cluster)
        if known and not afresh and now < known.read_at + FRESH:
            return known.api
        registration = self.registration(cluster)
        if known and known.registration == registration:
            api = known.api
        else:
            if known:
                known.api.close()
            api = ElementApi(cluster, registration, refresh=lambda: self.registration(cluster), clock=self._clock)
        self._connected[cluster] = _Connected(registration, now, api)
        return api

    def close(self) -> None:
        """Drop the kept-alive connections; the next call of a client makes a new one."""
        for known in self._connected.values():
            known.api.close()

    def registered(self, names: Collection[str] | None = None) -> tuple[Registered, ...]:
        """Every registered cluster, or those of these names, by name and tags. Raises AwsCallFailed.

        ``ListSecrets`` may be five minutes behind, so a cluster that was named is looked up (``DescribeSecret``): after
        an alarm nobody may be sent the news that a cluster registered a minute ago is not there.
        """
        if names is None:
            return self._listed()
        looked_up = (self._looked_up(name) for name in sorted(set(names)))
        return tuple(one for one in looked_up if one)

    def _listed(self) -> tuple[Registered, ...]:
        prefix = f"{self._prefix}/"
        pages = self._client.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [prefix]}])
        try:
            return tuple(
                Registered(secret["Name"].removeprefix(prefix), _tags(secret))
                for page in pages
                for secret in page["SecretList"]
                if secret["Name"].startswith(prefix)
            )
        except (ClientError, BotoCoreError) as error:
            raise AwsCallFailed(f"Secrets Manager did not list {prefix}*: {error}") from error

    def _looked_up(self, cluster: str) -> Registered | None:
        name = f"{self._prefix}/{cluster}"
        try:
            secret = self._client.describe_secret(SecretId=name)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] in _ABSENT:
                return None
            raise AwsCallFailed(f"Secrets Manager did not describe {name}: {error}", cluster=cluster) from error
        return None if "DeletedDate" in secret else Registered(cluster, _tags(secret))

    def registration(self, cluster: str) -> Registration:
        """Read a cluster's secret (``GetSecretValue``). Raises as ``connect`` does."""
        name = f"{self._prefix}/{cluster}"
        try:
            text = self._client.get_secret_value(SecretId=name).get("SecretString", "")
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                raise ClusterNotRegistered(f"There is no secret {name}.", cluster=cluster) from error
            raise AwsCallFailed(f"Secrets Manager did not give {name}: {error}", cluster=cluster) from error
        except BotoCoreError as error:
            raise AwsCallFailed(f"Secrets Manager did not give {name}: {error}", cluster=cluster) from error
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # its message would quote the secret
            raise RegistrationInvalid(f"Secret {name} is not JSON.", cluster=cluster) from None
        try:
            return decode(Registration, value)
        except CodecError as error:
            raise RegistrationInvalid(f"Secret {name}: {error}.", cluster=cluster) from None


def _tags(secret: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((tag["Key"], tag["Value"]) for tag in secret.get("Tags", ()))

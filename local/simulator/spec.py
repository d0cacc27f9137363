"""What a simulated cluster is like when it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from local.simulator.assumptions import Assumptions
from local.simulator.rekey import Management

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.simulator.faults import Fault

TlsProfile = Literal["modern", "element"]
ProviderTrouble = Literal["connection", "authentication", "serverError"]
OLDEST_KEY = timedelta(days=36500)
_LONGEST_REKEY = 10 * 365 * 86400
ACCESS_TYPES = (
    "accounts",
    "administrator",
    "clusterAdmin",
    "drives",
    "nodes",
    "read",
    "reporting",
    "repositories",
    "volumes",
    "write",
)
"""What the access of a cluster administrator can be.

https://docs.netapp.com/us-en/element-software/api/reference_element_api_app_b_access_control.html
"""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def utc_now() -> datetime:
    """The machine's time, aware, in UTC."""
    return datetime.now(UTC)


def version_pair(text: str) -> tuple[int, int]:
    """An API version as a pair of integers, so that 12.10 is later than 12.3.

    Raises:
        ValueError: the text is not two numbers with a dot between.
    """
    if not re.fullmatch(r"\d{1,4}\.\d{1,4}", text, re.ASCII):
        raise ValueError(f"{text!r} is not an API version such as 12.3.")
    major, minor = text.split(".")
    return int(major), int(minor)


@dataclass(frozen=True)
class ProviderSpec:
    """One KMIP key provider and the server it has; `server_id` None leaves it without one.

    `trouble` makes its test fail, and a rekey to it. `certificate_days` from its start the certificate expires by which
    the key server knows the cluster.
    """

    provider_id: int = 15
    name: str = "key-manager"
    server_id: int | None = 6
    hostname: str = "kms.example.com"
    trouble: ProviderTrouble | None = None
    certificate_days: int = 365


@dataclass(frozen=True)
class ClusterSpec:
    """Everything that can be chosen about a simulated cluster.

    Durations are seconds unless they are timedeltas. `password` None means a random one each start. `clock` gives
    true time; `clock_skew` is how far the cluster's own clock is ahead of it. `seed` makes ids repeatable.
    `host` is 127.0.0.1 or ::1, `port` 0 any free one. `self_signed` presents a certificate that no CA issued, as a
    cluster does from the factory. `tls` "element" does it with the certificate, the protocol and the cipher suites that
    are documented for Element: no name is in the certificate, so a client has to know its fingerprint.

    Raises:
        ValueError: a member is out of its range; the message names it.
    """

    name: str = "prod-a"
    api_version: str = "12.3"
    rekey_seconds: float = 1.0
    encryption_enabled: bool = True
    key_age: timedelta = timedelta(days=100)
    key_provider_id: int | None = None
    providers: tuple[ProviderSpec, ...] = (ProviderSpec(),)
    unassigned_servers: tuple[int, ...] = ()
    role: str = "administrator"
    username: str = "rekey"
    password: str | None = field(default=None, repr=False)
    faults: tuple[Fault, ...] = ()
    cluster_faults: tuple[str, ...] = ()
    fault_cache_seconds: float = 30.0
    pending_version: str | None = None
    clock: Callable[[], datetime] = utc_now
    clock_skew: timedelta = timedelta(0)
    assumptions: Assumptions = field(default_factory=Assumptions)
    seed: int | str = 0
    host: Literal["127.0.0.1", "::1"] = "127.0.0.1"
    port: int = 0
    self_signed: bool = False
    tls: TlsProfile = "modern"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"A cluster name is letters, digits and hyphens, not {self.name!r}.")
        version_pair(self.api_version)
        if self.role not in ACCESS_TYPES:
            raise ValueError(f"role is one of {', '.join(ACCESS_TYPES)}, not {self.role!r}.")
        # Written so that NaN fails.
        if not 0 <= self.rekey_seconds <= _LONGEST_REKEY:
            raise ValueError(f"rekey_seconds is a number from 0 to {_LONGEST_REKEY}, not {self.rekey_seconds}.")
        if not timedelta(0) <= self.key_age <= OLDEST_KEY:
            raise ValueError(f"key_age is from 0 to {OLDEST_KEY.days} days, not {self.key_age.days}.")
        if self.key_provider_id is not None and self.provider(self.key_provider_id) is None:
            raise ValueError(f"key_provider_id {self.key_provider_id} is not among the providers.")

    @property
    def management(self) -> Management:
        """Who keeps the first master key: a provider if one is named, else the cluster itself."""
        return Management.INTERNAL if self.key_provider_id is None else Management.EXTERNAL

    def provider(self, provider_id: int) -> ProviderSpec | None:
        """The key provider of this id, if there is one."""
        return next((one for one in self.providers if one.provider_id == provider_id), None)

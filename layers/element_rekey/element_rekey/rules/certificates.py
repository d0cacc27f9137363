"""Which certificates that a rotation depends on come to their end, and of which of them people are to be told.

Pure functions over what was last seen (``ClusterMemory.certificates``), for whoever looks every day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from element_rekey.cluster import CertificateOf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from element_rekey.cluster import Certificate
    from element_rekey.records import ClusterMemory

NOTICE_DAYS = (90, 60, 30)
"""So many days before its end a notice is due; Element's own fault ``kmipCertificateFault`` comes at 30."""

MOST_KEPT = 100
"""Certificates of key servers that are kept of a look. Each server may be trusted by a whole bundle of CAs, and a
memory must not grow beyond what DynamoDB takes."""

_DAY = timedelta(days=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ExpiringCertificate:
    """A certificate within ``notice_days`` of its end, the least of NOTICE_DAYS; over, if ``days_left`` is below 0."""

    certificate: Certificate
    days_left: int
    notice_days: int


def days_left(certificate: Certificate, now: datetime) -> int | None:
    """Whole days until a certificate expires, negative once it has; None where nobody knows when."""
    return None if certificate.expires is None else (certificate.expires - now) // _DAY


def certificates_expiring(
    certificates: Iterable[Certificate], now: datetime, told: Mapping[str, int] | None = None
) -> tuple[ExpiringCertificate, ...]:
    """The certificates that come to their end, the first to end first.

    ``told`` has by fingerprint the ``notice_days`` of the last notice on a certificate: what was told at this stage
    already is left out. Without it this is all there is to say about readiness.
    """
    found = []
    for certificate in certificates:
        left = days_left(certificate, now)
        stages = [days for days in NOTICE_DAYS if left is not None and left < days]
        if left is None or not stages or (told or {}).get(certificate.fingerprint, NOTICE_DAYS[0] + 1) <= stages[-1]:
            continue
        found.append(ExpiringCertificate(certificate, left, stages[-1]))
    return tuple(sorted(found, key=lambda one: one.days_left))


def first_to_end(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Those that end first, as many as are kept; of which nobody knows the end last."""
    return tuple(sorted(dict.fromkeys(certificates), key=lambda one: one.expires or _NEVER)[:MOST_KEPT])


def soonest(certificates: Iterable[Certificate], now: datetime, *, of_cluster: bool) -> int | None:
    """The fewest days left of the cluster's own certificate, or else of its key servers'; None: nobody knows."""
    chosen = (one for one in certificates if (one.of is CertificateOf.CLUSTER) is of_cluster)
    return min((left for left in (days_left(one, now) for one in chosen) if left is not None), default=None)


def of_key_servers(memory: ClusterMemory | None) -> tuple[Certificate, ...]:
    """The certificates of key servers as they were last seen."""
    known = (memory.certificates if memory else None) or ()
    return tuple(one for one in known if one.of is not CertificateOf.CLUSTER)

"""Whether a rotation that began now would go through, on every cluster, before anybody needs one (docs/adr/0021).

A look of the trigger ``readiness`` is a dry run. One of the schedule says as much, as far as it went: what it rotated
was ready, what it was refused for is what a dry run would have been refused for, and where nothing was due the same
checks are asked. So a cluster is looked at once a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from element_rekey.cluster import CertificateOf, KeyManagementType
from element_rekey.errors import (
    CertificateExpiring,
    ClusterBusy,
    ClusterNotRegistered,
    ExecutionBroken,
    ExecutionInterrupted,
    LedgerConflict,
    errors_by_name,
    failure_from,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import (
    CertificateNotice,
    EndingCertificate,
    Failure,
    FleetReadiness,
    NotReady,
    Readiness,
)
from element_rekey.text import cut

from .certificates import NOTICE_DAYS, certificates_expiring
from .preflight import refusal
from .wording import at_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from element_rekey.cluster import Certificate
    from element_rekey.records import ClusterResult, FleetRequest, FleetRun, Request

    from .decisions import Observation
    from .demand import Demand

SAME_DAY = timedelta(hours=20)
"""How long a look serves: shorter than a day by the longest that two daily runs are apart from their times."""

LISTED = 50  # clusters in a list of a record or a message; the number of all is always complete
_LONGEST_CAUSE = 300

_SAYS_NOTHING = (ClusterBusy, LedgerConflict, ExecutionInterrupted)
"""Errors that say nothing of the cluster, nor of the way to it."""


def judges(request: Request | FleetRequest) -> bool:
    """Whether a run says anything of readiness. A dry run by age finds less, and one with a waiver tolerates more."""
    trigger = request.trigger
    return trigger.looks_only or (trigger.by_age and not request.dry_run and not request.ignore_faults)


def unfit(request: Request, demand: Demand, seen: Observation) -> Failure | None:
    """What would refuse a rekey of a cluster on which nothing is due; None: nothing, or nobody asks."""
    error = refusal(demand, seen) if judges(request) else None
    return failure_from(error) if error else None


def looked_at_before(known: Mapping[str, Readiness], now: datetime) -> frozenset[str]:
    """The clusters that were found ready within the day; any other is worth another look."""
    return frozenset(cluster for cluster, one in known.items() if not one.failure and now < one.looked_at + SAME_DAY)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a fleet run found: for people, and for each cluster that it says something of."""

    report: FleetReadiness
    found: Mapping[str, Readiness]


def is_judged(run: FleetRun) -> bool:
    """Whether a run says anything of readiness; one that broke before it selected its clusters does not."""
    selected = bool(clusters_of(run)) or run.looked_at_before is not None
    return selected and run.request is not None and judges(run.request)


def judge(run: FleetRun, results: Sequence[ClusterResult], known: Mapping[str, Readiness]) -> Judgement:
    """The readiness of the clusters of a run, over what was ``known`` before."""
    found = {one.cluster: one.over(known.get(one.cluster)) for one in _looks(run, results) if one.is_news(known)}
    now = {**known, **found}
    became = tuple(
        NotReady(cluster, failure.error, cut(failure.cause, _LONGEST_CAUSE), failure.next_step)
        for cluster, one in sorted(found.items())
        if (failure := one.failure) and failure.error != _error_of(known.get(cluster))
    )
    again = tuple(
        cluster for cluster, one in sorted(found.items()) if not one.failure and _error_of(known.get(cluster))
    )
    not_ready = sum(cluster in now and now[cluster].failure is not None for cluster in clusters_of(run))
    looks = [one for one in _looks(run, results) if one.cluster in found]
    ending = [line for one in looks for line in one.ending(known.get(one.cluster))]
    ending.sort(key=lambda line: line.expires)
    return Judgement(FleetReadiness(not_ready, became[:LISTED], again[:LISTED], tuple(ending[:LISTED]) or None), found)


def clusters_of(run: FleetRun) -> tuple[str, ...]:
    """Every cluster of a run: selected, left out for the day, or not to be selected."""
    named = (*(one.cluster for one in run.selected), *(one.cluster for one in run.not_selected))
    return (*named, *(run.looked_at_before or ()))


def is_published(run: FleetRun) -> bool:
    """Whether people are told of a run: of one that only looks, where something is news, or it broke."""
    if run.request is None or not run.request.trigger.looks_only or run.failure:
        return True
    news = run.readiness
    return bool(news and (news.became_not_ready or news.ready_again or news.ending_certificates))


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look says of one cluster."""

    cluster: str
    at: datetime
    failure: Failure | None
    certificates: tuple[Certificate, ...] | None = None  # None: they were not seen

    def is_news(self, known: Mapping[str, Readiness]) -> bool:
        """Whether nobody looked later."""
        before = known.get(self.cluster)
        return before is None or before.looked_at < self.at

    def over(self, before: Readiness | None) -> Readiness:
        """What is known after it."""
        error = self.failure.error if self.failure else ""
        same = before is not None and _error_of(before) == error
        notices = self._notices(before)
        return Readiness(self.at, before.since if before and same else self.at, self.failure, notices or None)

    def ending(self, before: Readiness | None) -> Iterator[EndingCertificate]:
        """The certificates that are due for a notice."""
        told = {one.fingerprint: one.notice_days for one in (before and before.notices) or ()}
        return (
            EndingCertificate(self.cluster, _whose(one.certificate), one.certificate.expires, one.days_left)
            for one in certificates_expiring(self.certificates or (), self.at, told)
            if one.certificate.expires
        )

    def _notices(self, before: Readiness | None) -> tuple[CertificateNotice, ...]:
        """What people know of the certificates that are there after this look; as before, where none were seen."""
        if self.certificates is None:
            return (before and before.notices) or ()
        ending = certificates_expiring(self.certificates, self.at)
        return tuple(CertificateNotice(one.certificate.fingerprint, one.notice_days) for one in ending)


def _error_of(known: Readiness | None) -> str:
    return known.failure.error if known and known.failure else ""


def _looks(run: FleetRun, results: Sequence[ClusterResult]) -> Iterator[_Look]:
    for result in results:
        rotation = result.rotation
        if rotation and rotation.ended_at and _says_something(result):
            problem = rotation.failure or rotation.unfit or _expiring(rotation.certificates or (), rotation.ended_at)
            yield _Look(result.selected.cluster, rotation.ended_at, problem, rotation.certificates)
    for one in run.not_selected:
        error = errors_by_name()[one.error]
        if error is not ClusterNotRegistered:  # a name that somebody mistyped
            yield _Look(one.cluster, run.execution.started_at, Failure(one.error, one.cause, error.next_step))


def _expiring(certificates: Sequence[Certificate], now: datetime) -> Failure | None:
    """The certificate that ends first, where that is within a month: told while there is time to renew it."""
    soon = [one for one in certificates_expiring(certificates, now) if one.notice_days <= NOTICE_DAYS[-1]]
    if not soon or soon[0].certificate.expires is None:
        return None
    first = soon[0].certificate
    what = f"The certificate of {_whose(first)} ends at {at_time(soon[0].certificate.expires)}."
    return failure_from(CertificateExpiring(what))


def _whose(certificate: Certificate) -> str:
    words, server = WHOSE[certificate.of], certificate.key_server_id
    return words if server is None else f"{words} {server}"


WHOSE = {
    CertificateOf.CLUSTER: "the cluster",
    CertificateOf.KEY_SERVER: "key server",
    CertificateOf.KEY_SERVER_CLIENT: "the cluster as the client of key server",
}


def _says_something(result: ClusterResult) -> bool:
    """Whether the end of a rotation tells if the next one would go through. One that is not settled tells of itself."""
    rotation = result.rotation
    if rotation is None or rotation.outcome is None or rotation.outcome.look_at_cluster:
        return False
    if rotation.outcome is Outcome.NOT_DUE and not rotation.unfit:
        key = rotation.current_key  # the test of an external provider is no part of a look that finds nothing to do
        return key is not None and key.key_management_type is KeyManagementType.INTERNAL
    failure = rotation.failure
    return failure is None or not issubclass(errors_by_name().get(failure.error, ExecutionBroken), _SAYS_NOTHING)

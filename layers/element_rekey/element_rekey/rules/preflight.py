"""Whether a cluster is fit for the rekey it needs: an ordered tuple of checks, each with what it looks at beside it.

To add one: write a function ``(demand, seen) -> error or None``, give it its place in ``CHECKS``, and its error a class
in ``errors``. Where it looks at something new, ``Observation`` gets a member, and ``rotation.start`` fills it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from element_rekey.cluster import KeyManagementType
from element_rekey.errors import ClusterFaultsBlock, KeyProviderUnusable, UpgradePending

from .decisions import Refuse, Start
from .wording import error_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from element_rekey.cluster import MasterKey
    from element_rekey.errors import ElementRekeyError
    from element_rekey.records import ProviderTest, Request

    from .decisions import Observation
    from .demand import Demand

    Check: TypeAlias = Callable[[Demand, Observation], ElementRekeyError | None]


def preflight(demand: Demand, seen: Observation, key: MasterKey) -> Start | Refuse:
    """Start a rekey that replaces ``key``, or refuse by the first check that has something against it."""
    error = refusal(demand, seen)
    if error:
        return Refuse(error)
    return Start(key, demand.key_management_type, demand.key_provider_id, fault_codes(demand, seen)[1])


def refusal(demand: Demand, seen: Observation) -> ElementRekeyError | None:
    """What the first check says that has something against a rekey; None: the cluster is fit for it."""
    return next((error for error in (check(demand, seen) for check in CHECKS) if error), None)


def no_upgrade_pending(demand: Demand, seen: Observation) -> UpgradePending | None:
    """No Element upgrade is staged or running."""
    pending = seen.version.pending_cluster_version
    if not pending:
        return None
    return UpgradePending(f"An upgrade to Element {pending} is pending.", cluster=demand.cluster)


# --- the external key provider ---

TEST_HOLDS = timedelta(minutes=15)
"""For so long a test that was passed is not repeated: longer than all retries of a step, since it may take a minute."""


def provider_to_check(request: Request, key: MasterKey | None) -> int | None:
    """The external provider a rekey would use: the one asked for, or else the one in use. None: it needs none."""
    kind, provider_id = request.key_management_type, request.key_provider_id
    if kind is None and key:
        kind, provider_id = key.key_management_type, key.key_provider_id
    return provider_id if kind is KeyManagementType.EXTERNAL else None


def test_holds(test: ProviderTest | None, key_provider_id: int, now: datetime) -> bool:
    """Whether this provider has passed its test a moment ago."""
    return test is not None and test.key_provider_id == key_provider_id and now < test.passed_at + TEST_HOLDS


def key_provider_usable(demand: Demand, seen: Observation) -> KeyProviderUnusable | None:
    """The external key provider is there, has a key server, and passes its own test."""
    check = seen.provider
    if check is None:
        return None
    if check.provider is None:
        problem = f"There is no KMIP key provider with keyProviderID {check.key_provider_id}."
    elif not check.provider.key_server_ids:
        problem = f"KMIP key provider {check.key_provider_id} has no key server."
    elif check.test_error:
        why = error_text(check.test_error).rstrip(".")
        problem = f"KMIP key provider {check.key_provider_id} fails its test with {why}."
    else:
        return None
    return KeyProviderUnusable(problem, cluster=demand.cluster)


# --- cluster faults
# https://docs.netapp.com/us-en/element-software/storage/reference_monitor_cluster_fault_codes.html

FAULTS_BLOCKING_ALWAYS = frozenset({"duplicateClusterMasterCandidates", "ensembleDegraded", "upgrade"})
"""Cluster faults under which no rekey is begun, whoever asks: the cluster's own database is not safe to write to.

Of whatever severity, for an upgrade is a warning to the cluster. All others block as errors, and warn as warnings.
"""

FAULTS_BLOCKING_EXTERNAL = frozenset({"kmipCertificateFault", "kmipServerFault"})
"""Block whenever an external key is replaced or made: the rekey could not finish."""

FAULTS_BLOCKING_ROUTINE = frozenset(
    {
        "blocksDegraded",
        "clockSkewExceedsFaultThreshold",
        "exception",
        "fipsSelfTestFailure",
        "nodeMaintenanceMode",
        "nodeOffline",
        "serviceNotRunning",
        "unresponsiveService",
        "volumesDegraded",
    }
)
"""Block a rekey that can wait; one asked for by an alarm goes ahead and reports them."""


def no_blocking_faults(demand: Demand, seen: Observation) -> ClusterFaultsBlock | None:
    """No current fault blocks a rekey."""
    blocking, _ = fault_codes(demand, seen)
    if not blocking:
        return None
    what = f"Current faults stand against a rekey: {', '.join(blocking)}."
    not_ignored = sorted(FAULTS_BLOCKING_ALWAYS & demand.ignore_faults & set(blocking))
    if not_ignored:
        what += f" ignoreFaults does not override {', '.join(not_ignored)}."
    return ClusterFaultsBlock(what, cluster=demand.cluster)


def fault_codes(demand: Demand, seen: Observation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fault codes that block, and those that only deserve a warning.

    ``kmipCertificateFault`` comes a month before a certificate expires, too. Whoever cannot wait goes ahead where the
    provider passes its own test, with this certificate.
    """
    blocking = FAULTS_BLOCKING_ALWAYS
    key = seen.encryption.master_key
    if seen.provider or (key and key.key_management_type is not KeyManagementType.INTERNAL):
        blocking |= FAULTS_BLOCKING_EXTERNAL
    if not demand.urgent:
        blocking |= FAULTS_BLOCKING_ROUTINE
    elif seen.provider and not key_provider_usable(demand, seen):
        blocking -= {"kmipCertificateFault"}
    blocking -= demand.ignore_faults - FAULTS_BLOCKING_ALWAYS
    known = FAULTS_BLOCKING_ALWAYS | FAULTS_BLOCKING_EXTERNAL | FAULTS_BLOCKING_ROUTINE
    serious = FAULTS_BLOCKING_ALWAYS | {fault.code for fault in seen.faults if not fault.only_warns}
    codes = sorted({fault.code for fault in seen.faults} & known)
    stops = {code: code in blocking and code in serious for code in codes}
    return tuple(code for code in codes if stops[code]), tuple(code for code in codes if not stops[code])


CHECKS: tuple[Check, ...] = (no_upgrade_pending, key_provider_usable, no_blocking_faults)
"""In this order; the first that has something against the rekey decides."""

"""The one Logger and the one Metrics of the application (Powertools; metrics are EMF lines in the log)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from element_rekey.codec import encode
from element_rekey.outcomes import Outcome
from element_rekey.rules.readiness import clusters_of
from element_rekey.summary import oldest_key_age_days, outcome_counts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from element_rekey.fleet.summarize import FleetPublished
    from element_rekey.reconcile import Reconciled
    from element_rekey.records import ClusterResult, FleetRun, Rotation
    from element_rekey.rotation.publish import Published
    from element_rekey.rotation.steps import Step

NAMESPACE = "ElementRekey"

_DAY = 86_400

logger = Logger(utc=True)
metrics = Metrics(namespace=NAMESPACE)


def log_step(step: Step) -> None:
    """One line on the rotation after a step."""
    rotation = step.rotation
    handle = rotation.following.async_handle if rotation.following else None
    logger.info(
        "rotation stands",
        cluster=rotation.cluster,
        execution=rotation.execution.id,
        status=step.status,
        detail=rotation.detail,
        asyncHandle=handle,
        polls=rotation.polls,
        waitSeconds=step.wait_seconds,
        unfamiliar=encode(rotation.unfamiliar or ()),
    )


def log_outcome(rotation: Rotation) -> None:
    """One line on how the rotation ended."""
    logger.info(
        "rotation ended",
        cluster=rotation.cluster,
        execution=rotation.execution.id,
        outcome=rotation.outcome,
        detail=rotation.detail,
        failure=encode(rotation.failure),
        unfamiliar=encode(rotation.unfamiliar or ()),
    )


def measure_outcome(rotation: Rotation, now: datetime) -> None:
    """Count the rotation by outcome; and, where there is one, measure the rekey and the age of the key."""
    metrics.add_dimension("Outcome", rotation.outcome or Outcome.OUTCOME_UNKNOWN)
    metrics.add_metric("Rotations", MetricUnit.Count, 1)
    change = rotation.change
    if change:
        metrics.add_metric("Polls", MetricUnit.Count, rotation.polls)
        metrics.add_metric("DetectionLag", MetricUnit.Seconds, _seconds(change.finished_at, change.detected_at))
        metrics.add_metric("RekeyDuration", MetricUnit.Seconds, change.job_seconds or 0)
    for one in rotation.outside or ():
        logger.warning("key changed outside", cluster=rotation.cluster, change=encode(one))
        with single_metric(name="KeysChangedOutside", unit=MetricUnit.Count, value=1, namespace=NAMESPACE):
            pass
    key = rotation.current_key
    if key and key.key_created_time:
        age = round(_seconds(key.key_created_time, now) / _DAY, 2)
        with single_metric(name="KeyAgeDays", unit=MetricUnit.NoUnit, value=age, namespace=NAMESPACE) as metric:
            metric.add_dimension("Cluster", rotation.cluster)
    metrics.flush_metrics()


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())


def log_selection(run: FleetRun) -> None:
    """One line on what a fleet run selected."""
    logger.info(
        "fleet selected",
        execution=run.execution.id,
        clusters=len(run.selected),
        refused=[encode(one) for one in run.not_selected],
    )


def measure_fleet(run: FleetRun, results: Sequence[ClusterResult], now: datetime) -> None:
    """One line on how a fleet run ended; of one over the whole fleet the oldest key, and whose key it did not see.

    A run that judges readiness measures how many clusters are not ready. The oldest key is left to runs that rotate: a
    schedule that has stopped shows by it.
    """
    succeeded = run.failure is None
    logger.info("fleet ended", execution=run.execution.id, counts=outcome_counts(run, results), succeeded=succeeded)
    metrics.add_metric("FleetRunsFailed", MetricUnit.Count, 0 if succeeded else 1)
    oldest = oldest_key_age_days(results, now)
    if run.request and run.request.clusters is None:
        if run.readiness:
            metrics.add_metric("ClustersNotReady", MetricUnit.Count, run.readiness.clusters_not_ready)
        if clusters_of(run):  # else the run broke before it knew of any
            unseen = len(run.not_selected) + sum(not one.key_seen for one in results)
            metrics.add_metric("ClustersUnseen", MetricUnit.Count, unseen)
        if oldest is not None and not run.request.trigger.looks_only:
            metrics.add_metric("OldestKeyAgeDays", MetricUnit.NoUnit, oldest)
    metrics.flush_metrics()


def measure_schedules(*, rotates: bool, looks: bool) -> None:
    """One for each hour in which a daily run is on: from a day with enough of them on, its silence counts."""
    if rotates:
        metrics.add_metric("HoursScheduled", MetricUnit.Count, 1)
    if looks:
        metrics.add_metric("HoursWatched", MetricUnit.Count, 1)
    if rotates or looks:
        metrics.flush_metrics()


def measure_reconciled(rotations: Reconciled[Published], fleet_runs: Reconciled[FleetPublished], now: datetime) -> None:
    """What was published late counts as what was published in time."""
    for one in rotations.published:
        log_outcome(one.rotation)
        measure_outcome(one.rotation, now)
    for run in fleet_runs.published:
        measure_fleet(run.run, run.results, now)
    for failure in (*rotations.failures, *fleet_runs.failures):
        logger.error("not published", cause=failure.what)

"""The one Logger and the one Metrics of the application (Powertools; metrics are EMF lines in the log)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from .codec import encode
from .model import Outcome

if TYPE_CHECKING:
    from datetime import datetime

    from .model import Rotation
    from .rotation import Step

logger = Logger(utc=True)
metrics = Metrics()


def log_step(step: Step) -> None:
    """One line on where the rotation stands."""
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
    key = rotation.current_key
    if key and key.key_created_time:
        age = _seconds(key.key_created_time, now)
        with single_metric(name="KeyAge", unit=MetricUnit.Seconds, value=age) as metric:
            metric.add_dimension("Cluster", rotation.cluster)


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())

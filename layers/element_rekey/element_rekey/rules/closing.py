"""What is concluded of an execution that is over: its outcome, and how long its cluster stays locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from element_rekey.errors import (
    AlarmTargetUnknown,
    ClusterRefused,
    ClusterUnavailable,
    ExecutionBroken,
    FleetIncomplete,
    InvalidInput,
    PreconditionFailed,
    RekeyFailed,
    RotationOverdue,
    errors_by_name,
    unknown_targets,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from element_rekey.records import ClusterResult, FleetRun, Rotation
    from element_rekey.settings import Settings

_NAMED = 10  # clusters in one sentence
_ANSWERS_OF_A_DRY_RUN = (InvalidInput, PreconditionFailed, ClusterRefused, ClusterUnavailable)
"""What a rotation begun now would end with, before it changed anything. To find that out is what a dry run is for."""


def outcome_of(rotation: Rotation, failure: Failure | None) -> tuple[Outcome, Failure | None]:
    """The outcome of a rotation that ended with ``failure``, or with what its steps recorded."""
    if rotation.outcome:
        return rotation.outcome, rotation.failure
    what = "The execution ended without an outcome."
    failure = rotation.failure or failure or Failure(ExecutionBroken.__name__, what, ExecutionBroken.next_step)
    if rotation.request and rotation.request.dry_run:
        found = issubclass(errors_by_name().get(failure.error, ExecutionBroken), _ANSWERS_OF_A_DRY_RUN)
        return Outcome.WOULD_BE_REFUSED if found else Outcome.FAILED, failure
    if failure.error == RotationOverdue.__name__:
        return Outcome.OVERDUE, failure
    changed = rotation.change and rotation.change.ours  # before another rekey came after it
    maybe_running = (rotation.following or rotation.intent) and failure.error != RekeyFailed.__name__
    return Outcome.OUTCOME_UNKNOWN if changed or maybe_running else Outcome.FAILED, failure


def detail_at_close(rotation: Rotation, outcome: Outcome) -> str:
    """The last detail of a rotation; that of a rekey which nobody saw run must not read as if it went on."""
    if outcome is Outcome.OUTCOME_UNKNOWN and rotation.intent and not rotation.polls:
        return f"A rekey of key {rotation.intent.baseline_key.key_id} was sent; what became of it is not known."
    return rotation.detail


def locked_until(rotation: Rotation, settings: Settings) -> datetime | None:
    """Until when a rekey that may have been sent can still show on the cluster; None where there is none."""
    intent = rotation.intent
    if intent and rotation.outcome is Outcome.OUTCOME_UNKNOWN:
        return intent.sent_at + settings.settling
    return None


def fleet_failure(run: FleetRun, results: Iterable[ClusterResult]) -> Failure | None:
    """Why a run that came to its end did not succeed; None where it did, or where it only asked how things stand."""
    if run.request and run.request.trigger.looks_only:
        return None
    bad = [one.selected.cluster for one in results if not one.succeeded]
    if not run.dry:  # there it is an answer, as it is of each cluster
        bad += [one.cluster for one in run.not_selected]
    if not bad:
        return None
    incomplete = f"Not as they should be: {_named(bad)}."
    unknown = unknown_targets(run)
    if unknown and not run.dry:
        what = f"No cluster is registered as {_named(unknown)}: no key was replaced there."
        what += f" {incomplete}" if len(bad) > len(unknown) else ""
        return Failure(AlarmTargetUnknown.__name__, what, AlarmTargetUnknown.next_step)
    return Failure(FleetIncomplete.__name__, incomplete, FleetIncomplete.next_step)


def _named(clusters: Sequence[str]) -> str:
    more = f" and {len(clusters) - _NAMED} more" if len(clusters) > _NAMED else ""
    return ", ".join(clusters[:_NAMED]) + more

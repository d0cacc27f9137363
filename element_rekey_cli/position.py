"""Where an execution is by its latest events, and what it tries again. Rules only: data in, data out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from element_rekey.inputs import parse_failure

from .execution_history import details_of
from .standing import Attempt
from .words import in_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from element_rekey.records import Rotation

_FAILED = frozenset({"TaskFailed", "TaskTimedOut", "TaskStartFailed", "TaskSubmitFailed"})


@dataclass(frozen=True)
class Position:
    """In which state an execution is, since when, and whether it tries again there what failed."""

    state: str = ""
    since: datetime | None = None
    attempt: Attempt | None = None


def position_of(newest_first: Iterable[Mapping[str, Any]], definition: Callable[[], Mapping[str, Any]]) -> Position:
    """Where an execution is by its latest events; the definition is looked at only where something failed."""
    failures: list[Mapping[str, Any]] = []
    passed = False  # what failed before was tried again, and went well
    for event in newest_first:
        kind = str(event["type"])
        if kind.endswith("StateEntered"):
            name = str(event["stateEnteredEventDetails"]["name"])
            attempt = None if passed or not failures else _attempt(failures, name, definition())
            return Position(name, event["timestamp"], attempt)
        passed = passed or kind == "TaskSucceeded" or kind.endswith("StateExited")
        if kind in _FAILED:
            failures.append(event)
    return Position()


def _attempt(failures: list[Mapping[str, Any]], state: str, definition: Mapping[str, Any]) -> Attempt:
    """Which attempt comes after these failures of a state; each of its retriers counts its own errors."""
    details = details_of(failures[0])
    error = str(details.get("error", ""))
    retriers = definition["States"].get(state, {}).get("Retry", ())
    retrier = next((one for one in retriers if error in one["ErrorEquals"] or "States.ALL" in one["ErrorEquals"]), None)
    counted = [one for one in failures if retrier and details_of(one).get("error") in retrier["ErrorEquals"]]
    return Attempt(
        error=error,
        cause=parse_failure(error, str(details.get("cause", ""))).cause,
        attempt=max(1, len(counted)) + 1,
        of_attempts=retrier["MaxAttempts"] + 1 if retrier else None,
    )


def phase_of(position: Position, record: Rotation | None) -> tuple[str, datetime | None]:
    """What an execution does, and since when: in the cluster's own word where it is known, else the state machine's."""
    if record and record.following and position.state in {"WaitForRekey", "CheckStatus"}:
        return record.detail or position.state, record.following.since
    return _phase(position, record), position.since


def _phase(position: Position, record: Rotation | None) -> str:
    if position.state == "WaitForTurn":
        cooling = record and record.cooling_until
        return f"waits for the end of the cool-down, {in_full(cooling)}" if cooling else "waits for its turn"
    return position.state or "starting"

"""An execution's history in words: one line for each event that matters to a person."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

LONGEST_TEXT = 160


@dataclass(frozen=True)
class HistoryEvent:
    """One event in words: in which state, how many seconds after the start, and what happened."""

    seconds: float
    state: str
    text: str
    is_error: bool = False


@dataclass
class ExecutionHistory:
    """Reads the history of one execution, piece by piece."""

    state: str = ""  # where the execution is
    waiting: float = 0.0  # for how long the present Wait was asked to wait
    transitions: int = 0  # as billed: every entry of a state, and every retry
    _last_id: int = 0
    _attempts: int = 0
    _started_at: datetime | None = field(default=None, repr=False)

    def read(self, events: Iterable[Mapping[str, Any]]) -> Iterator[HistoryEvent]:
        """The events that are new in a history that was listed from its beginning."""
        for event in events:
            if event["id"] > self._last_id:
                self._last_id = event["id"]
                yield from self._events_of(event)

    def _events_of(self, event: Mapping[str, Any]) -> Iterator[HistoryEvent]:
        kind = str(event["type"])
        self._started_at = self._started_at or event["timestamp"]
        if kind.endswith("StateEntered"):
            self._enter(event["stateEnteredEventDetails"])
        elif kind == "TaskScheduled":
            self._attempts += 1
            self.transitions += self._attempts > 1
        elif kind == "TaskSucceeded":
            yield self._event(event, result_text(json.loads(event["taskSucceededEventDetails"]["output"])))
        elif kind in {"TaskFailed", "TaskTimedOut"}:
            yield self._event(event, error_text(details_of(event)), is_error=True)
        elif kind.startswith("Execution") and kind != "ExecutionStarted":
            self.state = ""
            ending = kind.removeprefix("Execution").lower()
            error = details_of(event).get("error", "")
            yield self._event(event, f"execution {ending}{f' with {error}' if error else ''}", is_error=bool(error))

    def _enter(self, entered: Mapping[str, Any]) -> None:
        self.state = str(entered["name"])
        self.transitions += 1
        self._attempts = 0
        self.waiting = json.loads(entered["input"]).get("rotation", {}).get("waitSeconds", 0)

    def _event(self, event: Mapping[str, Any], text: str, *, is_error: bool = False) -> HistoryEvent:
        begun = self._started_at or event["timestamp"]
        return HistoryEvent(
            (event["timestamp"] - begun).total_seconds(), self.state or "RotateMasterKey", text, is_error
        )


def result_text(result: Mapping[str, Any]) -> str:
    """What a function answered."""
    state = result.get("Payload") or {}
    outcome = state.get("outcome")
    if outcome:
        return f"{outcome['outcome']}: {outcome['headline']}"
    rotation = state.get("rotation", {})
    polls = rotation.get("polls", 0)
    poll = f"poll {polls}: " if polls else ""
    return f"{poll}{rotation.get('detail') or rotation.get('status', '')}"


def error_text(details: Mapping[str, Any]) -> str:
    """The error and the first words of its cause."""
    cause = details.get("cause", "")
    with contextlib.suppress(ValueError, KeyError, TypeError):  # other causes are plain text
        cause = json.loads(cause)["errorMessage"]
    text = f"{details.get('error', '')}: {cause}"
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def details_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one member of an event that holds its details."""
    return next((value for key, value in event.items() if key.endswith("EventDetails")), {})

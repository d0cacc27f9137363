"""What an execution's history says, in words: one line for each thing that happened."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

SENTENCE = 160


@dataclass(frozen=True)
class Beat:
    """One thing that happened: in which state, how many seconds after the start, and what."""

    seconds: float
    state: str
    text: str
    trouble: bool = False


@dataclass
class Story:
    """Hears the history of one execution, piece by piece."""

    state: str = ""  # where the execution is
    waiting: float = 0.0  # for how long the present Wait was asked to wait
    transitions: int = 0  # as billed: every entry of a state, and every retry
    _heard: int = 0
    _attempts: int = 0
    _begun: datetime | None = field(default=None, repr=False)

    def hear(self, events: Iterable[Mapping[str, Any]]) -> Iterator[Beat]:
        """Tell what is new in a history that was read from its beginning."""
        for event in events:
            if event["id"] > self._heard:
                self._heard = event["id"]
                yield from self._follow(event)

    def _follow(self, event: Mapping[str, Any]) -> Iterator[Beat]:
        kind = str(event["type"])
        self._begun = self._begun or event["timestamp"]
        if kind.endswith("StateEntered"):
            self._enter(event["stateEnteredEventDetails"])
        elif kind == "TaskScheduled":
            self._attempts += 1
            self.transitions += self._attempts > 1
        elif kind == "TaskSucceeded":
            yield self._beat(event, in_words(json.loads(event["taskSucceededEventDetails"]["output"])))
        elif kind in {"TaskFailed", "TaskTimedOut"}:
            yield self._beat(event, failure_of(details_of(event)), trouble=True)
        elif kind.startswith("Execution") and kind != "ExecutionStarted":
            self.state = ""
            ending = kind.removeprefix("Execution").lower()
            error = details_of(event).get("error", "")
            yield self._beat(event, f"execution {ending}{f' with {error}' if error else ''}", trouble=bool(error))

    def _enter(self, entered: Mapping[str, Any]) -> None:
        self.state = str(entered["name"])
        self.transitions += 1
        self._attempts = 0
        self.waiting = json.loads(entered["input"]).get("rotation", {}).get("waitSeconds", 0)

    def _beat(self, event: Mapping[str, Any], text: str, *, trouble: bool = False) -> Beat:
        begun = self._begun or event["timestamp"]
        return Beat((event["timestamp"] - begun).total_seconds(), self.state or "RotateMasterKey", text, trouble)


def in_words(result: Mapping[str, Any]) -> str:
    """What a function answered."""
    state = result.get("Payload") or {}
    outcome = state.get("outcome")
    if outcome:
        return f"{outcome['outcome']}: {outcome['headline']}"
    rotation = state.get("rotation", {})
    polls = rotation.get("polls", 0)
    poll = f"poll {polls}: " if polls else ""
    return f"{poll}{rotation.get('detail') or rotation.get('status', '')}"


def failure_of(details: Mapping[str, Any]) -> str:
    """The error and the first words of its cause."""
    cause = details.get("cause", "")
    with contextlib.suppress(ValueError, KeyError, TypeError):  # other causes are plain text
        cause = json.loads(cause)["errorMessage"]
    text = f"{details.get('error', '')}: {cause}"
    return text if len(text) <= SENTENCE else f"{text[: SENTENCE - 1]}…"


def details_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one member of an event that holds its details."""
    return next((value for key, value in event.items() if key.endswith("EventDetails")), {})

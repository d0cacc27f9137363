"""Retries, read from the definitions of the state machines, so that no test has a list of its own that can drift."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tests.template import state_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Retrier:
    """One entry of a state's ``Retry``, with the defaults of the Amazon States Language."""

    errors: tuple[str, ...]
    waits: tuple[float, ...]  # seconds before each retry; with jitter the most there can be
    jitter: bool = False

    @property
    def seconds(self) -> float:
        """How long it goes on at most, not counting the attempts themselves."""
        return sum(self.waits)

    @property
    def at_least(self) -> float:
        """How long it goes on for sure: full jitter may come to nothing."""
        return 0.0 if self.jitter else self.seconds


def retrier_of(entry: Mapping[str, Any]) -> Retrier:
    """An entry of ``Retry``."""
    wait, waits = float(entry.get("IntervalSeconds", 1)), []
    for _ in range(entry.get("MaxAttempts", 3)):
        waits.append(min(wait, entry.get("MaxDelaySeconds", wait)))
        wait *= entry.get("BackoffRate", 2.0)
    return Retrier(tuple(entry["ErrorEquals"]), tuple(waits), jitter=entry.get("JitterStrategy") == "FULL")


def retriers_of(state: Mapping[str, Any]) -> tuple[Retrier, ...]:
    """The retriers of a state, in the order in which Step Functions looks at them."""
    return tuple(retrier_of(entry) for entry in state.get("Retry", ()))


def tasks_of(definition: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every Task of a definition by its name, those of nested states included."""
    if isinstance(definition, dict):
        for name, member in definition.items():
            if isinstance(member, dict) and member.get("Type") == "Task":
                yield name, member
            yield from tasks_of(member)


def retried_errors(definition: object) -> Iterator[str]:
    """Every error that any state of a definition retries, those of nested states included."""
    if isinstance(definition, dict):
        for retrier in retriers_of(definition):
            yield from retrier.errors
        for member in definition.values():
            yield from retried_errors(member)
    elif isinstance(definition, list):
        for item in definition:
            yield from retried_errors(item)


@lru_cache
def retriers_of_function(function: str) -> tuple[Retrier, ...]:
    """The retriers of the task of RotateMasterKey that invokes a function."""
    (task,) = (
        state
        for state in state_machine()["States"].values()
        if state.get("Parameters", {}).get("FunctionName") == f"${{{function}}}"
    )
    return retriers_of(task)


def waits_after(function: str, error: str) -> tuple[float, ...]:
    """The seconds before each retry of a function that always ends with this error; none where it is not retried."""
    return next((retrier.waits for retrier in retriers_of_function(function) if error in retrier.errors), ())


def attempts(function: str, error: str) -> int:
    """How often a function is invoked that always ends with the same error."""
    return 1 + len(waits_after(function, error))


class RetryCounter:
    """The retries of a task while its state is not left, counted as Step Functions does: each retrier for itself."""

    def __init__(self) -> None:
        self._used: Counter[Retrier] = Counter()

    def next_wait(self, function: str, error: str) -> float | None:
        """The seconds to wait before the next attempt; None where there is none."""
        for retrier in retriers_of_function(function):
            if error in retrier.errors:
                used = self._used[retrier]
                self._used[retrier] += 1
                return retrier.waits[used] if used < len(retrier.waits) else None
        return None

    def reset(self) -> None:
        """The state was left."""
        self._used.clear()

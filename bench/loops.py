"""Ways to wait for a job whose end nobody announces: when each looks, and what the looking costs in Step Functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

from element_rekey.rules.waiting import next_wait

RETRY_INTERVAL, RETRY_RATE, RETRY_LONGEST = 5.0, 1.25, 300.0
GROWTH_ENDS = 30  # looks: by then the longest wait is long reached


@dataclass(frozen=True)
class Loop:
    """A way to wait: seconds to the next look, given the job's age and the looks so far; history and bill of a look."""

    name: str
    wait: Callable[[float, int], float]
    events: int
    transitions: int

    def looks(self) -> Iterator[float]:
        """The job's age at each look, for ever. What a look itself takes is left out."""
        age, looks = 0.0, 0
        while True:
            age += self.wait(age, looks)
            looks += 1
            yield age

    def until(self, seconds: float) -> tuple[int, float]:
        """How many looks a job of that length takes, and its age at the last one."""
        looks, age = next((count, age) for count, age in enumerate(self.looks(), 1) if age >= seconds)
        return looks, age


def _ours(age: float, _looks: int) -> float:
    """``next_wait`` with its deadline out of the way, so that a longer job than it allows shows the plain rule."""
    return float(next_wait(timedelta(seconds=age), timedelta(days=365)))


def _retried(_age: float, looks: int) -> float:
    """Retry's back-off, after a first look at once."""
    grown = min(looks - 1, GROWTH_ENDS)
    return min(RETRY_INTERVAL * RETRY_RATE**grown, RETRY_LONGEST) if looks else 0.0


OURS = Loop("**Element Rekey**", _ours, events=9, transitions=3)
EVERY_10_S = Loop("every 10 s", lambda _age, _looks: 10.0, events=9, transitions=3)
EVERY_60_S = Loop("every 60 s", lambda _age, _looks: 60.0, events=9, transitions=3)
RETRY = Loop("throw and Retry", _retried, events=3, transitions=1)

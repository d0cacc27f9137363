"""``polls``: how often each way of waiting looks at a rekey, what that costs, and how late it finds the end.

Polls, transitions and events of this project are those of its own state machine and functions, executed; the others
follow from what one look of theirs adds to an execution, which is counted on executions of theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import executions
from bench.loops import EVERY_10_S, EVERY_60_S, OURS, RETRY, RETRY_INTERVAL, RETRY_LONGEST, RETRY_RATE, Loop
from bench.places import Unmeasurable
from bench.table import Table, duration
from local.cost import TRANSITION

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPS = (OURS, EVERY_10_S, EVERY_60_S, RETRY)
DURATIONS = (10.0, 60.0, 600.0, 3600.0, 5 * 3600.0, 86_400.0, 7 * 86_400.0)
LONGEST_EXECUTED_QUICKLY = 3600.0
LIMIT = 25_000  # events in the history of an execution
AROUND = 0.2  # a rekey that "takes an hour" takes that much more or less
STEPS = 400
SHORT, LONG = 60.0, 180.0  # seconds: two jobs whose histories differ by looks alone
MILLISECOND = 0.001
MACHINE_DAYS, DEADLINE_DAYS = 8, 7  # template.yaml and the state machine


@dataclass(frozen=True)
class Fixed:
    """What an execution has besides its looks."""

    events: int
    transitions: int


def run(quick: bool) -> Table:  # noqa: FBT001 - the shape of every benchmark
    """Execute and calculate. Raises Unmeasurable where an execution is not what the calculation says."""
    for loop, states in ((EVERY_10_S, _waiting(10)), (EVERY_60_S, _waiting(60)), (RETRY, _retrying())):
        _confirm_looks(loop, states)
    executed = [seconds for seconds in DURATIONS if not quick or seconds <= LONGEST_EXECUTED_QUICKLY]
    fixed = {_confirm_rotation(seconds) for seconds in executed}
    if len(fixed) != 1:
        raise Unmeasurable(f"executions differ by more than their looks: {fixed}")
    (rest,) = fixed
    columns = ("rekey", "loop", "polls", "transitions", "cost", "events", "found late by, mean", "at most")
    rows = [row for seconds in DURATIONS for row in _rows(seconds, rest)]
    return Table(columns, tuple(rows), (*_remarks(rest), _executed(executed)))


def _rows(seconds: float, rest: Fixed) -> Iterator[tuple[str, ...]]:
    for loop in LOOPS:
        looks, _ = loop.until(seconds)
        transitions = rest.transitions + looks * loop.transitions
        events = rest.events + looks * loop.events
        lags = list(_lags(loop, seconds))
        yield (
            duration(seconds) if loop is OURS else "",
            loop.name,
            f"{looks:,}",
            f"{transitions:,}",
            f"${transitions * TRANSITION:.4f}",
            f"{events:,}" if events <= LIMIT else f"{events:,}: cannot",
            duration(sum(lags) / len(lags)),
            duration(max(lags)),
        )


def _lags(loop: Loop, seconds: float) -> Iterator[float]:
    """How long after their ends jobs of about that length are found to have ended."""
    looks = loop.looks()
    look = 0.0
    for step in range(STEPS + 1):
        length = seconds * (1 - AROUND + 2 * AROUND * step / STEPS)
        while look < length:
            look = next(looks)
        yield look - length


def _longest(loop: Loop, rest: Fixed) -> float:
    """The age of a job at the last look that the limit on events leaves room for."""
    most = (LIMIT - rest.events) // loop.events
    return next(age for count, age in enumerate(loop.looks(), 1) if count == most)


def _confirm_rotation(seconds: float) -> Fixed:
    """Execute a rotation, and hold it against the calculation; what is left is what every execution has."""
    ran = executions.rotation(seconds)
    if not _agree(ran, OURS, seconds):
        raise Unmeasurable(f"a rekey of {duration(seconds)}: {ran} is not what was calculated: {OURS.until(seconds)}")
    return Fixed(ran.events - ran.looks * OURS.events, ran.transitions - ran.looks * OURS.transitions)


def _agree(ran: executions.Ran, loop: Loop, seconds: float) -> bool:
    """Whether an execution looked as often as calculated, and for the last time when calculated."""
    looks, age = loop.until(seconds)
    return ran.looks == looks and math.isclose(ran.seconds, age, abs_tol=MILLISECOND)


def _confirm_looks(loop: Loop, states: dict[str, Any]) -> None:
    """Execute a loop on two jobs: their difference is what the further looks added."""
    short, long = (executions.alternative(states, seconds) for seconds in (SHORT, LONG))
    looks = long.looks - short.looks
    added = (long.events - short.events, long.transitions - short.transitions)
    expected = (looks * loop.events, looks * loop.transitions)
    if added != expected or not _agree(long, loop, LONG):
        raise Unmeasurable(f"{loop.name}: {short} and {long} are not what was calculated")


def _remarks(rest: Fixed) -> Iterator[str]:
    yield (
        f"Late: over rekeys {AROUND:.0%} shorter to {AROUND:.0%} longer. Cost: transitions at $0.025 per 1,000, "
        "without the free ones; the functions' own time is not in it."
    )
    yield (
        f"Every execution has {rest.events} events and {rest.transitions} transitions besides its looks; the loops "
        "other than ours are given the same. "
        f"Throw and Retry: {RETRY_INTERVAL:g} s × {RETRY_RATE:g}, at most {RETRY_LONGEST:g} s, "  # noqa: RUF001 - times
        "the same shape as ours."
    )
    fits = "; ".join(f"{loop.name} {duration(_longest(loop, rest))}" for loop in LOOPS)
    yield (
        f"Longest rekey that {LIMIT:,} events leave room for: {fits}. Ours ends before that by its own deadline, "
        f"of {DEADLINE_DAYS} days at most, and the machine's, of {MACHINE_DAYS}."
    )


def _executed(executed: list[float]) -> str:
    return f"Executed on the real state machine and functions: rekeys of {', '.join(map(duration, executed))}."


def _waiting(seconds: int) -> dict[str, Any]:
    """Wait, look, decide."""
    again = {"Variable": "$.status", "StringEquals": "running", "Next": "Wait"}
    return {
        "Wait": {"Type": "Wait", "Seconds": seconds, "Next": "Look"},
        "Look": _look({}) | {"Next": "Decide"},
        "Decide": {"Type": "Choice", "Choices": [again], "Default": "Done"},
        "Done": {"Type": "Succeed"},
    }


def _retrying() -> dict[str, Any]:
    """A function that throws for as long as the job runs."""
    retry = {
        "ErrorEquals": ["StillRunning"],
        "IntervalSeconds": int(RETRY_INTERVAL),
        "BackoffRate": RETRY_RATE,
        "MaxDelaySeconds": int(RETRY_LONGEST),
        "MaxAttempts": 99_999_999,
    }
    return {"Look": _look({"throws": True}) | {"Retry": [retry], "End": True}}


def _look(payload: dict[str, Any]) -> dict[str, Any]:
    parameters = {"FunctionName": executions.LOOK, "Payload": payload}
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": parameters,
        "OutputPath": "$.Payload",
    }

"""One row for each outcome, trigger and notice: everything that depends on which one it is.

A new row is the whole change in this package: whatever reads the rows (notification, execution, metrics, summary, fleet
policy) needs none. Tests hold schemas, alarms, e-mail filter, README and runbook to them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple, Self, TypeVar

E = TypeVar("E", bound=StrEnum)


def _with_row(member: E, row: _Outcome | _Trigger) -> E:
    member._value_ = row.name
    for name, value in row._asdict().items():
        if name != "name":  # which the member has already, for its own purpose
            setattr(member, name, value)
    return member


class _Outcome(NamedTuple):
    """A row of the table of outcomes. The name is the one in records, notifications and metrics."""

    name: str
    headline: str
    succeeded: bool = False  # nobody has to do anything; the execution succeeds or fails by it
    replaced: bool = False  # the key was replaced as asked; a fleet's summary lists it as rotated
    dry_headline: str = ""  # of a dry run, where it is another one
    sent_headline: str = ""  # where a rekey was sent, if it is another one then
    may_go_on: bool = False  # a rekey may still go through: the notification says with which input to start again
    look_at_cluster: bool = False  # a person has to look at the cluster itself; the alarm on unsettled rotations
    mailed: bool = True  # the e-mail subscription is sent it


class Outcome(StrEnum):
    """How a rotation ended."""

    headline: str
    succeeded: bool
    replaced: bool
    dry_headline: str
    sent_headline: str
    may_go_on: bool
    look_at_cluster: bool
    mailed: bool

    def __new__(cls, name: str, *row: Any) -> Self:  # noqa: ANN401 - the other members of a row
        """A text that carries its row."""
        return _with_row(str.__new__(cls, name), _Outcome(name, *row))

    ROTATED = _Outcome("Rotated", "master key replaced and verified", succeeded=True, replaced=True)
    FOLLOWED = _Outcome("Followed", "master key replaced by a rekey somebody else began", succeeded=True, replaced=True)
    NOT_DUE = _Outcome("NotDue", "nothing to do, the master key is recent enough", succeeded=True, mailed=False)
    COOLING_DOWN = _Outcome("CoolingDown", "not rotated again so soon", succeeded=True)
    PLANNED = _Outcome("Planned", "dry run, would rotate", succeeded=True)
    WOULD_BE_REFUSED = _Outcome("WouldBeRefused", "dry run, would be refused", succeeded=True)
    FAILED = _Outcome(
        "Failed",
        "rotation FAILED, this run changed nothing",
        dry_headline="dry run FAILED, nothing was changed",
        sent_headline="rotation FAILED, the old key is still current",
    )
    ROTATED_WITH_ERROR = _Outcome(
        "RotatedWithError", "master key replaced, but the job reported an ERROR", look_at_cluster=True
    )
    OVERDUE = _Outcome("Overdue", "rekey OVERDUE, still running on the cluster", may_go_on=True, look_at_cluster=True)
    OUTCOME_UNKNOWN = _Outcome(
        "OutcomeUnknown",
        "rotation outcome UNKNOWN, the cluster must be looked at",
        may_go_on=True,
        look_at_cluster=True,
    )


class _Trigger(NamedTuple):
    """A row of the table of triggers. The name is the one in inputs, records and notifications."""

    name: str
    urgent: bool = False  # goes ahead in spite of the faults that block a rekey that can wait
    by_age: bool = False  # each cluster's maximum key age decides, and a run spreads its clusters over time
    cools_down: bool = False  # a key younger than the cool-down is left alone
    stops_after_failures: bool = False  # a run stops after the operator's number of failures, not after any number
    looks_only: bool = False  # never rotates; what the look says is published by the run, and only where it is news


class Trigger(StrEnum):
    """What started a rotation or a fleet run."""

    urgent: bool
    by_age: bool
    cools_down: bool
    stops_after_failures: bool
    looks_only: bool

    def __new__(cls, name: str, *row: Any) -> Self:  # noqa: ANN401 - the other members of a row
        """A text that carries its row."""
        return _with_row(str.__new__(cls, name), _Trigger(name, *row))

    MANUAL = _Trigger("manual")
    SCHEDULE = _Trigger("schedule", by_age=True, stops_after_failures=True)
    ALARM = _Trigger("alarm", urgent=True, cools_down=True)
    READINESS = _Trigger("readiness", looks_only=True)


class NoticeKind(StrEnum):
    """What is published of an urgent rotation before its end; the text is the name on the wire."""

    headline: str

    def __new__(cls, name: str, headline: str) -> Self:
        """A text with its headline."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.headline = headline
        return kind

    BEGAN = "Began", "urgent rotation under way"
    COOLING_DOWN = "CoolingDown", "urgent rotation WAITS for the end of the cool-down"
    RETRYING = "Retrying", "urgent rotation NOT YET begun, it is being retried"

"""What the records show of keys over a time: how long each was in use, against the maximum age, and what is missing.

Rules only: data in, data out. The maximum age is that of today: the table does not keep what it was before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING

from element_rekey.cluster import MasterKey
from element_rekey.moments import is_plausible
from element_rekey.outcomes import Outcome
from element_rekey.records import asked_of
from element_rekey.rules.memory import STAMP_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from element_rekey.outcomes import Trigger
    from element_rekey.records import KeyChange, OutsideChange, Rotation

    from .standing import Facts

    _FirstLooks = Mapping[str, tuple[MasterKey, datetime]]

NOTHING_DONE = frozenset({Outcome.NOT_DUE, Outcome.COOLING_DOWN, Outcome.PLANNED, Outcome.WOULD_BE_REFUSED})
"""Outcomes of rotations that neither changed a key nor failed to."""


class Judgement(StrEnum):
    """What the records say of one cluster over the period; the worst first."""

    BREACH = "breach"  # a key was in use for longer than the maximum age
    UNSEEN = "unseen"  # registered, and nothing on record shows its key in the period
    AGE_UNKNOWN = "age unknown"  # no breach shows, and nothing says how old its first key was
    IN_POLICY = "in policy"
    NO_CLUSTER = "no cluster"  # executions named it, and no cluster was ever seen under this name


@dataclass(frozen=True, slots=True)
class Period:
    """The time of a report; ``as_of`` is its end, or now where that is earlier."""

    since: datetime
    until: datetime
    as_of: datetime

    def has(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        return self.since <= moment < self.until


@dataclass(frozen=True, slots=True)
class KeyLife:
    """How long a key was the master key of a cluster."""

    key: MasterKey
    made_at: datetime
    made_at_known: bool  # False: it was there at that time, and nothing says since when
    until: datetime | None  # when the next one was made, or the cluster was replaced; None: it is still in use
    age_days: float  # at the end of its use, or as of the report
    cluster_uuid: str


@dataclass(frozen=True, slots=True)
class Breach:
    """A time in the period in which a key was older than the maximum age."""

    key_id: str
    since: datetime
    until: datetime
    days: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Two rows that do not meet: a key came between them, and no record says how."""

    expected_key_id: str  # the new key of the earlier row
    found_key_id: str  # the old key of the later row, or the key at the last look
    after: datetime
    before: datetime


@dataclass(frozen=True, slots=True)
class RotationLine:
    """One rotation of the period. Without ``outcome`` it is under way; without keys it changed none."""

    execution_arn: str
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None
    trigger: Trigger | None
    reason: str
    requested_by: str
    old_key: MasterKey | None = None
    new_key: MasterKey | None = None
    finished_at: datetime | None = None  # of the change, by the job's own word where it could be read
    job_result_read: bool | None = None  # False: the cluster's state alone shows the change
    ours: bool | None = None  # False: somebody else began the rekey, and it was followed
    error: str | None = None
    settled_by: str | None = None  # the execution that saw what became of its rekey, by its ARN

    @property
    def failed(self) -> bool:
        """Whether it ended without the change it was to make, or with an error."""
        return self.outcome is not None and not self.outcome.succeeded


@dataclass(frozen=True, slots=True)
class ClusterEvidence:
    """What the records show of one cluster."""

    cluster: str
    registered: bool
    judgement: Judgement
    max_key_age_days: float
    never_rotated: bool  # no change of its key is on record up to the end of the period
    days_in_breach: float
    keys: tuple[KeyLife, ...]  # in use at some time of the period, the oldest first
    breaches: tuple[Breach, ...]
    rotations: tuple[RotationLine, ...]  # the oldest first
    changes_outside: tuple[OutsideChange, ...]  # which no record explains
    gaps: tuple[Gap, ...]
    last_seen_at: datetime | None = None  # the last look of the period that showed its key


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole fleet in numbers."""

    clusters: int
    in_policy: int
    in_breach: int
    days_in_breach: float  # of all clusters together
    age_unknown: int
    unseen: int
    never_rotated: int
    key_changes: int  # on record; one that two executions followed counts once
    failures: int
    changes_outside: int
    gaps: int


def evidence_of(facts: Facts, default_max_age: timedelta, period: Period) -> ClusterEvidence:
    """What the records of one cluster show; ``facts.records`` are all there are of it, the newest first.

    A cluster that is not registered any more is judged until it was last seen.
    """
    records = facts.records[::-1]
    max_age = facts.max_key_age or default_max_age
    looks = sorted(moment for moment in _looks(facts, records) if moment < period.as_of)
    last_look = looks[-1] if looks else None
    end = period.as_of if facts.registered else last_look or period.since
    lives, gaps, changed = _lives(facts, records, end)
    lives = [
        _as_of(one, end) for one in lives if one.made_at <= end and (one.until is None or one.until > period.since)
    ]
    breaches = tuple(one for life in lives for one in _breaches(life, max_age, period.since, end))
    in_period = [one for one in records if period.has(one.execution.started_at)]
    never_seen = not facts.registered and not looks and not lives
    last_seen = last_look if last_look and last_look >= period.since else None
    return ClusterEvidence(
        cluster=facts.cluster,
        registered=facts.registered,
        judgement=_judge(breaches, lives, never_seen=never_seen, seen=last_seen is not None),
        max_key_age_days=days(max_age),
        never_rotated=not any(moment < period.as_of for moment in changed),
        days_in_breach=round(sum((one.days for one in breaches), 0.0), 2),
        keys=tuple(lives),
        breaches=breaches,
        rotations=tuple(rotation_line(one) for one in in_period if did_something(one)),
        changes_outside=tuple(
            one for record in records for one in record.outside or () if period.has(one.new_key_seen_at)
        ),
        gaps=tuple(one for one in gaps if one.before >= period.since and one.after < period.until),
        last_seen_at=last_seen,
    )


def _judge(breaches: Sequence[Breach], lives: Sequence[KeyLife], *, never_seen: bool, seen: bool) -> Judgement:
    if never_seen:
        return Judgement.NO_CLUSTER
    if breaches:
        return Judgement.BREACH
    if not seen:
        return Judgement.UNSEEN
    return Judgement.IN_POLICY if lives and all(one.made_at_known for one in lives) else Judgement.AGE_UNKNOWN


def summary_of(clusters: Iterable[ClusterEvidence]) -> Summary:
    """The numbers of the whole fleet; a name that no cluster has counts for none."""
    real = [one for one in clusters if one.judgement is not Judgement.NO_CLUSTER]
    rotations = [line for one in real for line in one.rotations]
    changes = {(one.cluster, line.new_key.key_id) for one in real for line in one.rotations if line.new_key}

    def judged(judgement: Judgement) -> int:
        return sum(one.judgement is judgement for one in real)

    return Summary(
        clusters=len(real),
        in_policy=judged(Judgement.IN_POLICY),
        in_breach=judged(Judgement.BREACH),
        days_in_breach=round(sum((one.days_in_breach for one in real), 0.0), 2),
        age_unknown=judged(Judgement.AGE_UNKNOWN),
        unseen=judged(Judgement.UNSEEN),
        never_rotated=sum(one.never_rotated for one in real),
        key_changes=len(changes),
        failures=sum(line.failed for line in rotations),
        changes_outside=sum(len(one.changes_outside) for one in real),
        gaps=sum(len(one.gaps) for one in real),
    )


def worst_first(clusters: Iterable[ClusterEvidence]) -> tuple[ClusterEvidence, ...]:
    """By judgement, then by name."""
    order = list(Judgement)
    return tuple(sorted(clusters, key=lambda one: (order.index(one.judgement), one.cluster)))


def did_something(record: Rotation) -> bool:
    """Whether a rotation changed a key or failed to, or was first to see what became of another."""
    if record.settled or record.outside:
        return True
    return not asked_of(record).dry_run and record.outcome not in NOTHING_DONE


def rotation_line(record: Rotation) -> RotationLine:
    """A record as a line of the report."""
    asked, change = asked_of(record), record.change
    return RotationLine(
        execution_arn=record.execution.id,
        started_at=record.execution.started_at,
        ended_at=record.ended_at,
        outcome=record.outcome,
        trigger=asked.trigger,
        reason=asked.reason,
        requested_by=asked.requested_by,
        old_key=change.old_key if change else None,
        new_key=change.new_key if change else None,
        finished_at=change.finished_at if change else None,
        job_result_read=change.job_result_read if change else None,
        ours=change.ours if change else None,
        error=record.failure.error if record.failure else None,
        settled_by=record.settled_by.id if record.settled_by else None,
    )


def days(length: timedelta) -> float:
    """A length in days."""
    return round(length / timedelta(days=1), 2)


# --- the keys of a cluster, one after the other ---


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of keys: by a rotation, or outside of the record."""

    old: MasterKey
    new: MasterKey
    made_at: datetime  # the new one
    made_at_known: bool
    cluster_uuid: str


def made(key: MasterKey, seen_at: datetime, not_before: datetime | None = None) -> tuple[datetime, bool]:
    """When a key was made, as well as its witnesses say (docs/adr/0002), and whether there is one.

    The cluster's stamp counts, and the last sight of the key before it, unless they lie after the first sight of the
    key. Without a witness it is as old as that sight, at least.
    """
    witnesses = (one for one in (key.key_created_time, not_before) if one and is_plausible(one))
    latest = max((one for one in witnesses if one <= seen_at + STAMP_TOLERANCE), default=None)
    return (min(latest, seen_at), True) if latest else (seen_at, False)


def _looks(facts: Facts, records: Iterable[Rotation]) -> Iterator[datetime]:
    """The moments at, or soon after, which the cluster showed its key."""
    for one in records:
        if one.current_key:
            yield one.execution.started_at
        if one.change:
            yield one.change.finished_at
    if facts.memory and facts.memory.key_seen_at:
        yield facts.memory.key_seen_at


def _lives(facts: Facts, records: Sequence[Rotation], end: datetime) -> tuple[list[KeyLife], list[Gap], list[datetime]]:
    """The keys of every cluster that answered under this name, the gaps between them, and when rotations made one."""
    first_looks: dict[str, tuple[MasterKey, datetime]] = {}  # by the key's id
    answered: dict[str, datetime] = {}  # since when, by the cluster's uuid
    for one in records:
        if one.cluster_uuid:
            answered.setdefault(one.cluster_uuid, one.execution.started_at)
        if one.current_key:
            first_looks.setdefault(one.current_key.key_id, (one.current_key, one.execution.started_at))
    if facts.memory:
        answered.setdefault(facts.memory.uuid, end)
    rotated = list(_rotated(records))
    steps = sorted([*rotated, *_outside(records, first_looks)], key=lambda step: step.made_at)
    lives: list[KeyLife] = []
    gaps: list[Gap] = []
    for uuid, replaced_at in zip_longest(answered, list(answered.values())[1:]):
        chain = _Chain(uuid, first_looks)
        for step in steps:
            if step.cluster_uuid == uuid:
                chain.add(step)
        chain.end_with(facts, records)
        lives += chain.closed(replaced_at)
        gaps += chain.gaps
    return lives, gaps, [one.made_at for one in rotated]


def _rotated(records: Sequence[Rotation]) -> Iterator[_Step]:
    """The changes that rotations made or followed; also those of which only the execution that settled them is left."""
    told = {one.execution.id for one in records if one.change}
    for record in records:
        sent_at = record.intent.sent_at if record.intent else None
        if record.change:
            yield _step(record.change, sent_at if record.change.ours else None, record.cluster_uuid)
        for one in record.settled or ():
            if one.execution.id not in told:
                yield _step(one.change, None, record.cluster_uuid)


def _step(change: KeyChange, sent_at: datetime | None, uuid: str) -> _Step:
    made_at, known = made(change.new_key, change.finished_at, sent_at)
    return _Step(change.old_key, change.new_key, made_at, known, uuid)


def _outside(records: Iterable[Rotation], first_looks: _FirstLooks) -> Iterator[_Step]:
    for record in records:
        for one in record.outside or ():
            made_at, known = made(one.new_key, one.new_key_seen_at, one.old_key_seen_at)
            yield _Step(_key(one.old_key_id, first_looks), one.new_key, made_at, known, record.cluster_uuid)


def _key(key_id: str, first_looks: _FirstLooks) -> MasterKey:
    return first_looks[key_id][0] if key_id in first_looks else MasterKey(key_id, None)


class _Chain:
    """The keys of one cluster, each made when the one before it ended."""

    def __init__(self, uuid: str, first_looks: _FirstLooks) -> None:
        self.uuid = uuid
        self.first_looks = first_looks
        self.lives: list[KeyLife] = []
        self.gaps: list[Gap] = []
        self._pairs: set[tuple[str, str]] = set()

    def add(self, step: _Step) -> None:
        """The next change. A second record of one that is known begins at a key that is not in use any more."""
        pair = (step.old.key_id, step.new.key_id)
        if pair[0] == pair[1] or (pair in self._pairs and self.lives[-1].key.key_id != step.old.key_id):
            return
        self._pairs.add(pair)
        self.reach(step.old, step.made_at)
        self._begin(step.new, step.made_at, known=step.made_at_known)

    def reach(self, key: MasterKey, seen_at: datetime, not_before: datetime | None = None) -> None:
        """``key`` is in use at a moment, whatever was before."""
        if not self.lives:
            first_look = self.first_looks.get(key.key_id, (key, seen_at))[1]
            made_at, known = made(key, min(first_look, seen_at), not_before)
            self._begin(key, made_at, known=known)
        elif self.lives[-1].key.key_id != key.key_id:
            last = self.lives[-1]
            self.gaps.append(Gap(last.key.key_id, key.key_id, last.made_at, max(last.made_at, seen_at)))
            made_at, known = made(key, seen_at, last.made_at)
            self._begin(key, made_at, known=known)

    def end_with(self, facts: Facts, records: Sequence[Rotation]) -> None:
        """The key that is remembered; without a memory, and where nothing changed, the one that was seen."""
        memory = facts.memory
        if memory and memory.uuid == self.uuid:
            seen_at = memory.key_known_since or memory.key_seen_at
            if memory.key_id and seen_at:
                key = _key(memory.key_id, self.first_looks)
                key = replace(key, key_created_time=memory.key_created_time or key.key_created_time)
                self.reach(key, seen_at, memory.key_made_after)
        elif not self.lives:
            seen = ((one.current_key, one.execution.started_at) for one in records if one.cluster_uuid == self.uuid)
            for key_seen, moment in seen:
                if key_seen:
                    self.reach(key_seen, moment)

    def closed(self, replaced_at: datetime | None) -> list[KeyLife]:
        """The keys; the last one until the cluster was replaced by another."""
        if replaced_at and self.lives:
            self.lives[-1] = replace(self.lives[-1], until=max(replaced_at, self.lives[-1].made_at))
        return self.lives

    def _begin(self, key: MasterKey, made_at: datetime, *, known: bool) -> None:
        if self.lives:
            made_at = max(made_at, self.lives[-1].made_at)
            self.lives[-1] = replace(self.lives[-1], until=made_at)
        self.lives.append(KeyLife(key, made_at, known, None, 0.0, self.uuid))


def _as_of(life: KeyLife, end: datetime) -> KeyLife:
    """What was known of it then: a report of the same time says the same later."""
    until = life.until if life.until and life.until <= end else None
    return replace(life, until=until, age_days=days((until or end) - life.made_at))


def _breaches(life: KeyLife, max_age: timedelta, since: datetime, end: datetime) -> Iterator[Breach]:
    begin, stop = max(life.made_at + max_age, since), life.until or end
    if begin < stop:
        yield Breach(life.key.key_id, begin, stop, days(stop - begin))

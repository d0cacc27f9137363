"""What a person reads of clusters and records: at the terminal's width, or on whole lines in a pipe."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from element_rekey.records import asked_of
from element_rekey.text import flat

from .hops import Verdict
from .standing import State
from .words import ago, clock, compact, duration, in_full, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from rich.console import Console

    from element_rekey.cluster import MasterKey
    from element_rekey.records import Rotation

    from .documents import FleetRunLine, HistoryLine, StatusDocument
    from .hops import Hop
    from .standing import Facts, Standing

SHORT_ID = 8
STYLES = {
    State.UNMET_REPORT: "bold red",
    State.UNKNOWN: "bold red",
    State.RETRYING: "yellow",
    State.OVERDUE: "yellow",
    State.NOT_READY: "yellow",
    State.ROTATING: "cyan",
    State.DUE: "blue",
    State.OK: "green",
}
HOP_STYLES = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BAD: "bold red"}
_HOPS = 24
_HEADINGS = ("STATE", "CLUSTER", "KEY", "MGMT", "AGE", "DUE IN", "READY", "LAST OUTCOME")
_NAME = 1  # the column that gives way where the terminal is narrow
_NARROWEST = 8
_INDENT = 13


@dataclass(frozen=True)
class Page:
    """Writes to ``console``: wrapped on a terminal, on whole lines in a pipe."""

    console: Console

    def line(self, *parts: str | tuple[str, str]) -> None:
        """One line, as it is; no text in it makes a line of its own."""
        shown = [flat(one) if isinstance(one, str) else (flat(one[0]), one[1]) for one in parts]
        self.console.print(Text.assemble(*shown), soft_wrap=True)

    def text(self, text: str) -> None:
        """Lines of our own, as they are."""
        self.console.print(Text(text), soft_wrap=True)

    def sentence(self, text: str, indent: int = 0, style: str = "") -> None:
        """A sentence, on as many lines as it takes."""
        for part in self._wrapped(flat(text), indent):
            self.console.print(Text(" " * indent + part, style=style), soft_wrap=True)

    def fact(self, label: str, text: str) -> None:
        """A label and what it stands for."""
        first, *rest = self._wrapped(flat(text), _INDENT + 2)
        self.console.print(Text.assemble((f"{label:<{_INDENT + 2}}", "bold"), first), soft_wrap=True)
        for part in rest:
            self.console.print(Text(" " * (_INDENT + 2) + part), soft_wrap=True)

    def columns(self, headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
        """A table without details."""
        for place, cells in enumerate(self._laid_out([headings, *rows])):
            style = "bold" if place == 0 else styles[place - 1] if styles else ""
            for line in cells:
                self.console.print(Text(line, style=style), soft_wrap=True)

    def _wrapped(self, text: str, indent: int) -> list[str]:
        if not self.console.is_terminal:
            return [text]
        return _pieces(text, max(_NARROWEST, self.console.width - indent), whole=True)

    def _laid_out(self, rows: Sequence[Sequence[str]], name: int = _NAME) -> Iterator[list[str]]:
        """Each row as its lines; a name too long for the terminal goes on below itself."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        gap = 2
        if self.console.is_terminal:
            spare = self.console.width - sum(widths) - gap * (len(widths) - 1)
            if spare < 0:
                gap, spare = 1, spare + len(widths) - 1
            widths[name] = max(_NARROWEST, min(widths[name], widths[name] + spare))
        for row in rows:
            pieces = _pieces(row[name], widths[name])
            first = [*row[:name], pieces[0], *row[name + 1 :]]
            below = " " * (sum(widths[:name]) + gap * name)
            yield [
                (" " * gap).join(f"{cell:<{width}}" for cell, width in zip(first, widths, strict=True)).rstrip(),
                *(below + piece for piece in pieces[1:]),
            ]

    def status(self, document: StatusDocument) -> None:
        """Every cluster, the worst first; what there is to say of one stands below it."""
        now = document.at
        rows = [_row(one, now) for one in document.clusters]
        if not rows:
            self.line("No cluster is registered.")
            return
        heading, *laid_out = self._laid_out([_HEADINGS, *rows])
        self.console.print(Text(heading[0], style="bold"), soft_wrap=True)
        for one, lines in zip(document.clusters, laid_out, strict=True):
            width = len(one.state)
            self.console.print(Text.assemble((lines[0][:width], STYLES[one.state]), lines[0][width:]), soft_wrap=True)
            for line in lines[1:]:
                self.line(line)
            for detail in details(one, now):
                self.sentence(detail, _INDENT)
        self.line("")
        self.sentence(counts(document.clusters))
        for incident in document.incidents:
            bad = incident.newer_key < incident.clusters
            self.line((incident.line, "bold red" if bad else "green"))

    def story(self, standing: Standing, facts: Facts, grace: timedelta, now: datetime) -> None:
        """Everything about one cluster."""
        self.fact("Cluster", standing.cluster + (f" ({standing.cluster_uuid})" if standing.cluster_uuid else ""))
        state = f"{standing.state}{f': {standing.why}' if standing.why else ''}"
        self.fact("State", state)
        self.fact("Key", _key_in_full(standing, facts.key))
        if standing.key_made_at:
            self.fact("Made", f"{in_full(standing.key_made_at)}, {ago(standing.key_made_at, now)}")
        if standing.due_at and facts.max_key_age:
            left = standing.due_at - now
            over = f"{duration(left)} to go" if left > timedelta() else ago(standing.due_at, now)
            limit = f"at {facts.max_key_age.days} d; an alarm {grace.days} d later"
            self.fact("Due", f"{in_full(standing.due_at)}, {over} ({limit})")
        self.fact("Ready", _ready_in_full(standing, facts, now))
        self.fact("Lock", _lock_in_full(standing, now))
        self.fact("Running", _running(standing, now) or "nothing")
        if standing.last_outcome:
            last = standing.last_outcome
            self.fact("Last outcome", f"{last.outcome}: {last.outcome.headline}")
            if last.error and last.next_step:
                self.fact("Next step", last.next_step)
        if standing.state is State.UNKNOWN:
            self.fact("Next", f"element-rekey again {standing.cluster}")
        for one in (change for record in facts.records for change in record.outside or ()):
            seen = f"seen {in_full(one.new_key_seen_at)}"
            self.fact("Not by us", f"{one.old_key_id} became {one.new_key.key_id}, {seen}: no record explains it")
        if facts.records:
            self.line("")
            rows = [_story_row(one) for one in facts.records]
            self.columns(("BEGAN (UTC)", "EXECUTION", "OUTCOME", "BY"), rows)

    def hop(self, hop: Hop) -> None:
        """A hop, and what mends it."""
        first, *rest = self._wrapped(flat(hop.says), _HOPS)
        self.console.print(
            Text.assemble((f"  {hop.verdict:<5}", HOP_STYLES[hop.verdict]), (f"{hop.name:<17}", "bold"), first),
            soft_wrap=True,
        )
        for part in rest:
            self.console.print(Text(" " * _HOPS + part), soft_wrap=True)
        if hop.mend:
            self.sentence(f"Mend: {hop.mend}", _HOPS, "dim")

    def history(self, lines: Sequence[HistoryLine]) -> None:
        """Rotations, one row each, with who asked and why below it."""
        rows = [
            (
                f"{one.started_at:%Y-%m-%d %H:%M}",
                one.cluster or "-",
                (one.outcome or "under way") + (", dry run" if one.dry_run and one.outcome != "Planned" else ""),
                one.trigger or "-",
                _short(one.old_key.key_id if one.old_key else None),
                _short(one.new_key.key_id if one.new_key else None),
            )
            for one in lines
        ]
        headings = ("BEGAN (UTC)", "CLUSTER", "OUTCOME", "TRIGGER", "OLD KEY", "NEW KEY")
        heading, *laid_out = self._laid_out([headings, *rows])
        self.console.print(Text(heading[0], style="bold"), soft_wrap=True)
        for one, cells in zip(lines, laid_out, strict=True):
            for line in cells:
                self.line(line)
            asked = " and ".join(part for part in (one.requested_by, one.reason) if part)
            for detail in (one.error, asked, name_of(one.execution_arn), *_settled(one)):
                if detail:
                    self.sentence(detail, 17, "dim")

    def fleet_runs(self, lines: Sequence[FleetRunLine]) -> None:
        """Fleet runs, a sentence each."""
        for one in lines:
            ended = one.error or ("all well" if one.ended_at else "under way")
            clusters = "1 cluster" if one.clusters == 1 else f"{one.clusters} clusters"
            dry = ", dry run" if one.dry_run else ""
            asked = " and ".join(part for part in (one.requested_by, one.reason) if part)
            self.line(f"{one.started_at:%Y-%m-%d %H:%M}  fleet run of {clusters}, {one.trigger or '-'}{dry}: {ended}")
            for detail in (asked, name_of(one.execution_arn)):
                if detail:
                    self.sentence(detail, 17, "dim")


def _settled(line: HistoryLine) -> Iterator[str]:
    """What a rotation saw first of the rekeys of others; and who saw what became of its own."""
    if line.settled_by:
        yield f"settled by {name_of(line.settled_by)}"
    for arn in line.settles or ():
        yield f"settles {name_of(arn)}"
    for one in line.key_changed_outside or ():
        new = one.new_key.key_id
        yield f"KeyChangedOutside: {one.old_key_id} to {new}, before {one.new_key_seen_at:%Y-%m-%d %H:%M}"


def _pieces(text: str, width: int, *, whole: bool = False) -> list[str]:
    """A text on lines of a width; names with hyphens, and ARNs if ``whole``, stay whole for copying."""
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=not whole) or [""]


def details(one: Standing, now: datetime) -> Iterator[str]:
    """What there is to say of a cluster below its row."""
    running = _running(one, now)
    if running:
        yield running
    if one.why:
        yield one.why
    if one.lock and not (one.running and one.running.execution_arn == one.lock.execution_arn):
        yield f"Locked by {name_of(one.lock.execution_arn)} until {clock(one.lock.lease_until, now)}."
    if one.state is State.UNKNOWN:
        yield f"Next: element-rekey again {one.cluster}"


def counts(standings: Sequence[Standing]) -> str:
    """How many clusters there are, and how many in which state."""
    numbers = [(state, sum(one.state is state for one in standings)) for state in State]
    total = "1 cluster" if len(standings) == 1 else f"{len(standings)} clusters"
    return f"{total}: {', '.join(f'{number} {state}' for state, number in numbers if number)}"


def _row(one: Standing, now: datetime) -> tuple[str, ...]:
    last = one.last_outcome
    return (
        one.state,
        flat(one.cluster),
        _short(one.key_id),
        _management(one),
        compact(now - one.key_made_at) if one.key_made_at else "-",
        compact(one.due_at - now) if one.due_at else "-",
        {True: "yes", False: "no", None: "?"}[one.ready],
        f"{last.outcome}{f' {compact(now - last.ended_at)}' if last.ended_at else ''}" if last else "-",
    )


def _short(key_id: str | None) -> str:
    return flat(key_id)[:SHORT_ID] if key_id else "-"


def _management(one: Standing) -> str:
    if one.key_management_type is None:
        return "-"
    return "Int" if one.key_provider_id is None else f"Ext {one.key_provider_id}"


def _running(one: Standing, now: datetime) -> str:
    running = one.running
    if running is None:
        return ""
    polls = f", {running.polls} polls" if running.polls else ""
    others = f"; {running.others} more wait for their turn" if running.others else ""
    since = f"since {clock(running.phase_since, now)} ({duration(now - running.phase_since)})"
    return f"{running.phase} {since}{polls}, by {name_of(running.execution_arn)}{others}"


def _key_in_full(one: Standing, key: MasterKey | None) -> str:
    if one.key_id is None:
        return "never seen"
    if key is None or key.key_management_type is None:
        return one.key_id
    provider = f", provider {key.key_provider_id}" if key.key_provider_id is not None else ""
    return f"{one.key_id} ({key.key_management_type}{provider})"


def _ready_in_full(one: Standing, facts: Facts, now: datetime) -> str:
    look = facts.last_look
    if look is None:
        return "not known: nobody has looked at it yet"
    when = f", as of {ago(look.at, now)}" if look.at else ""
    failed = f": {look.failure.error}: {look.failure.cause}" if look.failure and not one.ready else ""
    words = {True: "yes", False: "no", None: "not known"}
    return f"{words[one.ready]}{when} ({look.by}){failed}"


def _lock_in_full(one: Standing, now: datetime) -> str:
    if one.lock is None:
        return "free"
    return f"held by {name_of(one.lock.execution_arn)} until {clock(one.lock.lease_until, now)}"


def _story_row(record: Rotation) -> tuple[str, str, str, str]:
    asked = asked_of(record)
    error = f" ({record.failure.error})" if record.failure else ""
    outcome = f"{record.outcome or 'under way'}{error}"
    started = record.execution.started_at
    return f"{started:%Y-%m-%d %H:%M}", name_of(record.execution.id), outcome, flat(asked.trigger or "-")


def key_in_words(key: MasterKey) -> str:
    """A key as the cluster describes it."""
    provider = f", provider {key.key_provider_id}" if key.key_provider_id is not None else ""
    made = f", made {in_full(key.key_created_time)}" if key.key_created_time else ""
    return f"{key.key_id} ({key.key_management_type or 'management not known'}{provider}{made})"


def proof_of(rotation: Rotation) -> Iterator[str]:
    """What the outcome of a rotation rests on, one sentence each."""
    change = rotation.change
    if change is None:
        if rotation.outcome and rotation.outcome.succeeded and rotation.detail:
            yield rotation.detail
        return
    yield f"The cluster's own state named {change.old_key.key_id} before and {change.new_key.key_id} after."
    if change.job_result_read:
        after = f", after {change.job_seconds} s" if change.job_seconds is not None else ""
        yield f"The rekey's own result was read, and left on the cluster: done at {in_full(change.finished_at)}{after}."
    else:
        yield "The rekey's own result could not be read; the state alone shows the change."
    if change.key_to_decommission:
        yield f"The key it decommissions is {change.key_to_decommission.key_id}."
    if change.job_error:
        yield f"It ended with the error {change.job_error.name}: {change.job_error.message}"
    handle = rotation.following.async_handle if rotation.following else None
    begun = "This execution began the rekey" if change.ours else "Somebody else began the rekey"
    yield f"{begun}{f' (asyncHandle {handle})' if handle is not None else ''}."
    if rotation.cluster_uuid:
        yield f"It is the cluster {rotation.cluster_uuid} that answered all along."


def indented(lines: Iterable[str], page: Page) -> None:
    """Sentences below a heading."""
    for line in lines:
        page.sentence(line, 2)

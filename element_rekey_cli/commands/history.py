"""``element-rekey history``: the record of past rotations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from element_rekey_cli.documents import HISTORY_SCHEMA, HistoryDocument, fleet_run_line, history_line
from element_rekey_cli.evidence import NOTHING_DONE
from element_rekey_cli.exits import Exit
from element_rekey_cli.reading import months
from element_rekey_cli.tool import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from element_rekey.records import Rotation
    from element_rekey_cli.deployment import Deployment
    from element_rekey_cli.documents import FleetRunLine, HistoryLine
    from element_rekey_cli.tool import Given

DAY = click.DateTime(["%Y-%m-%d"])
QUARTER = timedelta(days=92)


@click.command()
@click.argument("cluster", required=False)
@click.option("--from", "first", type=DAY, metavar="DAY", help="The first day, such as 2026-01-01 (UTC).")
@click.option("--to", "last", type=DAY, metavar="DAY", help="The last day (UTC); today unless set.")
@click.option("--all", "everything", is_flag=True, help="Also dry runs, and rotations that had nothing to do.")
@command
def history(
    given: Given, cluster: str | None, first: datetime | None, last: datetime | None, *, everything: bool
) -> Exit:
    """Past rotations, the newest first: when, of which CLUSTER, by whom, why, and from which key to which.

    Of one CLUSTER all that are on record, of the whole fleet those of the last quarter and its fleet runs, unless days
    are named. Dry runs and rotations that had nothing to do are left out, except where one settles an earlier rotation,
    or saw a key that others made.
    """
    until = utc(last) + timedelta(days=1) if last else given.tool.clock()
    since = utc(first) if first else None
    if cluster is None:
        since = since or until - QUARTER
    lines = [
        line
        for line in map(history_line, _records(given.deployment, cluster, since, until))
        if (since is None or since <= line.started_at) and line.started_at < until and (everything or _did(line))
    ]
    runs = [] if cluster else list(_fleet_runs(given.deployment, since or until, until))
    runs = [one for one in runs if everything or not one.dry_run]
    if given.as_json:
        known = None if cluster else tuple(runs)
        given.say(HistoryDocument(HISTORY_SCHEMA, given.deployment.stack, tuple(lines), known))
    elif lines or runs:
        given.page.history(lines)
        given.page.fleet_runs(runs)
    else:
        given.page.line("No rotation is on record.")
    return Exit.DONE


def _did(line: HistoryLine) -> bool:
    if line.settles or line.key_changed_outside:
        return True
    return not line.dry_run and line.outcome not in NOTHING_DONE


def utc(day: datetime) -> datetime:
    """The first moment of a day."""
    return day.replace(tzinfo=UTC)


def _records(
    deployment: Deployment, cluster: str | None, since: datetime | None, until: datetime
) -> Iterator[Rotation]:
    """At least those of the time asked for, the newest first."""
    if cluster is not None:
        for one in deployment.ledger.rotations_of(cluster):
            if since and one.execution.started_at < since:
                return
            yield one
        return
    begin = since or until
    for month in months(begin, until):
        yield from deployment.ledger.rotations_in(month)


def _fleet_runs(deployment: Deployment, since: datetime, until: datetime) -> Iterator[FleetRunLine]:
    """The fleet runs that began between two moments, the newest first."""
    for month in months(since, until):
        for line in map(fleet_run_line, deployment.ledger.fleet_runs_in(month)):
            if since <= line.started_at < until:
                yield line

"""``element-rekey report``: the keys of the whole fleet over a time, for an auditor."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from element_rekey_cli.commands.history import DAY, utc
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.documents import CONTROLS, NOT_CHAINED, REPORT_SCHEMA, ReportDocument
from element_rekey_cli.evidence import Judgement, Period, days, evidence_of, summary_of, worst_first
from element_rekey_cli.exits import Exit
from element_rekey_cli.reading import whole_stories
from element_rekey_cli.report_csv import csv_of
from element_rekey_cli.report_html import html_of
from element_rekey_cli.tool import command

if TYPE_CHECKING:
    from element_rekey_cli.deployment import Deployment
    from element_rekey_cli.tool import Given

FILE = click.Path(dir_okay=False, path_type=Path)
BASIS = (
    f"{NOT_CHAINED} Ages are measured against the maximum age that is set today. Who called StartExecution is in "
    "CloudTrail, under the execution's ARN."
)


@click.command()
@click.option("--from", "first", type=DAY, metavar="DAY", required=True, help="The first day (UTC).")
@click.option("--to", "last", type=DAY, metavar="DAY", help="The last day (UTC); today unless set.")
@click.option("--html", type=FILE, help="Write one HTML file, complete in itself, to read and to print.")
@click.option("--csv", type=FILE, help="Write one table, for a spreadsheet.")
@command
def report(given: Given, first: datetime, last: datetime | None, html: Path | None, csv: Path | None) -> Exit:
    """The keys of every cluster over a time, against the maximum age: evidence for an auditor.

    Which clusters were in policy, which keys were in use for too long and for how many days, which clusters were never
    rotated or not seen; then for each cluster its keys, every rotation, changes that nothing on record explains, and
    gaps: where one row's new key is not the next row's old key. Records are not chained yet: what is shown is what the
    table holds.
    """
    now = given.tool.clock()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since, until = utc(first), utc(last or today) + timedelta(days=1)
    if since >= min(until, now):
        raise CommandFailed("The first day lies after the last, or in the future: there is no such time.", Exit.USAGE)
    document = document_of(given.deployment, Period(since, until, min(until, now)), now)
    if html:
        _write(given, html, html_of(document))
    if csv:
        _write(given, csv, "\N{ZERO WIDTH NO-BREAK SPACE}" + csv_of(document))  # else Excel takes it for Latin-1
    if given.as_json:
        given.say(document)
    elif not (html or csv):
        _show(given, document)
    return Exit.DONE


def document_of(deployment: Deployment, period: Period, now: datetime) -> ReportDocument:
    """The report. Raises AwsCallFailed."""
    default = deployment.fleet_settings.max_key_age
    clusters = [evidence_of(one, default, period) for one in whole_stories(deployment, period.since, period.until)]
    return ReportDocument(
        schema=REPORT_SCHEMA,
        stack=deployment.stack,
        at=now,
        since=period.since,
        until=period.until,
        as_of=period.as_of,
        max_key_age_days=days(default),
        basis=BASIS,
        controls=CONTROLS,
        summary=summary_of(clusters),
        clusters=worst_first(clusters),
    )


def _write(given: Given, file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}.", Exit.USAGE) from error
    given.page.line(f"Written: {file}")


def _show(given: Given, document: ReportDocument) -> None:
    page, summary = given.page, document.summary
    last = document.until - timedelta(days=1)
    page.sentence(f"{document.since:%Y-%m-%d} to {last:%Y-%m-%d}, maximum age {document.max_key_age_days:g} days")
    page.sentence(
        f"Clusters: {summary.clusters}; in policy: {summary.in_policy}, in breach: {summary.in_breach} "
        f"(for {summary.days_in_breach:g} days), of unknown age: {summary.age_unknown}, unseen: {summary.unseen}, "
        f"never rotated: {summary.never_rotated}"
    )
    page.sentence(
        f"Key changes: {summary.key_changes}, failures: {summary.failures}, "
        f"changes outside the record: {summary.changes_outside}, gaps: {summary.gaps}"
    )
    if document.clusters:
        rows = [
            (
                one.judgement,
                one.cluster,
                f"{one.days_in_breach:g}" if one.judgement is Judgement.BREACH else "-",
                str(sum(line.new_key is not None for line in one.rotations)),
                str(sum(line.failed for line in one.rotations)),
                str(len(one.changes_outside)),
                str(len(one.gaps)),
            )
            for one in document.clusters
        ]
        page.line("")
        page.columns(("JUDGEMENT", "CLUSTER", "DAYS OVER", "CHANGES", "FAILED", "OUTSIDE", "GAPS"), rows)
    page.line("")
    page.sentence(document.basis)

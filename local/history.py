"""``python -m local history``: the record of past rotations and fleet runs, from the table of any deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

HELP = "past rotations of one cluster, or all rotations and fleet runs of one month"


WIDE = 300
MOST_NAMED = 3  # clusters of a fleet run
NEEDS_ATTENTION = "needs ATTENTION"


class NoHistory(Exception):
    """The table could not be read; one sentence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--table", required=True, metavar="NAME", help="the stack's table (output TableName)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cluster", metavar="NAME", help="of this cluster, the newest first")
    which.add_argument(
        "--month", metavar="YYYY-MM", help="of every cluster and every fleet run in this month, the newest first"
    )
    add("--endpoint-url", metavar="URL", help="where AWS is, if not in the cloud: endpointUrl of make up")


def run(options: argparse.Namespace) -> int:
    """Print the records as a table; 1 if there are none."""
    try:
        client = boto3.client("dynamodb", endpoint_url=options.endpoint_url)
        records = list(rotations(client, options.table, options.cluster, options.month))
    except (BotoCoreError, ClientError) as error:
        raise NoHistory(f"The table {options.table} could not be read: {error}") from error
    table = Table(box=None, padding=(0, 2))
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for record in records:
        for row in rows(record):
            table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # whoever reads it from a pipe wants whole lines
        console = Console(width=WIDE)
    console.print(table if records else "No rotation is on record.")
    return 0 if records else 1


def rotations(client: Any, table: str, cluster: str | None, month: str | None) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - a client
    """The records, newest first (``Query`` on ByCluster or ByMonth)."""
    index, key, value = ("ByCluster", "cluster", cluster) if cluster else ("ByMonth", "month", month)
    pages = client.get_paginator("query").paginate(
        TableName=table,
        IndexName=index,
        KeyConditionExpression="#key = :value",
        ExpressionAttributeNames={"#key": key},
        ExpressionAttributeValues={":value": {"S": value}},
        ScanIndexForward=False,
    )
    for page in pages:
        for item in page["Items"]:
            yield {name: TypeDeserializer().deserialize(member) for name, member in item.items()}


TITLES = ("began (UTC)", "cluster", "outcome", "what it came to", "trigger", "by, why", "old key", "new key", "error")


def rows(record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A record as lines: one for each change by others that it was first to see, after its own."""
    yield _row_of_fleet_run(record) if record["pk"].startswith("FLEET#") else _row_of_rotation(record)
    for change in record.get("outside", ()):
        yield (
            _moment(change["newKeySeenAt"]),
            record.get("cluster", ""),
            "KeyChangedOutside",
            "key replaced by others",
            "",
            f"nobody we know, after {_moment(change['oldKeySeenAt'])}"
            if "oldKeySeenAt" in change
            else "nobody we know",
            change["oldKeyID"],
            change["newKey"]["keyID"],
            "",
        )


def _row_of_rotation(record: Mapping[str, Any]) -> tuple[str, ...]:
    change = record.get("change", {})
    return (
        _moment(record["startedAt"]),
        record.get("cluster", ""),
        record.get("outcome", "under way"),
        _came_to(record),
        *_asked(record),
        change.get("oldKey", {}).get("keyID", ""),
        change.get("newKey", {}).get("keyID", ""),
        record.get("failure", {}).get("error", ""),
    )


def _row_of_fleet_run(record: Mapping[str, Any]) -> tuple[str, ...]:
    ended, failure = "endedAt" in record, record.get("failure", {})
    chosen = [one["cluster"] for one in (*record.get("selected", ()), *record.get("refused", ()))]
    named = ", ".join(chosen[:MOST_NAMED]) + (f" and {len(chosen) - MOST_NAMED} more" if chosen[MOST_NAMED:] else "")
    dry = ", dry run" if _asked_in(record).get("dryRun") else ""
    return (
        _moment(record["startedAt"]),
        named or "(none)",
        "FleetSummary" if ended else "under way",
        f"fleet run{dry}{f', {NEEDS_ATTENTION}' if failure else ', all well' if ended else ''}",
        *_asked(record),
        "",
        "",
        failure.get("error", ""),
    )


def _came_to(record: Mapping[str, Any]) -> str:
    """What a rotation came to for the key, in words: a change is told apart from everything that was none."""
    if "outcome" not in record:
        return ""
    if _asked_in(record).get("dryRun"):
        return "dry run, nothing was changed"
    what = _of_the_key(record)
    if "settledBy" in record:
        what += f", settled by {_name(record['settledBy'])}"
    return what + "".join(f", settles {_name(one['execution'])}" for one in record.get("settled", ()))


def _of_the_key(record: Mapping[str, Any]) -> str:
    if "change" in record:
        return "key replaced" if record["change"]["own"] else "key replaced by others"
    if record["outcome"] in ("OutcomeUnknown", "Overdue"):
        return "not known"
    if record["outcome"] in ("NotDue", "CoolingDown"):
        return "nothing to do"
    return "rekey failed, key as before" if "intent" in record else "refused, key as before"


def _asked_in(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Who asked, why and for what; of an input that was refused, as far as it could be read."""
    asked: Mapping[str, Any] = record.get("request") or record.get("asked") or {}
    return asked


def _asked(record: Mapping[str, Any]) -> tuple[str, str]:
    asked = _asked_in(record)
    return asked.get("trigger", ""), ", ".join(part for part in (asked.get("requestedBy"), asked.get("reason")) if part)


def _moment(text: str) -> str:
    return text[:19].replace("T", " ")


def _name(execution: Mapping[str, Any]) -> str:
    name: str = execution["id"].rpartition(":")[2]
    return name

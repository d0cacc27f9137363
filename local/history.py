"""``python -m local history``: the record of past rotations, from the table of any deployment."""

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

HELP = "past rotations of one cluster, or of the whole fleet in one month"


WIDE = 240


class NoHistory(Exception):
    """The table could not be read; one sentence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--table", required=True, metavar="NAME", help="the stack's table (output TableName)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cluster", metavar="NAME", help="of this cluster, the newest first")
    which.add_argument("--month", metavar="YYYY-MM", help="of every cluster in this month, the newest first")
    add("--endpoint-url", metavar="URL", help="where AWS is, if not in the cloud: endpointUrl of make up")


def run(options: argparse.Namespace) -> int:
    """Print the rotations as a table; 1 if there are none."""
    try:
        client = boto3.client("dynamodb", endpoint_url=options.endpoint_url)
        records = list(rotations(client, options.table, options.cluster, options.month))
    except (BotoCoreError, ClientError) as error:
        raise NoHistory(f"The table {options.table} could not be read: {error}") from error
    table = Table(box=None, padding=(0, 2))
    for title in ("began (UTC)", "cluster", "outcome", "trigger", "by, why", "old key", "new key"):
        table.add_column(title, overflow="fold")
    for record in records:
        table.add_row(*row(record))
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


def row(record: Mapping[str, Any]) -> tuple[str, ...]:
    """A record as a line."""
    request, change = record.get("request", {}), record.get("change", {})
    asked = ", ".join(part for part in (request.get("requestedBy"), request.get("reason")) if part)
    return (
        record["startedAt"][:19].replace("T", " "),
        record.get("cluster", ""),
        record.get("outcome", "under way"),
        request.get("trigger", ""),
        asked,
        change.get("oldKey", {}).get("keyID", ""),
        change.get("newKey", {}).get("keyID", ""),
    )

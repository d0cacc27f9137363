"""``element-rekey compromised``: report a compromise, and follow what comes of it."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import click

from element_rekey.codec import encode
from element_rekey.inputs import OWN_SOURCE, parse_fleet_request
from element_rekey_cli.commands.rotate import follow_many, refuse_unknown
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.exits import Exit
from element_rekey_cli.following import Execution
from element_rekey_cli.starting import caller, execution_name, start
from element_rekey_cli.tool import command

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey_cli.tool import Given

MOMENT_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
MOMENT = click.DateTime([MOMENT_FORMAT])
DETAIL_TYPE = "Key Compromise Reported"


@click.command()
@click.argument("clusters", nargs=-1, metavar="[CLUSTER]...")
@click.option("--all", "everything", is_flag=True, help="Every registered cluster.")
@click.option("--reason", required=True, help="What happened; kept in the history and published.")
@click.option("--at", "moment", type=MOMENT, metavar="TIME", help="When it was; now unless set.")
@command
def compromised(
    given: Given, clusters: tuple[str, ...], *, everything: bool, reason: str, moment: datetime | None
) -> Exit:
    """Report that the keys of the CLUSTERs are compromised, and follow what comes of it.

    Each cluster gets a key made after the report (or after TIME, such as 2026-11-24T03:00:00Z): urgently, many at once,
    and in spite of faults that stop only what can wait. Where you are not sure that a report came through, report again
    with the same TIME: a key made since then meets it. Ctrl-C stops the watching, not the rotations.
    """
    if bool(clusters) == everything:
        raise CommandFailed("Name the clusters, or say --all.", Exit.USAGE)
    deployment = given.deployment
    if everything:
        clusters = tuple(sorted(one.cluster for one in deployment.registry.registered()))
        if not clusters:
            raise CommandFailed("No cluster is registered.", Exit.NOT_FOUND)
    refuse_unknown(deployment, clusters)
    now = deployment.clock()
    at = moment.replace(tzinfo=UTC) if moment else next_second(now)
    event = report_event(clusters, reason, caller(deployment), encode(at))
    parse_fleet_request(event, deployment.fleet_settings.alarm_prefix)
    name = execution_name("compromise-reported", now)
    given.page.line(f"If you are not sure that this report came through: the same again with --at {at:{MOMENT_FORMAT}}")
    followed = Execution(given, start(deployment, deployment.rotate_fleet_arn, name, event))
    given.page.line((f"Reported, {len(event['detail']['clusters'])} clusters: {name}", "bold"))
    return follow_many(followed)


def next_second(now: datetime) -> datetime:
    """The moment of a report, in whole seconds, so that ``--at`` can name it: no earlier than the report."""
    return now.replace(microsecond=0) + timedelta(seconds=bool(now.microsecond))


def report_event(clusters: tuple[str, ...], reason: str, by: str, at: str) -> dict[str, Any]:
    """The report as the event it is on the bus (``schemas/key-compromise-reported.v1.schema.json``).

    It is given to the state machine as the bus's rule gives it: so no bus, and no rule on it, can be in the way.
    """
    detail = {"clusters": sorted(set(clusters)), "reason": reason, "requestedBy": by, "reportedAt": at}
    return {
        "source": OWN_SOURCE,
        "detail-type": DETAIL_TYPE,
        "time": at,
        "detail": {name: value for name, value in detail.items() if value},
    }

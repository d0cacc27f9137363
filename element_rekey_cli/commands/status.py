"""``element-rekey status``: how every cluster stands, or everything about one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from element_rekey.codec import encode
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.documents import STATUS_SCHEMA, StatusDocument
from element_rekey_cli.exits import Exit
from element_rekey_cli.reading import read
from element_rekey_cli.standing import incidents, stand, worst_first
from element_rekey_cli.tool import command

if TYPE_CHECKING:
    from element_rekey_cli.deployment import Deployment
    from element_rekey_cli.reading import Seen
    from element_rekey_cli.tool import Given

WATCH_SECONDS = 5


@click.command()
@click.argument("clusters", nargs=-1, metavar="[CLUSTER]...")
@click.option("--watch", is_flag=True, help="Again every few seconds, until Ctrl-C.")
@command
def status(given: Given, clusters: tuple[str, ...], *, watch: bool) -> Exit:
    """How the clusters stand, the worst first; of one CLUSTER its whole story.

    The exit code is 0 only where nothing is open.
    """
    while True:
        seen = read(given.deployment, clusters)
        document = document_of(given.deployment, seen)
        if not watch:
            _refuse_strangers(seen, clusters)
        elif given.console.is_terminal:
            given.console.clear()
        _show(given, seen, document, watched=watch, story=len(set(clusters)) == 1 and not watch)
        if not watch:
            return Exit.OPEN if document.open else Exit.DONE
        given.tool.sleep(WATCH_SECONDS)


def document_of(deployment: Deployment, seen: Seen) -> StatusDocument:
    """How every cluster that was read stands."""
    standings = {name: stand(one, seen.reports, deployment.grace, seen.at) for name, one in seen.facts.items()}
    return StatusDocument(
        schema=STATUS_SCHEMA,
        stack=deployment.stack,
        at=seen.at,
        open=any(one.open for one in standings.values()),
        clusters=worst_first(standings.values()),
        incidents=incidents(seen.reports, seen.facts, standings, seen.at),
    )


def _refuse_strangers(seen: Seen, clusters: tuple[str, ...]) -> None:
    for name in clusters:
        one = seen.facts[name]
        reported = any(name in report.clusters for report in seen.reports)
        if not (one.registered or one.memory or one.records or one.running or reported):
            raise CommandFailed(f"No cluster is, or ever was, registered as {name}.", Exit.NOT_FOUND)


def _show(given: Given, seen: Seen, document: StatusDocument, *, watched: bool, story: bool) -> None:
    if given.as_json and watched:
        click.echo(json.dumps(encode(document)))
    elif given.as_json:
        given.say(document)
    elif story:
        (standing,) = document.clusters
        given.page.story(standing, seen.facts[standing.cluster], given.deployment.grace, seen.at)
        for incident in document.incidents:
            given.page.line(incident.line)
    else:
        given.page.status(document)

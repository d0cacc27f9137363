"""``python -m local fleet``: a whole fleet run by the real application, with a live table."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from local.application import summary_in_plain_words
from local.arguments import Impossible, above_zero, whole_number
from local.display import Display
from local.lifecycle import stoppable, undisturbed_end
from local.rotate import NothingPublished
from local.simulator import ClusterSpec, Fault, Phase
from local.stack import running_stack

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from local.deployment import Deployment
    from local.stack import Stack

HELP = "rotate whatever is due in a fleet of simulated clusters, and sum it up"
OLD, YOUNG = timedelta(days=100), timedelta(days=10)  # the schedule replaces keys of more than 90 days
DUE = 8  # of twenty
WAIT_SCALE = 0.05
SUMMARY_SECONDS = 30
ROWS = 24
LOOK_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--clusters", type=whole_number(1), default=20, metavar="N", help="how many clusters (default 20)")
    add("--due", type=whole_number(0), metavar="N", help=f"how many of them have a key that is too old (default {DUE})")
    add("--fail", type=whole_number(0), default=0, metavar="N", help="on how many of those the rekey fails (default 0)")
    add(
        "--concurrency", type=whole_number(1), default=4, metavar="N", help="how many are worked on at once (default 4)"
    )
    add("--rekey-seconds", type=above_zero, default=1.0, metavar="S", help="how long a rekey takes (default 1)")
    add("--json", action="store_true", help="print only the published summary, as JSON, on standard output")


def run(options: argparse.Namespace) -> int:
    """Run the command; 0 only if every due cluster was rotated and verified, and no other was touched."""
    due, fail = min(DUE, options.clusters) if options.due is None else options.due, options.fail
    if due > options.clusters:
        raise Impossible(f"--due {due} is more than --clusters {options.clusters}")
    if fail > due:
        raise Impossible(f"--fail {fail} is more than the {due} that are due")
    display = Display(Console(stderr=options.json, highlight=False))
    display.title(f"Element Rekey: a fleet of {counted(options.clusters, 'cluster')}, on this machine")
    request = {
        "trigger": "schedule",
        "reason": "make fleet",
        "maxConcurrency": options.concurrency,
        "toleratedFailures": fail,  # a schedule tolerates none; here the others are to have their chance
    }
    specs = specifications(options.clusters, due, fail, options.rekey_seconds)
    with stoppable(), running_stack(specs, WAIT_SCALE) as stack, undisturbed_end():
        display.step("all set up", f"{counted(options.clusters, 'cluster')}, {due} of them due, engine and template")
        summary, table = rotate_fleet(stack, display, request)
        unproven = [name for name in table.due if not table.is_proven(name)]
        touched = [name for name in table.before if name not in table.due and table.has_new_key(name)]
    if options.json:
        print(json.dumps(summary, indent=2))
    display.result(result_text(len(table.due), unproven, touched), good=not unproven and not touched)
    return 1 if unproven or touched else 0


def specifications(number_of: int, due: int, fail: int, rekey_seconds: float) -> list[ClusterSpec]:
    """Clusters of which the first ``due`` have old keys, and the first ``fail`` of those cannot rewrap theirs."""
    seed = secrets.token_hex()
    failing = (Fault(fault="phaseFailure", phase=Phase.REWRAP.value),)
    return [
        ClusterSpec(
            name=f"cluster-{number:04}",
            key_age=OLD if number <= due else YOUNG,
            rekey_seconds=rekey_seconds,
            faults=failing if number <= fail else (),
            seed=seed,
        )
        for number in range(1, number_of + 1)
    ]


def result_text(due: int, unproven: list[str], touched: list[str]) -> str:
    """How the run ended, as the clusters themselves show."""
    some = counted(due, "cluster")
    if touched:
        return f"rotated although nothing was due there: {', '.join(touched)}"
    if unproven:
        return f"{due - len(unproven)} of {some} due rotated and verified; not so: {', '.join(unproven)}"
    return f"{some} due, all rotated and verified; no other was touched"


def counted(number: int, one: str) -> str:
    """So many of something, in words."""
    return f"{number} {one}{'' if number == 1 else 's'}"


@dataclass
class FleetTable:
    """What is known of each cluster: its own state, and what was published about it."""

    stack: Stack
    before: Mapping[str, str]  # the current key of each cluster
    due: tuple[str, ...]
    outcomes: dict[str, str] = field(default_factory=dict)

    def add(self, document: Mapping[str, Any]) -> None:
        """Add a published document."""
        if "outcome" in document:
            self.outcomes[document["cluster"]] = document["outcome"]

    def has_new_key(self, name: str) -> bool:
        """Whether the cluster itself has another key than before."""
        return self.stack.simulator[name].cluster.current_key.key_id != self.before[name]

    def is_proven(self, name: str) -> bool:
        """Whether the cluster was rotated, by its own state and by what was published."""
        return self.has_new_key(name) and self.outcomes.get(name) == "Rotated"

    def render(self) -> Table:
        """The due clusters, and how many of the others are done with."""
        table = Table(box=None, padding=(0, 2))
        for title in ("cluster", "on the cluster", "published"):
            table.add_column(title)
        for name in self.due[:ROWS]:
            phase = self.stack.simulator[name].cluster.phase
            table.add_row(name, phase.value if phase else "", self.outcomes.get(name, ""))
        others = [name for name in self.before if name not in self.due]
        done = sum(name in self.outcomes for name in others)
        table.add_row(counted(len(others), "other"), "", f"{done} looked at")
        return table


def rotate_fleet(stack: Stack, display: Display, request: Mapping[str, Any]) -> tuple[dict[str, Any], FleetTable]:
    """Run RotateFleet, show how it goes, and quote its summary; returns the summary."""
    before = {cluster.name: cluster.cluster.current_key.key_id for cluster in stack.simulator}
    due = tuple(one.name for one in stack.simulator if one.cluster.spec.key_age == OLD)
    table = FleetTable(stack, before, due)
    display.heading(f"RotateFleet {json.dumps(request)}")
    execution = stack.deployment.start(request, "RotateFleet")
    begun = time.monotonic()
    summary = None
    with Live(console=display.console, get_renderable=table.render, refresh_per_second=5, transient=True):
        for document in published(stack.deployment, execution):
            table.add(document)
            if document.get("executionArn") == execution:
                summary = document
    if summary is None:
        raise NothingPublished(f"The fleet run ended, but no summary was published within {SUMMARY_SECONDS} seconds.")
    display.console.print(table.render())
    display.heading(f"Published, after {time.monotonic() - begun:.1f} s")
    display.quote(summary_in_plain_words(summary))
    return summary, table


def published(deployment: Deployment, execution: str) -> Iterator[dict[str, Any]]:
    """Everything published, until the run has ended and its summary was published."""
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        if deadline is None and deployment.status(execution) != "RUNNING":
            deadline = time.monotonic() + SUMMARY_SECONDS
        documents = list(deployment.receive())
        yield from documents
        if any(document.get("executionArn") == execution for document in documents):
            return

"""``python -m local rotate``: one rotation by the real application, from nothing to the published notification."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from element_rekey_cli.execution_history import ExecutionHistory
from local.application import in_plain_words
from local.arguments import Impossible, above_zero
from local.cost import cost_of
from local.display import Display, describe
from local.lifecycle import stoppable, undisturbed_end
from local.simulator import ClusterSpec, Fault, Phase
from local.stack import running_stack
from local.triggers import ALARM_PREFIX, raise_alarm, schedule_parameters, started_execution

if TYPE_CHECKING:
    import argparse

    from local.deployment import Deployment
    from local.stack import Stack

HELP = "rotate the key of one simulated cluster, and show what happens"
CLUSTER = "prod-a"
PROVIDER = 15  # the simulated cluster's external key provider
FAILING_PHASES = tuple(phase.value for phase in Phase if phase is not Phase.READY)
TRIGGERS = ("hand", "alarm", "schedule")
LOOK_SECONDS = 0.1
POLLS_WANTED = 6  # roughly, whatever the rekey's duration
SHORTEST_WAIT = 5.0  # between two polls, in AWS
NOTIFICATION_SECONDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--dry-run", action="store_true", help="stop after planning and say what would be done")
    add("--external", action="store_true", help=f"move the key to the external key provider {PROVIDER}")
    add("--rekey-seconds", type=above_zero, default=4.0, metavar="N", help="how long the rekey takes (default 4)")
    add("--fail", choices=FAILING_PHASES, metavar="PHASE", help=f"let a phase fail: {', '.join(FAILING_PHASES)}")
    add("--trigger", choices=TRIGGERS, default="hand", help="what starts it: a person's hand (default), or for real")
    add("--reason", default="make rotate", metavar="TEXT", help="why; it is published with the outcome")
    add("--json", action="store_true", help="print only the published notification, as JSON, on standard output")


def run(options: argparse.Namespace) -> int:
    """Run the command; 0 only for a verified rotation, or a dry run that would rotate."""
    if options.trigger != "hand" and (options.dry_run or options.external):
        raise Impossible(f"--dry-run and --external are said by hand, not by --trigger {options.trigger}")
    if options.dry_run and options.fail:
        raise Impossible("--fail is about a rekey, and --dry-run sends none")
    display = Display(Console(stderr=options.json, highlight=False))
    faults = (Fault(fault="phaseFailure", phase=options.fail),) if options.fail else ()
    spec = ClusterSpec(name=CLUSTER, rekey_seconds=options.rekey_seconds, faults=faults, seed=time.time_ns())
    scale = min(1.0, options.rekey_seconds / POLLS_WANTED / SHORTEST_WAIT)
    parameters = schedule_parameters() if options.trigger == "schedule" else {}
    display.title("Element Rekey: one rotation, on this machine")
    with stoppable(), running_stack([spec], scale, display.step, parameters=parameters) as stack, undisturbed_end():
        document = rotate(stack, display, options)
    if options.json:
        print(json.dumps(document, indent=2))
    return 0 if document["outcome"] == ("Planned" if options.dry_run else "Rotated") else 1


def request_of(options: argparse.Namespace) -> dict[str, Any]:
    """The input of the execution."""
    request: dict[str, Any] = {"cluster": CLUSTER, "reason": options.reason}
    if options.dry_run:
        request["dryRun"] = True
    if options.external:
        request |= {"keyManagementType": "External", "keyProviderID": PROVIDER}
    return request


def start(deployment: Deployment, display: Display, options: argparse.Namespace) -> str:
    """Start the execution, or have it started; returns its ARN."""
    if options.trigger == "hand":
        request = request_of(options)
        display.heading(f"RotateMasterKey {json.dumps(request)}")
        return deployment.start(request)
    if options.trigger == "alarm":
        display.heading(f"Alarm {ALARM_PREFIX}{CLUSTER} changes from OK to ALARM; its rule starts RotateFleet")
        raise_alarm(deployment, CLUSTER)
    else:
        display.heading("The schedule comes due and starts RotateFleet")
    return started_execution(deployment)


def rotate(stack: Stack, display: Display, options: argparse.Namespace) -> dict[str, Any]:
    """Start the execution, follow it, and sum it up; returns the published document."""
    deployment, cluster = stack.deployment, stack.simulator[CLUSTER]
    before = cluster.cluster.current_key
    history = ExecutionHistory()
    execution = start(deployment, display, options)
    with display.watching(cluster, history):
        follow(deployment, execution, history, display)
    document = receive_notification(deployment, execution)
    display.heading("Published")
    display.quote(in_plain_words(document))
    after = cluster.cluster.current_key
    display.heading("On the cluster itself")
    display.fact("Key before", describe(before))
    display.fact("Key after", "the same" if after == before else describe(after))
    display.heading("On AWS")
    display.fact("Cost", str(cost_of(deployment, history.transitions)))
    display.fact("", "requests to DynamoDB, Secrets Manager, KMS and SNS add less than that again")
    display.fact(
        "Polls", f"{document['polls']}, never less than {SHORTEST_WAIT:g} s apart; here the waits are shortened"
    )
    display.result(f"{document['outcome']}: {document['headline']}", good=bool(document["succeeded"]))
    return document


def follow(deployment: Deployment, execution: str, history: ExecutionHistory, display: Display) -> None:
    """Show the execution's history as it grows, to its end."""
    running = True
    while running:
        # Asked before the history is read, so that the last reading is complete.
        running = deployment.status(execution) == "RUNNING"
        for event in history.read(deployment.history(execution)):
            display.event(event)
        if running:
            time.sleep(LOOK_SECONDS)


def receive_notification(deployment: Deployment, execution: str) -> dict[str, Any]:
    """The outcome published for this execution; an urgent one is published as under way before."""
    deadline = time.monotonic() + NOTIFICATION_SECONDS
    while time.monotonic() < deadline:
        for document in deployment.receive():
            if execution in document.values() and "outcome" in document:
                return document
    raise NothingPublished(f"The execution ended, but nothing was published within {NOTIFICATION_SECONDS} seconds.")


class NothingPublished(Exception):
    """The notification did not come; one sentence."""

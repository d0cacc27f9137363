"""``python -m local up``: everything running, to be driven with boto3, the AWS CLI, or anything else.

On standard output there is one line, JSON, for programs. What is on standard error is for a person: how to drive it,
and then a line for each outcome as it is published.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from local.arguments import share
from local.deployment import subscribe_queue
from local.drills import DRILLS
from local.engine import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from local.lifecycle import Stopped, stoppable, undisturbed_end
from local.simulator import __main__ as simulator
from local.stack import running_stack
from local.whereabouts import exports, findable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from local.stack import Stack

HELP = "keep the application and simulated clusters running until Ctrl-C, and tell what comes of what you start"
NAMED = 10  # clusters in one line of the banner
BANNER = """
Element Rekey runs here until Ctrl-C, as the stack {stack}, with {clusters}.

In another shell, for the AWS CLI, with the names that docs/runbook.md uses:

  eval "$(make -s env)"

For anything else that talks to AWS, boto3 for one, this is enough:

  {exports}

{example}
Outcomes, as they come:
"""


EXAMPLE = """For example:

  aws stepfunctions start-execution --state-machine-arn "$ROTATE" --input file://events/rotate.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The simulator's options, and how much Step Functions waits are shortened."""
    simulator.add_arguments(parser)
    parser.add_argument(
        "--wait-scale",
        type=share,
        default=0.1,
        metavar="X",
        help="multiplies every wait and retry pause of Step Functions (default 0.1; with 1 all is as on AWS)",
    )
    parser.add_argument("--drill", choices=DRILLS, help="set the first cluster up for an entry of docs/runbook.md")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes; that is the way to end it, so it is no failure."""
    drill = DRILLS.get(options.drill)
    first, *others = simulator.specifications(options)
    specs = [drill.prepared(first) if drill else first, *others]
    parameters = drill.parameters if drill else {}
    try:
        with stoppable(), running_stack(specs, options.wait_scale, parameters=parameters) as stack:
            whereabouts = description(stack)
            with findable(whereabouts), undisturbed_end():
                outcomes = subscribe_queue(stack.deployment.aws, stack.deployment.topic_arn, "outcomes")
                print(json.dumps(whereabouts), flush=True)
                say(banner(whereabouts, options.drill))
                tell(stack, outcomes)
    except Stopped:
        pass
    return 0


def description(stack: Stack) -> dict[str, Any]:
    """Where everything is."""
    deployment = stack.deployment
    return {
        "endpointUrl": stack.engine.endpoint_url,
        "region": REGION,
        "accessKeyId": ACCESS_KEY_ID,
        "secretAccessKey": SECRET_ACCESS_KEY,
        "stackName": deployment.stack_name,
        "stateMachineArns": deployment.state_machine_arns,
        "topicArn": deployment.topic_arn,
        "queueUrl": deployment.queue_url,
        "deadLettersUrl": deployment.outputs["DeadLettersUrl"],
        "tableName": deployment.table_name,
        "secretPrefix": deployment.secret_prefix,
        "clusters": [simulator.description(cluster) for cluster in stack.simulator],
    }


def banner(whereabouts: Mapping[str, Any], drill: str | None = None) -> str:
    """How to drive it, and what is prepared."""
    names = [cluster["name"] for cluster in whereabouts["clusters"]]
    some = f"the clusters {', '.join(names)}" if 1 < len(names) <= NAMED else f"{len(names)} clusters"
    clusters = f"the cluster {names[0]}" if len(names) == 1 else some
    example = DRILLS[drill].told(drill, whereabouts["clusters"][0]) if drill else EXAMPLE
    return BANNER.format(
        stack=whereabouts["stackName"], clusters=clusters, exports=exports(whereabouts), example=example
    )


def tell(stack: Stack, queue_url: str) -> None:
    """A line for each document published, for ever. Raises EngineFailed when the engine ends."""
    while True:
        stack.engine.wait(0)
        for document in stack.deployment.receive(queue_url=queue_url):
            say(f"  {datetime.now().astimezone():%H:%M:%S}  {in_a_line(document)}")


def in_a_line(document: Mapping[str, Any]) -> str:
    """What an outcome, a notice or a summary says first."""
    who = document.get("cluster", "fleet")
    what = document.get("outcome") or document.get("kind")
    error = document.get("error")
    return f"{who}  {f'{what}: ' if what else ''}{document['headline']}{f' ({error})' if error else ''}"


def say(text: str) -> None:
    """To the person."""
    print(text, file=sys.stderr, flush=True)

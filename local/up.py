"""``python -m local up``: everything running, to be driven with boto3, the AWS CLI, or anything else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.arguments import share
from local.engine import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from local.lifecycle import Stopped, stoppable, undisturbed_end
from local.simulator import __main__ as simulator
from local.stack import running_stack

if TYPE_CHECKING:
    import argparse

    from local.stack import Stack

HELP = "keep the application and simulated clusters running until Ctrl-C; the first line of output says where"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The simulator's options, and how much Step Functions waits are shortened."""
    simulator.add_arguments(parser)
    parser.add_argument(
        "--wait-scale",
        type=share,
        default=0.1,
        metavar="X",
        help="multiplies every wait and retry pause of Step Functions (default 0.1; 1 is as in AWS)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes; that is the way to end it, so it is no failure."""
    try:
        with (
            stoppable(),
            running_stack(simulator.specifications(options), options.wait_scale) as stack,
            undisturbed_end(),
        ):
            print(json.dumps(description(stack)), flush=True)
            stack.engine.wait()
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
        "tableName": deployment.table_name,
        "secretPrefix": deployment.secret_prefix,
        "clusters": [simulator.description(cluster) for cluster in stack.simulator],
    }

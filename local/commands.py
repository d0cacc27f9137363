"""The commands of ``python -m local``, and how each may fail."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from local import fleet, rotate, up, whereabouts
from local.arguments import Impossible
from local.deployment import DeploymentFailed
from local.engine import EngineFailed
from local.lifecycle import Stopped
from local.simulator import SimulatorError
from local.simulator import __main__ as simulator
from local.triggers import NothingStarted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


class Command(NamedTuple):
    """What a command is called with, and what it does."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS = {
    "rotate": Command(rotate.HELP, rotate.add_arguments, rotate.run),
    "fleet": Command(fleet.HELP, fleet.add_arguments, fleet.run),
    "up": Command(up.HELP, up.add_arguments, up.run),
    "env": Command(whereabouts.HELP, whereabouts.add_arguments, whereabouts.run),
    "simulator": Command("simulated Element clusters, and nothing else", simulator.add_arguments, simulator.serve),
}


def run(options: argparse.Namespace) -> int:
    """Run the chosen command; the exit status."""
    try:
        return COMMANDS[options.command].run(options)
    except Impossible as error:
        print(f"local: {error}", file=sys.stderr)
        return 2
    except (
        SimulatorError,
        EngineFailed,
        DeploymentFailed,
        NothingStarted,
        rotate.NothingPublished,
        whereabouts.CannotTell,
        whereabouts.NotFound,
    ) as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        return stopped.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush complains
        return 1

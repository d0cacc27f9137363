"""``python -m local``: the whole application on one machine. One module for each command."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from local import commands

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. Failures that a person can do something about are one sentence."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Element Rekey on one machine.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in commands.COMMANDS.items():
        command.add_arguments(subparsers.add_parser(name, help=command.help, description=command.help))
    options = parser.parse_args(argv)
    return commands.run(options)


if __name__ == "__main__":
    sys.exit(main())

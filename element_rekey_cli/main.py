"""``element-rekey``: the commands, in one place."""

from __future__ import annotations

import click

from . import __version__
from .commands.again import again
from .commands.compromised import compromised
from .commands.doctor import doctor
from .commands.explain import explain
from .commands.history import history
from .commands.register import register, unregister
from .commands.report import report
from .commands.rotate import rotate
from .commands.show import show
from .commands.status import status
from .exits import Exit

EXIT_CODES = "\n".join(["\b", "Exit codes:", *(f"  {code.value:>3}  {code.meaning}" for code in Exit)])


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="element-rekey")
def cli() -> None:
    """Operate Element Rekey: see how every cluster stands, rotate, and read what was done.

    The deployment is found by its stack in the usual AWS environment (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …).
    """


for one in (status, rotate, again, compromised, history, show, report, doctor, register, unregister, explain):
    cli.add_command(one)


def main() -> None:
    """The entry point."""
    cli(prog_name="element-rekey")

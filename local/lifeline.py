"""What is on the disk for as long as a process lives goes away with it, however it ends: SIGKILL included."""

from __future__ import annotations

import subprocess


class Lifeline:
    """A shell that waits for the end of this process, or for ``close``, and then runs a few commands.

    It holds the reading end of a pipe, which the system closes for a process that cannot do so any more. It is in a
    session of its own, so that what a terminal sends to the whole group, such as Ctrl-C, does not reach it.
    """

    def __init__(self, commands: str, *arguments: str) -> None:
        """Start it; ``commands`` find the arguments as ``$1``, ``$2`` and so on."""
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _; {commands}", "lifeline", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def close(self) -> None:
        """Have the commands run now, and wait for them."""
        # A line, and not the end of the pipe alone: a process forked from this one may hold it, too.
        self._shell.communicate(b"\n")

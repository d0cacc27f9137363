"""A command of ours as a process, and what of it is left when it has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]
SECONDS = 60


def table() -> list[tuple[int, int, int, str, str]]:
    """Every process: its id, its parent's, its group's, whether it is a zombie, and its program."""
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,pgid=,stat=,comm="],  # noqa: S607 - every Unix has one
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = (line.split(maxsplit=4) for line in listing.splitlines())
    return [(int(pid), int(parent), int(group), state, program) for pid, parent, group, state, program in rows]


def eventually_gone(group: int) -> bool:
    """Whether no process of a group is alive; what was killed a moment ago may take a moment."""
    deadline = time.monotonic() + 5
    while any(one == group and not state.startswith("Z") for _, _, one, state, _ in table()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Command:
    """``python -m local …`` in a process group and a temporary folder of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "local", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def read_until(self, word: str) -> str:
        """Standard output up to the line that has the word."""
        return self._read_until(word, self.process.stdout)

    def read_errors_until(self, word: str) -> str:
        """Standard error up to the line that has the word."""
        return self._read_until(word, self.process.stderr)

    def _read_until(self, word: str, lines: IO[str] | None) -> str:
        assert lines is not None
        patience = threading.Timer(SECONDS, self.process.kill)  # which ends the lines
        patience.start()
        seen = ""
        try:
            for line in lines:
                seen += line
                if word in line:
                    return seen
        finally:
            patience.cancel()
        raise AssertionError(f"{word!r} never came: {seen}")

    def first_line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def engine(self) -> int:
        """The engine's process, which leads its own group."""
        leaders = [row for row in table() if row[1] == self.process.pid and row[0] == row[2]]
        (engine,) = [pid for pid, _, _, _, program in leaders if "python" in program.lower()]  # others are lifelines
        return engine

    def end(self) -> tuple[int, str, str]:
        """Wait for it: its exit status and what it wrote."""
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def eventually_left_behind(self) -> list[str]:
        """The same after a moment: what a killed process leaves to others to remove, they remove when they notice."""
        deadline = time.monotonic() + 5
        while self.left_behind() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.left_behind()

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

"""How a command ends: by itself, by a signal, or by a failure reported in one sentence. It always cleans up first."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked us to end. Like KeyboardInterrupt, nothing but the command itself should catch it."""

    def __init__(self, number: int) -> None:
        """Keep the signal's ``number``."""
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell expects of a process ended by this signal."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal into Stopped; further ones are ignored, for we are ending already."""

    def stop(number: int, _frame: FrameType | None) -> None:
        _ignore()
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed_end() -> Iterator[None]:
    """From the end of this block to the end of the ``stoppable`` around it, no signal disturbs the cleaning up."""
    try:
        yield
    finally:
        _ignore()


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)

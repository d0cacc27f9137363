"""Time that passes only while everybody waits, so that hours of waiting take no time and every run is the same.

Each participant runs on a thread of its own, but never two at once: the one that sleeps hands over to the one that is
due next. Nothing in here looks at the machine's clock, except to notice that a participant hangs.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BEGIN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
HANG_SECONDS = 30.0


class ParticipantHung(BaseException):
    """A participant neither slept nor ended; nothing but a defect does this."""


class VirtualClock:
    """The clock shared by interpreter, functions and clusters. Calling it gives the time."""

    def __init__(self, begin: datetime = BEGIN) -> None:
        self._now = begin
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._handed_back = threading.Event()
        self._running = False

    def __call__(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Let time pass for somebody who waits for nobody."""
        self._now += timedelta(seconds=seconds)
        return self._now

    def at(self, moment: datetime, action: Callable[[], None]) -> None:
        """Have something done at a moment, by whoever runs ``run``."""
        heapq.heappush(self._due, (max(moment, self._now), next(self._order), action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done so many seconds from now."""
        self.at(self._now + timedelta(seconds=seconds), action)

    def sleep(self, seconds: float) -> None:
        """Called by a participant: come back when it is time. Outside ``run`` time just passes."""
        if not self._running:
            self.advance(seconds)
            return
        awake = threading.Event()
        self.after(seconds, lambda: self._hand_over(awake.set))
        self._handed_back.set()
        awake.wait()

    def begin(self, work: Callable[[], None]) -> None:
        """Take part from now on, on a new thread, until ``work`` is done."""

        def body() -> None:
            try:
                work()
            finally:
                self._handed_back.set()

        self.after(0, lambda: self._hand_over(threading.Thread(target=body, daemon=True).start))

    def fork(self, work: Callable[[], None], on_fork: Callable[[Fork], None]) -> Fork:
        """Called by a participant: do ``work`` on another thread, and wait until it ends or lags behind."""
        fork = Fork(self, work)
        on_fork(fork)
        fork.start()
        return fork

    def run(self) -> None:
        """Let everybody take part until nobody waits any more."""
        self._running = True
        try:
            while self._due:
                moment, _, action = heapq.heappop(self._due)
                self._now = max(self._now, moment)
                action()
        finally:
            self._running = False

    def resume(self, resume: Callable[[], None], seconds: float) -> None:
        """Have a thread that lags behind take part again after so many seconds."""
        self.after(seconds, lambda: self._hand_over(resume))

    def hand_back(self) -> None:
        """A participant is done for now."""
        self._handed_back.set()

    def _hand_over(self, resume: Callable[[], None]) -> None:
        self._handed_back.clear()
        resume()
        if not self._handed_back.wait(HANG_SECONDS):
            raise ParticipantHung


class Fork:
    """Work that its caller waits for, until the work lags behind: from then on it is a participant of its own."""

    def __init__(self, clock: VirtualClock, work: Callable[[], None]) -> None:
        self._clock = clock
        self._work = work
        self._released = threading.Event()
        self.lagging = False

    def start(self) -> None:
        """Run until the work ends or lags."""
        threading.Thread(target=self._body, daemon=True).start()
        self._released.wait()

    def lag(self, seconds: float) -> None:
        """Called by the work: the caller goes on at once, the work after so many seconds."""
        self.lagging = True
        awake = threading.Event()
        self._clock.resume(awake.set, seconds)
        self._released.set()
        awake.wait()

    def _body(self) -> None:
        try:
            self._work()
        finally:
            self._released.set()
            if self.lagging:
                self._clock.hand_back()

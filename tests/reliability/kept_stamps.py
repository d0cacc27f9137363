"""A simulated cluster whose clock can be set while the times it wrote down before stay as they are.

The simulator itself shows every time by the clock as it is now, so that a wrong clock is always wrong by the same
amount. Here each time keeps the error the clock had at that moment: of a key made before the clock was set right, the
client corrects a wrong time by a right clock.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from local.simulator import SimulatedCluster
from local.simulator.state import ClusterState

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from local.simulator import ClusterSpec, MasterKey


class SetClockState(ClusterState):
    """The state of a cluster with a history of its clock."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.moments: list[datetime] = []
        self.skews = [spec.clock_skew]
        super().__init__(spec)

    def set_clock(self, skew: timedelta) -> None:
        """Be so far ahead from now on."""
        self.moments.append(self.now())
        self.skews.append(skew)
        self.clock_skew = skew

    def skew_at(self, moment: datetime) -> timedelta:
        """How far the clock was ahead at a moment."""
        return self.skews[bisect_right(self.moments, moment)]

    def timestamp(self, moment: datetime) -> str:
        """A moment as it was written down when it came."""
        return f"{moment + self.skew_at(moment):%Y-%m-%dT%H:%M:%SZ}"


class ClusterThatKeepsStamps(SimulatedCluster):
    """See the module."""

    def __init__(self, spec: ClusterSpec) -> None:
        super().__init__(spec)
        self._kept = SetClockState(spec)
        self._state = self._kept
        self.first_key = self.current_key

    def set_clock(self, skew: timedelta) -> None:
        """Set its clock so far ahead of the truth; what it wrote down before stays."""
        self._kept.set_clock(skew)

    def key(self, key_id: str) -> MasterKey:
        """A key it has or had, with the true time of its making."""
        made = (rekey.new for rekey in self.rekeys if rekey.new.key_id == key_id)
        return self.first_key if key_id == self.first_key.key_id else next(made)

    def stamps_are_right(self, key_id: str) -> bool:
        """Whether what it says of the making of a key, corrected by its clock of now, is the truth."""
        made = self.key(key_id).created
        moments = [made, *(rekey.begun for rekey in self.rekeys if rekey.new.key_id == key_id)]
        return all(self._kept.skew_at(moment) == self._kept.clock_skew for moment in moments)

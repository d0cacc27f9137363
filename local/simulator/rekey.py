"""One rekey of the software encryption-at-rest master key, as a pure function of time.

A rekey is never advanced by a thread: everything about it follows from when it began, how long it takes, where it
fails, and what time it is now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from local.simulator.assumptions import KeyFlips, ManagementCase


class Phase(StrEnum):
    """The phases of a rekey, in order; the names are those of the vendor's SDKs (SearRekeyMasterKeyState)."""

    CREATE = "CreateNewMasterKey"
    REWRAP = "RewrapDataEncryptionKeys"
    DECOMMISSION = "DecommissionOldMasterKey"
    READY = "Ready"


class Management(StrEnum):
    """Who keeps the master key. Requests may use any case, answers are lower case."""

    INTERNAL = "internal"
    EXTERNAL = "external"

    def spelt(self, case: ManagementCase) -> str:
        """The word in the letter case assumed."""
        return {"lower": self.value, "capitalized": self.value.capitalize(), "upper": self.value.upper()}[case]


PHASE_ENDS = {Phase.CREATE: 0.25, Phase.REWRAP: 0.75, Phase.DECOMMISSION: 1.0}
"""The share of a rekey's duration at which each phase ends."""

_FLIP_AT: dict[KeyFlips, float] = {
    "afterCreate": PHASE_ENDS[Phase.CREATE],
    "afterRewrap": PHASE_ENDS[Phase.REWRAP],
    "atCompletion": PHASE_ENDS[Phase.DECOMMISSION],
}


@dataclass(frozen=True)
class MasterKey:
    """One master key. `created` is true time; the cluster shows it with the error of its own clock."""

    key_id: str
    created: datetime
    management: Management
    provider_id: int | None = None

    def reference(self) -> dict[str, object]:
        """The key as it stands in a rekey's result: keyProviderID only for an external one."""
        document: dict[str, object] = {"keyID": self.key_id, "keyManagementType": self.management.value}
        if self.provider_id is not None:
            document["keyProviderID"] = self.provider_id
        return document

    def keeper(self) -> str:
        """The key's management in the words of the result's "operation" text."""
        if self.provider_id is None:
            return "Internal Key Management"
        return f"External Key Management with keyProviderID={self.provider_id}"


@dataclass(frozen=True)
class Rekey:
    """A rekey that a cluster accepted: the record of it, and everything it shows at a given time.

    `begun` is true time, `seconds` the duration of a rekey that succeeds. `own` marks a rekey asked for through the
    API from a competing one. A failing rekey ends at the end of the phase it fails in.
    """

    handle: int
    begun: datetime
    seconds: float
    by: str
    own: bool
    params: Mapping[str, object]
    old: MasterKey
    new: MasterKey
    cluster_uuid: str
    fails_in: Phase | None = None
    error_name: str = ""
    error_message: str = ""

    @property
    def ends(self) -> datetime:
        """The true time at which the rekey is complete, well or badly."""
        share = 1.0 if self.fails_in is None else PHASE_ENDS[self.fails_in]
        return self.begun + timedelta(seconds=self.seconds * share)

    @property
    def key_made(self) -> datetime:
        """The true time at which the new key is made: the end of the first phase."""
        return self._moment(PHASE_ENDS[Phase.CREATE])

    def finished(self, now: datetime) -> bool:
        """Whether the rekey is complete at this time."""
        return now >= self.ends

    def phase(self, now: datetime) -> Phase:
        """The phase at this time: Ready after success, the failing phase for ever after a failure."""
        if self.finished(now):
            return self.fails_in or Phase.READY
        return next(phase for phase, end in PHASE_ENDS.items() if now < self._moment(end))

    def current(self, now: datetime, flips: KeyFlips) -> MasterKey:
        """The key in use at this time.

        A failure before the rewrap is done leaves the old key in use; once everything is wrapped with the new key,
        the new key is the current one even though the rekey goes on to report an error.
        """
        if self.finished(now):
            return self.old if self.fails_in in {Phase.CREATE, Phase.REWRAP} else self.new
        return self.new if now >= self._moment(_FLIP_AT[flips]) else self.old

    def held(self, now: datetime) -> frozenset[MasterKey]:
        """The keys that exist at this time, of the two this rekey deals with: the new one lives before the old dies."""
        if now < self._moment(PHASE_ENDS[Phase.CREATE]) or self.fails_in is Phase.CREATE:
            return frozenset({self.old})
        if self.finished(now) and self.fails_in is None:
            return frozenset({self.new})
        return frozenset({self.old, self.new})

    def operation(self, same_type: str) -> str:
        """The "operation" text of the result; `same_type` is the assumed one for an unchanged management."""
        if (self.old.management, self.old.provider_id) == (self.new.management, self.new.provider_id):
            return same_type.format(new=self.new.keeper())
        return (
            f"Rekeying Master Key. Master Key management being transferred from {self.old.keeper()} to "
            f"{self.new.keeper()}"
        )

    def _moment(self, share: float) -> datetime:
        return self.begun + timedelta(seconds=self.seconds * share)

"""What the rules look at, and what they answer. Data only: ``rotation`` carries the answers out.

::

    Wait             not our turn, or not yet the moment asked for: start again later
    Start            send a rekey
    Follow           a rekey is running, or its answer is still to be understood: check again later
    StartAgain       what was followed is over, the demand is still open: look again at once
    Conclude         the outcome is known
    Refuse           nothing was changed, and the error says what to mend
    Fail             a rekey was sent, and the error says what is wrong with it; it is written down
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from element_rekey.cluster import ClusterVersion

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.cluster import (
        ClusterFault,
        ClusterIdentity,
        ElementError,
        EncryptionState,
        KeyManagementType,
        KeyProvider,
        MasterKey,
        RekeyJob,
    )
    from element_rekey.errors import ElementRekeyError, RekeyEndedWithError, RotationOverdue
    from element_rekey.outcomes import Outcome
    from element_rekey.records import ClusterMemory, Failure, Following, KeyChange


# --- what is looked at ---


@dataclass(frozen=True, slots=True)
class ProviderCheck:
    """What is known of the provider a rekey would use; ``provider`` is None when the cluster has no such one."""

    key_provider_id: int
    provider: KeyProvider | None = None
    test_error: ElementError | None = None  # what TestKeyProviderKmip answered, None when it passed


@dataclass(frozen=True, slots=True)
class Observation:
    """What the cluster says at one moment, and what was remembered of it before."""

    at: datetime
    identity: ClusterIdentity
    memory: ClusterMemory | None  # None: never seen before
    encryption: EncryptionState
    job: RekeyJob | None = None  # the one that is followed, or else is listed; None: none, or not readable
    version: ClusterVersion = field(default_factory=ClusterVersion)
    faults: tuple[ClusterFault, ...] = ()
    provider: ProviderCheck | None = None  # only where the rekey would be external
    registered_as: str = ""  # the other registration that the cluster belongs to; empty: there is none
    key_read_at: datetime | None = None  # just after the key was read; None: at once

    @property
    def key_exists_at(self) -> datetime:
        """A moment at which the key certainly existed."""
        return self.key_read_at or self.at


# --- what a step carries out ---


@dataclass(frozen=True, slots=True)
class Wait:
    """Start again after so many seconds; ``cooling_until`` where that is for the end of a cool-down."""

    seconds: int
    detail: str
    cooling_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Send a rekey, to replace ``baseline_key``. ``warnings`` are faults seen and not blocking."""

    baseline_key: MasterKey
    key_management_type: KeyManagementType | None
    key_provider_id: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Follow:
    """A rekey is running, or has left its traces: see it to its end.

    Without ``detail`` the record keeps the one it has. ``overdue`` is the error of a deadline that passed meanwhile;
    the record is written all the same.
    """

    following: Following
    detail: str = ""
    overdue: RotationOverdue | None = None


@dataclass(frozen=True, slots=True)
class StartAgain:
    """What was followed is over, and whether the demand is met is still open: look again.

    ``change`` is what is known to have been changed so far. ``disregarded_handle`` is not followed again: that rekey is
    over, or the cluster never shows it.
    """

    detail: str
    change: KeyChange | None = None
    disregarded_handle: int | None = None


@dataclass(frozen=True, slots=True)
class Conclude:
    """The outcome is known. ``reported_error_of`` is the rekey whose error is published with it."""

    outcome: Outcome
    detail: str
    change: KeyChange | None = None
    failure: Failure | None = None
    reported_error_of: int | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing was changed; the error says what to mend, or that the same look is to be repeated."""

    error: ElementRekeyError


@dataclass(frozen=True, slots=True)
class Fail:
    """A rekey was sent, and something is wrong with it. Whoever closes the rotation must know, hence written down."""

    error: ElementRekeyError


Decision: TypeAlias = Wait | Start | Follow | StartAgain | Conclude | Refuse | Fail


# --- what rules answer to each other ---


@dataclass(frozen=True, slots=True)
class Satisfied:
    """The current key meets the demand."""

    made: datetime


@dataclass(frozen=True, slots=True)
class SatisfiedWithError:
    """The current key meets the demand, but the rekey that made it ended with an error not published yet."""

    error: RekeyEndedWithError


@dataclass(frozen=True, slots=True)
class CoolingDown:
    """The key is too new to be replaced again without force."""

    until: datetime


@dataclass(frozen=True, slots=True)
class AnswerStillUnknown:
    """A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."""


@dataclass(frozen=True, slots=True)
class StillRunning:
    """The job is not done; ``shown`` is False where the cluster does not (or not yet) know its handle."""

    shown: bool = True


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """The job is done and the key has changed as it says."""

    change: KeyChange


@dataclass(frozen=True, slots=True)
class Superseded:
    """What was followed is over and says nothing of the current key. ``change`` is what it did all the same."""

    why: str
    change: KeyChange | None = None

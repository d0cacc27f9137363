"""What is asked of the master key. Every trigger asks for a key made after some moment, and nothing else.

So a retry, a redrive or a second trigger finds the demand met or the job running, and never rotates twice for one
reason (docs/adr/0001).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from element_rekey.cluster import KeyManagementType
from element_rekey.errors import RequestInvalid

if TYPE_CHECKING:
    from element_rekey.cluster import MasterKey
    from element_rekey.records import Request

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clock of whoever asks may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a trigger asks of the master key of ``cluster``. ``made_after`` is on our clock."""

    cluster: str
    made_after: datetime
    key_management_type: KeyManagementType | None
    key_provider_id: int | None
    needs_age: bool  # whether an unknown age may not simply count as too old
    cool_down: timedelta
    urgent: bool
    ignore_faults: frozenset[str]
    accept_cluster_uuid: str

    def of_kind(self, key: MasterKey) -> bool | None:
        """Whether the key is managed as asked; None where the cluster does not say how it is managed."""
        if self.key_management_type is None:
            return True
        if key.key_management_type is None:
            return None
        if key.key_management_type is not self.key_management_type:
            return False
        if key.key_management_type is KeyManagementType.EXTERNAL and key.key_provider_id is None:
            return None
        return key.key_provider_id == self.key_provider_id


def demand_of(request: Request, started_at: datetime) -> Demand:
    """The demand a request states, for an execution that began at ``started_at``.

    A moment a little ahead of our clock is one of another clock, and is waited for (``waiting.until_moment``). Raises
    RequestInvalid for one further in the future. To a person and to an alarm an unknown age is too old: they have a
    reason to replace this very key, and the age of the next one is known.
    """
    if request.key_created_after and request.key_created_after > started_at + CLOCK_TOLERANCE:
        raise RequestInvalid("keyCreatedAfter: expected a time that is not in the future.", cluster=request.cluster)
    return Demand(
        cluster=request.cluster,
        made_after=request.key_created_after or started_at,
        key_management_type=request.key_management_type,
        key_provider_id=request.key_provider_id,
        needs_age=request.trigger.by_age and request.key_created_after is not None and not request.force,
        cool_down=timedelta() if request.force else timedelta(seconds=request.cool_down_seconds),
        urgent=request.trigger.urgent,
        ignore_faults=frozenset(request.ignore_faults),
        accept_cluster_uuid=request.accept_cluster_uuid,
    )

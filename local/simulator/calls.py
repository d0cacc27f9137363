"""One call to a cluster, what became of it, and the line the cluster's log keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from local.simulator.faults import Fault


@dataclass(frozen=True)
class Call:
    """One call as it reached the cluster, whoever sent it. `params` may be anything JSON can hold."""

    method: str
    params: object
    version: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Exchange:
    """What became of a call.

    `refused` is 401 or 404 where no method ran for want of an account or an endpoint. `outcome` is the answer without
    its id: `result` or `error`, and `unusedParameters`; None where the call was not carried out. `fault` is the
    fault that takes the answer on its way.
    """

    outcome: Mapping[str, object] | None = None
    refused: int | None = None
    fault: Fault | None = None

    def in_a_word(self) -> str:
        """The outcome for the log: an HTTP status, the name of an error, "result", or "not carried out"."""
        if self.refused is not None:
            return str(self.refused)
        if self.outcome is None:
            return "not carried out"
        error = self.outcome.get("error")
        return str(error["name"]) if isinstance(error, dict) else "result"


@dataclass(frozen=True)
class RequestRecord:
    """A line of the cluster's log: true time, the call, the fault that took the answer, a word on the outcome."""

    when: datetime
    method: str
    params: object
    version: str
    username: str
    fault: str | None
    outcome: str

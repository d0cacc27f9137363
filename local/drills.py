"""Drills: clusters set up so that a rotation ends as an entry of docs/runbook.md says, to follow that entry once."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from local.simulator import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.simulator import ClusterSpec


@dataclass(frozen=True)
class Drill:
    """What is set up, and what comes of the rotation that is started then."""

    entry: str
    """Of the runbook."""

    story: str
    """What goes wrong, in one sentence about ``{name}``."""

    outcome: str
    """What the rotation ends as."""

    over: str
    """When or how the trouble is over, in one or two sentences; with the members of a cluster's description."""

    faults: tuple[Fault, ...] = ()
    rekey_seconds: float = 4.0
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Of the template, where they are other than usual."""

    asked: Mapping[str, Any] = field(default_factory=dict)
    """Members of the input beside cluster and reason."""

    def prepared(self, spec: ClusterSpec) -> ClusterSpec:
        """The cluster that it happens to."""
        return replace(spec, faults=(*self.faults, *spec.faults), rekey_seconds=self.rekey_seconds)

    def request(self, cluster: str) -> dict[str, Any]:
        """The input of the rotation that it happens to."""
        return {"cluster": cluster, "reason": "drill", **self.asked}

    def told(self, name: str, cluster: Mapping[str, str]) -> str:
        """What a person needs to know; ``cluster`` is the description of the one it happens to."""
        given = shlex.quote(json.dumps(self.request(cluster["name"])))
        return (
            f"Drill {name}: {self.story.format_map(cluster)} Start its rotation:\n\n"
            f'  aws stepfunctions start-execution --state-machine-arn "$ROTATE" --input {given}\n\n'
            f"It ends as {self.outcome}. Then follow the entry {self.entry} of docs/runbook.md.\n"
            f"{self.over.format_map(cluster)}\n"
        )


DRILLS = {
    "outcome-unknown": Drill(
        entry="RekeyOutcomeUnknown",
        story="{name} loses the result of its rekey, and goes on with it unseen.",
        outcome="OutcomeUnknown",
        over="Its key changes half a minute after the start, and the rekey ends ten seconds later.",
        faults=(Fault("handleVanished"),),
        rekey_seconds=40.0,
        parameters={"SettlingSeconds": "10"},
    ),
    "overdue": Drill(
        entry="RotationOverdue",
        story="a rekey of {name} takes 100 seconds, and the deadline is one minute.",
        outcome="Overdue",
        over="Nothing is wrong with the rekey. It goes on.",
        rekey_seconds=100.0,
        parameters={"DeadlineMinutes": "1"},
    ),
    "undone": Drill(
        entry="RotationUndone",
        story="{name} is moved to its key server, and an administrator who knows nothing of it moves it back.",
        outcome="OutcomeUnknown",
        over="The administrator has been told by now, and does not do it again.",
        faults=(Fault("competingRekey", method="GetAsyncResult", phase="Ready", seconds=0, management="internal"),),
        asked={"keyManagementType": "External", "keyProviderID": 15},
    ),
    "certificate-changed": Drill(
        entry="CertificateRefused",
        story="{name} presents another certificate than the one registered.",
        outcome="Failed",
        over=(
            "Its administrator, whom you called, says that it was renewed, and that its fingerprint is now\n\n"
            "  {certificateFingerprint}"
        ),
        faults=(Fault("certificateReplaced"),),
    ),
    "unfamiliar-answer": Drill(
        entry="AnswerNotUnderstood",
        story="while {name} is upgraded, it says nothing of its key that can be understood.",
        outcome="Failed",
        over=(
            "Retries go on for five minutes first, shortened by --wait-scale. The upgrade is over when you say so:\n\n"
            "  curl --cacert {caFile} --user {username}:{password} --request DELETE https://{mvip}/simulator/faults"
        ),
        faults=(Fault("nullResult", method="GetSoftwareEncryptionAtRestInfo", times=None),),
    ),
}

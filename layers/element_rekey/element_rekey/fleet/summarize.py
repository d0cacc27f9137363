"""Close a fleet run and publish its summary. What became of each cluster is read from the ledger, not carried along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from element_rekey.publishing import claim, publish_claimed
from element_rekey.records import ClusterResult, FleetRun
from element_rekey.rules.closing import fleet_failure
from element_rekey.rules.memory import remembered_key_made
from element_rekey.rules.readiness import clusters_of, is_judged, is_published, judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from element_rekey.ports import Ports
    from element_rekey.records import CloseRequest, ClusterMemory, FleetRequest, Rotation


@dataclass(frozen=True, slots=True)
class FleetPublished:
    """A published fleet run, and what became of its clusters; not ``published_now``: an earlier call did it."""

    run: FleetRun
    results: tuple[ClusterResult, ...]
    published_now: bool


def summarize_fleet(ports: Ports, rotate_master_key_arn: str, closing: CloseRequest[FleetRequest]) -> FleetPublished:
    """Close a fleet run and publish its summary, once for each execution.

    ``rotate_master_key_arn`` is the state machine whose executions rotated the clusters. Rests on ``sns:Publish``
    (https://docs.aws.amazon.com/sns/latest/api/API_Publish.html); safe to repeat and to run twice at the same time.
    Raises LedgerConflict and AwsCallFailed.
    """
    execution = closing.execution
    known = ports.ledger.fleet_run(execution) or FleetRun(execution, closing.request, asked=closing.asked)
    results = cluster_results(ports, rotate_master_key_arn, known)
    judgement = judge(known, results, ports.ledger.readiness(clusters_of(known))) if is_judged(known) else None

    def close(run: FleetRun) -> FleetRun:
        readiness = judgement.report if judgement else None
        return replace(run, failure=closing.failure or fleet_failure(run, results), readiness=readiness)

    def publish() -> None:
        if is_published(run):
            ports.topic.publish_summary(run, results)
        for cluster, readiness in judgement.found.items() if judgement else ():  # told of: from now on it is no news
            ports.ledger.save_readiness(cluster, readiness)

    run = claim(known, close, ports.ledger.save_fleet_run, ports.clock())
    if run.notified_at:
        return FleetPublished(run, results, published_now=False)
    run = publish_claimed(run, publish, ports.ledger.save_fleet_run, ports.clock)
    return FleetPublished(run, results, published_now=True)


def cluster_results(ports: Ports, rotate_master_key_arn: str, run: FleetRun) -> tuple[ClusterResult, ...]:
    """What became of each selected cluster, by the ledger; where no key was seen, with what is remembered of it.

    A cluster that cannot be looked at has a key all the same, and it is not getting any younger.
    """
    prefix = rotate_master_key_arn.replace(":stateMachine:", ":execution:")
    ids = {one.cluster: f"{prefix}:{one.execution_name}" for one in run.selected}
    found: Mapping[str, Rotation] = ports.ledger.rotations(tuple(ids.values()))
    results = tuple(ClusterResult(one, found.get(ids[one.cluster])) for one in run.selected)
    memories = ports.ledger.memories([one.selected.cluster for one in results if one.key_made_as_seen is None])
    return tuple(_with_memory(one, memories.get(one.selected.cluster)) for one in results)


def _with_memory(result: ClusterResult, memory: ClusterMemory | None) -> ClusterResult:
    return replace(result, remembered_key_made=remembered_key_made(memory)) if memory else result

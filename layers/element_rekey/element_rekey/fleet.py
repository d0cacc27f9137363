"""A fleet run: which clusters, in what order, under which demand; and what became of them all.

Selecting is pure. The rotations are executions of their own, whose names follow from the run's, so that a repeated
step starts none twice; what became of them is read from the ledger, not carried through the state machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from .codec import encode
from .errors import ClusterNotRegistered, FleetIncomplete, LedgerConflict, RegistrationInvalid, RequestInvalid
from .model import (
    CLUSTER_NAME,
    Execution,
    Failure,
    FleetRequest,
    FleetRun,
    Outcome,
    Refused,
    Registered,
    Request,
    Rotation,
    Selected,
    Trigger,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .ports import Ports

TAG_MAX_KEY_AGE = "element-rekey:max-key-age-days"
TAG_PREFIX = "element-rekey:"
ANY_NUMBER = 1_000_000  # of failures tolerated: more than there can be clusters
LONGEST_KEY_AGE_DAYS = 3650
LARGEST_STATE = 250_000  # bytes; Step Functions takes 262,144, and the execution is in there, too
LARGEST_RECORD = 380_000  # bytes; DynamoDB takes 409,600, and how the run ended is still to be added


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What the operator decides about fleets."""

    max_key_age: timedelta  # a cluster's tag overrides it
    cool_down: timedelta  # an alarm does not replace a key younger than this
    spread: timedelta  # over which a schedule spreads the clusters
    max_concurrency: int
    rotate_master_key_arn: str  # the state machine that rotates one cluster
    tolerated_failures: int = 0  # after more than these a scheduled run begins no further rotation


@dataclass(frozen=True, slots=True)
class FleetEnding:
    """A fleet run to be closed."""

    execution: Execution
    request: FleetRequest | None  # None where the input is not a valid one
    failure: Failure | None  # None where no error was caught


@dataclass(frozen=True, slots=True)
class Standing:
    """One selected cluster after the run; no ``rotation``: its execution left no record, so it changed nothing."""

    selected: Selected
    rotation: Rotation | None

    @property
    def succeeded(self) -> bool:
        """Whether nobody has to do anything about it."""
        return bool(self.rotation and self.rotation.outcome and self.rotation.outcome.succeeded)

    @property
    def outcome(self) -> str:
        """How its rotation ended, or that it did not end, or that it was not begun."""
        if self.rotation is None:
            return "NotBegun"
        return self.rotation.outcome.value if self.rotation.outcome else "NotEnded"

    @property
    def key_made(self) -> datetime | None:
        """When the current key was made, as the cluster says."""
        key = self.rotation.current_key if self.rotation else None
        return key.key_created_time if key else None


@dataclass(frozen=True, slots=True)
class FleetClosed:
    """A closed fleet run, how its clusters stand, and whether this call told of it; otherwise an earlier one did."""

    run: FleetRun
    after: tuple[Standing, ...]
    told_now: bool


def select(
    settings: FleetSettings, execution: Execution, request: FleetRequest, registered: Iterable[Registered]
) -> FleetRun:
    """The clusters a run rotates, and those it had to refuse, by name.

    Raises RequestInvalid for a canary not there, ClusterNotRegistered where there is nothing at all to rotate.
    """
    known = {one.cluster: one for one in registered}
    wanted = sorted(known) if request.clusters is None else sorted(set(request.clusters))
    selected: list[Selected] = []
    refused: list[Refused] = []
    for cluster in wanted:
        if cluster not in known:
            refused.append(_refuse(cluster, ClusterNotRegistered("There is no secret of this name.")))
            continue
        try:
            selected.append(_select_one(settings, execution, request, known[cluster]))
        except RegistrationInvalid as error:
            refused.append(_refuse(cluster, error))
    if not wanted:
        raise ClusterNotRegistered("No cluster is registered.")
    if request.canary and request.canary not in {one.cluster for one in selected}:
        raise RequestInvalid(f"canary: {request.canary} is not among the clusters of this run.")
    selected.sort(key=lambda one: (one.cluster != request.canary, one.not_before, one.cluster))
    return FleetRun(execution, request, selected=tuple(selected), refused=tuple(refused))


def _select_one(
    settings: FleetSettings, execution: Execution, request: FleetRequest, registered: Registered
) -> Selected:
    cluster = registered.cluster
    if not CLUSTER_NAME.fullmatch(cluster):
        raise RegistrationInvalid("The name of its secret is not a cluster's name.")
    digest = sha256(f"{execution.id} {cluster}".encode()).hexdigest()
    begin, max_age = execution.started_at, None
    if request.trigger is Trigger.SCHEDULE:
        max_age = round(_max_key_age(settings, registered).total_seconds())
        begin += settings.spread * (int(sha256(cluster.encode()).hexdigest()[:8], 16) / 0x100000000)
    name = cluster[:24].replace(".", "-")  # an execution whose name has a dot is not logged
    return Selected(cluster, f"{name}-{digest[:24]}", begin, max_age)


def _max_key_age(settings: FleetSettings, registered: Registered) -> timedelta:
    max_key_age = settings.max_key_age
    for tag, value in registered.tags:
        if not tag.startswith(TAG_PREFIX):
            continue
        if tag != TAG_MAX_KEY_AGE:
            raise RegistrationInvalid(f"Tag {tag} is unknown; known is {TAG_MAX_KEY_AGE}.")
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= LONGEST_KEY_AGE_DAYS):
            raise RegistrationInvalid(f"Tag {tag}: expected a whole number of days from 1 to {LONGEST_KEY_AGE_DAYS}.")
        max_key_age = timedelta(days=int(value))
    return max_key_age


def _refuse(cluster: str, error: ClusterNotRegistered | RegistrationInvalid) -> Refused:
    return Refused(cluster, type(error).__name__, error.what)


def orders(settings: FleetSettings, run: FleetRun, request: FleetRequest) -> dict[str, Any]:
    """What the state machine needs of a run: the policy, what all rotations share, and one small item for each.

    Raises RequestInvalid when there are more clusters than a state can carry; a thousand always fit.
    """
    created_after = request.key_created_after
    if request.trigger is Trigger.SCHEDULE:
        created_after = run.execution.started_at - settings.max_key_age
    shared = Request(
        cluster="",
        reason=request.reason,
        requested_by=request.requested_by,
        trigger=request.trigger,
        key_management_type=request.key_management_type,
        key_provider_id=request.key_provider_id,
        key_created_after=created_after,
        cool_down_seconds=round(settings.cool_down.total_seconds()) if request.trigger is Trigger.ALARM else 0,
        dry_run=request.dry_run,
        force=request.force,
        ignore_faults=request.ignore_faults,
    )
    tolerated = settings.tolerated_failures if request.trigger is Trigger.SCHEDULE else ANY_NUMBER
    items = [_item(run.execution, one, created_after) for one in run.selected]
    canary = {"canary": items.pop(0)} if request.canary else {}  # sorted to the front
    given = {
        "policy": {
            "maxConcurrency": request.max_concurrency or settings.max_concurrency,
            "toleratedFailures": tolerated if request.tolerated_failures is None else request.tolerated_failures,
        },
        "shared": {name: value for name, value in encode(shared).items() if name != "cluster"},
        **canary,
        "items": items,
    }
    size = _size(given)
    if size > LARGEST_STATE:
        raise RequestInvalid(f"clusters: {len(items)} make a state of {size} bytes, more than Step Functions carries.")
    return given


def _size(value: object) -> int:
    """In bytes, as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def _item(execution: Execution, selected: Selected, shared_after: datetime | None) -> dict[str, Any]:
    """What is particular to one cluster; kept small, since all items travel in one state."""
    request: dict[str, Any] = {"cluster": selected.cluster}
    if selected.max_key_age_seconds is not None:
        created_after = execution.started_at - timedelta(seconds=selected.max_key_age_seconds)
        if created_after != shared_after:
            request["keyCreatedAfter"] = encode(created_after)
    return {"name": selected.execution_name, "notBefore": encode(selected.not_before), "request": request}


def begin_fleet(ports: Ports, settings: FleetSettings, execution: Execution, request: FleetRequest) -> FleetRun:
    """Select and write down. A repeated step finds what it wrote, whatever was registered since.

    Rests on ``secretsmanager:ListSecrets``. Raises what ``select`` and ``orders`` do, AwsCallFailed, LedgerConflict.
    """
    known = ports.ledger.fleet_run(execution.id)
    if known:
        return known
    run = select(settings, execution, request, ports.clusters.registered())
    orders(settings, run, request)  # more than a state can carry is refused before anything is written down
    size = _size(encode(run))
    if size > LARGEST_RECORD:
        raise RequestInvalid(f"clusters: their names make a record of {size} bytes, more than DynamoDB carries.")
    return ports.ledger.save_fleet_run(run)


def standings(ports: Ports, settings: FleetSettings, run: FleetRun) -> tuple[Standing, ...]:
    """How each selected cluster stands, by the ledger."""
    prefix = settings.rotate_master_key_arn.replace(":stateMachine:", ":execution:")
    ids = {one.cluster: f"{prefix}:{one.execution_name}" for one in run.selected}
    found: Mapping[str, Rotation] = ports.ledger.rotations(tuple(ids.values()))
    return tuple(Standing(one, found.get(ids[one.cluster])) for one in run.selected)


def summarize_fleet(ports: Ports, settings: FleetSettings, ending: FleetEnding) -> FleetClosed:
    """Close a fleet run and publish its summary, once for each execution.

    Rests on ``sns:Publish``; safe to repeat. Raises LedgerConflict and AwsCallFailed.
    """
    now = ports.clock()
    run = ports.ledger.fleet_run(ending.execution.id) or FleetRun(ending.execution, ending.request)
    after = standings(ports, settings, run)
    if run.notified_at:
        return FleetClosed(run, after, told_now=False)
    if run.publishing_until and now < run.publishing_until:
        raise LedgerConflict("Another invocation is publishing this summary.")
    if run.ended_at is None:
        run = replace(run, failure=ending.failure or shortfall(run, after), ended_at=now)
    run = ports.ledger.save_fleet_run(replace(run, publishing_until=now + ports.settings.settling))
    ports.topic.publish_summary(run, after)
    return FleetClosed(ports.ledger.save_fleet_run(replace(run, notified_at=ports.clock())), after, told_now=True)


def shortfall(run: FleetRun, after: Iterable[Standing]) -> Failure | None:
    """Why a run that came to its end did not succeed; None where it did."""
    bad = [one.selected.cluster for one in after if not one.succeeded] + [one.cluster for one in run.refused]
    if not bad:
        return None
    named = ", ".join(bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")  # noqa: PLR2004 - a short list
    return Failure(FleetIncomplete.__name__, f"Not as they should be: {named}.", FleetIncomplete.next_step)


def outcome_counts(run: FleetRun, after: Iterable[Standing]) -> dict[str, int]:
    """How many clusters came to which outcome; those refused and those not begun have counts of their own."""
    counts = {outcome.value: 0 for outcome in Outcome} | {"Refused": len(run.refused), "NotEnded": 0, "NotBegun": 0}
    for one in after:
        counts[one.outcome] += 1
    return {name: count for name, count in counts.items() if count}

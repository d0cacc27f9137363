"""Which clusters a fleet run rotates, in what order, under which demand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from element_rekey.codec import encode
from element_rekey.errors import AlarmTargetUnknown, ClusterNotRegistered, RegistrationInvalid, RequestInvalid
from element_rekey.records import CLUSTER_NAME, FleetRun, NotSelected, Registered, Selected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from element_rekey.errors import InvalidInput
    from element_rekey.records import Execution, FleetRequest
    from element_rekey.settings import FleetSettings

ALL = "all"  # in an alarm in place of a cluster's name, in any case: every registered cluster
TAG_MAX_KEY_AGE = "element-rekey:max-key-age-days"
TAG_PREFIX = "element-rekey:"
ANY_NUMBER = 1_000_000  # of failures tolerated: more than there can be clusters
LONGEST_KEY_AGE_DAYS = 3650
KEEP_COUNT = timedelta(days=60)
"""How long the counts of a run are kept: no run takes longer than half of that, and no name is used again so soon."""
LARGEST_STATE = 250_000  # bytes; Step Functions takes 262,144, and the execution is in there, too
LARGEST_RECORD = 380_000  # bytes; DynamoDB takes 409,600, and how the run ended is still to be added


def select(
    settings: FleetSettings,
    execution: Execution,
    request: FleetRequest,
    registered: Iterable[Registered],
    looked_at_before: Collection[str] = (),
) -> FleetRun:
    """The clusters a run rotates, and those it cannot, by name. What was ``looked_at_before`` is left out.

    Raises RequestInvalid for a canary not there, ClusterNotRegistered where there is nothing at all to rotate. A run
    that only looks would say so day after day, until somebody registers the first cluster.
    """
    known = {one.cluster: one for one in registered}
    wanted = sorted(known) if request.clusters is None else sorted(set(request.clusters))
    selected: list[Selected] = []
    not_selected: list[NotSelected] = []
    left_out = tuple(cluster for cluster in wanted if cluster in looked_at_before)
    for cluster in wanted:
        if cluster in left_out:
            continue
        if cluster not in known:
            not_selected.append(_not_selected(cluster, _unknown(request)))
            continue
        try:
            selected.append(_select_one(settings, execution, request, known[cluster]))
        except RegistrationInvalid as error:
            not_selected.append(_not_selected(cluster, error))
    if not wanted and not request.trigger.looks_only:
        raise ClusterNotRegistered("No cluster is registered.")
    if request.canary and request.canary not in {one.cluster for one in selected}:
        raise RequestInvalid(f"canary: {request.canary} is not among the clusters of this run.")
    selected.sort(key=lambda one: (one.cluster != request.canary, one.not_before, one.cluster))
    return FleetRun(
        execution,
        request,
        selected=tuple(selected),
        not_selected=tuple(not_selected),
        looked_at_before=left_out if request.trigger.looks_only else None,
    )


def _select_one(
    settings: FleetSettings, execution: Execution, request: FleetRequest, registered: Registered
) -> Selected:
    cluster = registered.cluster
    if not CLUSTER_NAME.fullmatch(cluster):
        raise RegistrationInvalid("The name of its secret is not a cluster's name.")
    if cluster.lower() == ALL:
        raise RegistrationInvalid(f"A cluster cannot be called {cluster}: an alarm of that name means every cluster.")
    if cluster.startswith(settings.alarm_prefix):
        what = f"Its name begins as those of the alarms that start a rotation do ({settings.alarm_prefix})"
        raise RegistrationInvalid(f"{what}: an alarm named after this cluster would be taken for one of another.")
    # With the start, since a name can be used again: its rotations must not be taken for those of the earlier run.
    digest = sha256(f"{execution.id} {encode(execution.started_at)} {cluster}".encode()).hexdigest()
    begin, max_age = execution.started_at, None
    if request.trigger.by_age or request.trigger.looks_only:
        max_age = round(_max_key_age(settings, registered).total_seconds())
    if request.trigger.by_age:
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


def _unknown(request: FleetRequest) -> InvalidInput:
    if request.trigger.urgent:
        return AlarmTargetUnknown("No cluster is registered under this name: no key was replaced.")
    return ClusterNotRegistered("There is no secret of this name.")


def _not_selected(cluster: str, error: InvalidInput) -> NotSelected:
    return NotSelected(cluster, type(error).__name__, error.what)


def map_input(settings: FleetSettings, run: FleetRun, request: FleetRequest) -> dict[str, Any]:
    """What the state machine needs of a run: ``{"policy", "shared", "canary"?, "items": [...]}``.

    ``policy`` is ``{"maxConcurrency", "toleratedFailures", "countExpiresAt"}``; ``shared`` the members of the inputs of
    the rotations that are the same for all; an item, and the canary, ``{"name", "notBefore", "request": {"cluster",
    "keyCreatedAfter"?}}``.
    Raises RequestInvalid when there are more clusters than a state can carry; a thousand always fit.
    https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
    """
    created_after, cool_down = request.made_after(run.execution.started_at), timedelta()
    if request.trigger.by_age:
        created_after = run.execution.started_at - settings.max_key_age
    if request.trigger.cools_down:
        cool_down = settings.cool_down
    shared = replace(
        request.request_for(""),
        key_created_after=created_after,
        cool_down_seconds=round(cool_down.total_seconds()),
    )
    at_once = settings.urgent_max_concurrency if request.trigger.urgent else settings.max_concurrency
    tolerated = settings.tolerated_failures if request.trigger.stops_after_failures else ANY_NUMBER
    by_age = request.trigger.by_age
    items = [_item(run.execution, one, created_after, by_age=by_age) for one in run.selected]
    tolerated = tolerated if request.tolerated_failures is None else request.tolerated_failures
    # Sorted to the front; not there in a run that was closed before its clusters were selected, and then redriven. A
    # dry run looks at every cluster, whatever fails: no canary goes ahead, and nothing keeps the others.
    canary = {"canary": items.pop(0)} if request.canary and items and not request.dry_run else {}
    given = {
        "policy": {
            "maxConcurrency": request.max_concurrency or at_once,
            "toleratedFailures": ANY_NUMBER if request.dry_run else tolerated,
            "countExpiresAt": round((run.execution.started_at + KEEP_COUNT).timestamp()),
        },
        "shared": {name: value for name, value in encode(shared).items() if name != "cluster"},
        **canary,
        "items": items,
    }
    size = size_in_bytes(given)
    if size > LARGEST_STATE:
        raise RequestInvalid(f"clusters: {len(items)} make a state of {size} bytes, more than Step Functions carries.")
    return given


def size_in_bytes(value: object) -> int:
    """Of the value as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def _item(execution: Execution, selected: Selected, shared_after: datetime | None, *, by_age: bool) -> dict[str, Any]:
    """What is particular to one cluster; kept small, since all items travel in one state."""
    request: dict[str, Any] = {"cluster": selected.cluster}
    if by_age and selected.max_key_age_seconds is not None:
        created_after = execution.started_at - timedelta(seconds=selected.max_key_age_seconds)
        if created_after != shared_after:
            request["keyCreatedAfter"] = encode(created_after)
    return {"name": selected.execution_name, "notBefore": encode(selected.not_before), "request": request}

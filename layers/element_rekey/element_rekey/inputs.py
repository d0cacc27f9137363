"""What comes in from outside, parsed where it enters: an execution's input and state, and Step Functions' events."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .cluster import KeyManagementType
from .codec import CodecError, decode
from .errors import (
    AlarmIgnored,
    AllClustersNotAllowed,
    ElementRekeyError,
    ExecutionAborted,
    ExecutionBroken,
    ExecutionTimedOut,
    RequestInvalid,
    errors_by_name,
)
from .outcomes import Trigger
from .records import CLUSTER_NAME, Asked, CloseRequest, Execution, Failure, FleetRequest, Request
from .rules.selection import ALL, ANY_NUMBER
from .text import LONGEST_CAUSE, LONGEST_NAME, cut, is_plain, one_line, says_something

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ALARM_SOURCE = "aws.cloudwatch"
ALARM_TAG = "element-rekey:cluster"
OWN_SOURCE = "element-rekey"

_FAULT = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_LONGEST_TEXT = 512
_LARGEST = 2**31 - 1  # seconds can still be added to a date, and DynamoDB still stores it
_MOST_AT_ONCE = 1000
_MOST_FAULTS = 100  # Element knows fewer codes than that, and only some of them stand against a rekey
_LONGEST_ARN = 500  # with "ROTATION#" before it, it is a key of the table, which takes 2048 bytes

_INTERRUPTED: Mapping[str, type[ElementRekeyError]] = {
    "ABORTED": ExecutionAborted,
    "TIMED_OUT": ExecutionTimedOut,
}


def parse_execution(state: object) -> Execution:
    """The execution a state machine's state belongs to. Raises RequestInvalid."""
    given = state.get("execution") if isinstance(state, dict) else None
    try:
        execution = decode(Execution, given, where="execution")
    except CodecError as error:
        raise RequestInvalid(f"{error}.") from None
    if not (0 < len(execution.id) <= _LONGEST_ARN and is_plain(execution.id)):
        raise RequestInvalid("execution.id: expected the ARN of an execution.")
    return execution


def parse_request(value: object) -> Request:
    """The request in an execution's input. Raises RequestInvalid, naming the member and what was expected."""
    try:
        request = decode(Request, value)
    except CodecError as error:
        raise RequestInvalid(f"{error}.", cluster=_cluster_in(value)) from None
    for problem in _problems(request):
        raise RequestInvalid(problem, cluster=_cluster_in(value))
    return request


def _problems(request: Request) -> Iterator[str]:
    if not CLUSTER_NAME.fullmatch(request.cluster):
        yield "cluster: expected 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit."
    yield from _problems_of_texts(request)
    for name, number in (("keyProviderID", request.key_provider_id), ("coolDownSeconds", request.cool_down_seconds)):
        if number is not None and not 0 <= number <= _LARGEST:
            yield f"{name}: expected a number from 0 to {_LARGEST}."
    external = request.key_management_type is KeyManagementType.EXTERNAL
    if external and request.key_provider_id is None:
        yield "keyProviderID: missing; External key management needs the provider's number."
    if request.key_provider_id is not None and not external:
        yield "keyProviderID: only allowed with keyManagementType External."
    if len(request.ignore_faults) > _MOST_FAULTS:
        yield f"ignoreFaults: expected at most {_MOST_FAULTS} codes, not {len(request.ignore_faults)}."
    if not all(_FAULT.fullmatch(code) for code in request.ignore_faults):
        yield "ignoreFaults: expected cluster fault codes, such as nodeOffline."


def _problems_of_texts(request: Request) -> Iterator[str]:
    for name, text, longest in (
        ("reason", request.reason, _LONGEST_TEXT),
        ("requestedBy", request.requested_by, _LONGEST_TEXT),
        ("acceptClusterUUID", request.accept_cluster_uuid, LONGEST_NAME),
    ):
        if len(text) > longest:
            yield f"{name}: expected at most {longest} characters, not {len(text)}."
        if not is_plain(text):
            yield f"{name}: expected one line of characters that can be seen."
    if request.trigger.looks_only and not request.dry_run:
        yield f"dryRun: expected true with the trigger {request.trigger}, which never rotates."
    if request.force and not says_something(request.reason):
        yield "reason: missing; force needs one."
    if request.force and request.requested_by and not says_something(request.requested_by):
        yield "requestedBy: expected somebody's name, or nothing; there is nothing to be seen of it."


def parse_fleet_request(
    value: object, alarm_prefix: str, *, from_insufficient_data: bool = True, all_by_event: bool = True
) -> FleetRequest:
    """The request in a fleet run's input: a person's, the schedule's, or an event as it came from the bus.

    Raises RequestInvalid, naming the member and what was expected; AlarmIgnored for an alarm that had no data before,
    unless one counts ``from_insufficient_data``; AllClustersNotAllowed for an event that means every cluster, unless
    one may (``all_by_event``).
    """
    source = value.get("source") if isinstance(value, dict) else None
    if not isinstance(value, dict) or source not in (ALARM_SOURCE, OWN_SOURCE):
        return _checked_fleet(value)
    request = _alarm_request(value, alarm_prefix) if source == ALARM_SOURCE else _report_request(value)
    if request.clusters is None and not all_by_event:
        raise AllClustersNotAllowed(f"Not done: {request.reason}, for every cluster.")
    if source == ALARM_SOURCE and not from_insufficient_data and value["detail"]["previousState"].get("value") != "OK":
        which = ", ".join(request.clusters or ("every cluster",))
        raise AlarmIgnored(f"Ignored: {request.reason}, for {which}. It had no data before it went into ALARM.")
    return request


def _checked_fleet(value: object, where: str = "", named: Mapping[str, str] | None = None) -> FleetRequest:
    """A request that came from ``where`` in an event; its members have other names there as ``named`` says."""
    if isinstance(value, dict) and "clusters" in value and value["clusters"] is None:  # "all" has to be meant
        raise _invalid("clusters: expected a list, not null.", where, named or {})
    try:
        request = decode(FleetRequest, value)
    except CodecError as error:
        raise _invalid(f"{error}.", where, named or {}) from None
    for problem in _fleet_problems(request):
        raise _invalid(problem, where, named or {})
    return request


def _invalid(what: str, where: str, named: Mapping[str, str]) -> RequestInvalid:
    member, _, problem = what.partition(":")
    return RequestInvalid(f"{named.get(member, where + member)}:{problem}")


def _fleet_problems(request: FleetRequest) -> Iterator[str]:
    for index, cluster in enumerate(request.clusters or ()):
        if not CLUSTER_NAME.fullmatch(cluster):
            yield f"clusters[{index}]: expected the name of a registered cluster."
    if request.canary and not CLUSTER_NAME.fullmatch(request.canary):
        yield "canary: expected the name of a registered cluster."
    if request.clusters == ():
        yield "clusters: expected at least one; leave it out for every registered cluster."
    if request.max_concurrency is not None and not 1 <= request.max_concurrency <= _MOST_AT_ONCE:
        yield f"maxConcurrency: expected a number from 1 to {_MOST_AT_ONCE}."
    if request.tolerated_failures is not None and not 0 <= request.tolerated_failures <= ANY_NUMBER:
        yield f"toleratedFailures: expected a number from 0 to {ANY_NUMBER}."
    if request.trigger.by_age and request.key_created_after:
        yield "keyCreatedAfter: not together with the trigger schedule, which goes by each cluster's maximum key age."
    if request.trigger.looks_only and request.key_created_after:
        yield f"keyCreatedAfter: not together with the trigger {request.trigger}, which asks about a rotation of now."
    yield from _problems(request.request_for("any"))


def _alarm_request(event: Mapping[str, Any], prefix: str) -> FleetRequest:
    """A "CloudWatch Alarm State Change": the cluster is in the alarm's tag, or is the rest of its name."""
    detail = _object(event, "detail")
    state, previous = _object(detail, "state", "detail."), _object(detail, "previousState", "detail.")
    if state.get("value") != "ALARM" or previous.get("value") == "ALARM":
        raise RequestInvalid("detail.state.value: expected a change into ALARM.")
    name = detail.get("alarmName")
    if not isinstance(name, str):
        raise RequestInvalid("detail.alarmName: expected a string.")
    tags = detail.get("alarmTags")
    target = tags.get(ALARM_TAG) if isinstance(tags, dict) else None
    if target is None and name.startswith(prefix):
        target = name.removeprefix(prefix)
    if not target:
        raise RequestInvalid(f"detail.alarmName: expected {prefix}<cluster>, {prefix}all, or the tag {ALARM_TAG}.")
    given = {
        **({} if str(target).lower() == ALL else {"clusters": [target]}),
        "trigger": Trigger.ALARM.value,
        "reason": cut(one_line(f"alarm {name}"), _LONGEST_TEXT),
        "keyCreatedAfter": _given(state, "timestamp", "detail.state."),
    }
    member = "detail.alarmName" if target == name.removeprefix(prefix) else f"detail.alarmTags.{ALARM_TAG}"
    return _checked_fleet(given, named={"clusters[0]": member, "keyCreatedAfter": "detail.state.timestamp"})


def _report_request(event: Mapping[str, Any]) -> FleetRequest:
    """A "Key Compromise Reported" of our own source: who may put one on the bus can ask for new keys, nothing else."""
    detail = dict(_object(event, "detail"))
    for member in detail:
        if member not in _REPORTED:
            raise RequestInvalid(f"detail.{member}: not in a report; known are {', '.join(_REPORTED)}.")
    reported_at = detail.pop("reportedAt", None) or _given(event, "time")
    if not detail.get("reason"):
        raise RequestInvalid("detail.reason: missing; a report needs one.")
    given = {**detail, "trigger": Trigger.ALARM.value, "keyCreatedAfter": reported_at}
    return _checked_fleet(given, "detail.", {"keyCreatedAfter": "detail.reportedAt"})


_REPORTED = ("clusters", "reason", "requestedBy", "reportedAt")


def _given(value: Mapping[str, Any], member: str, where: str = "") -> object:
    """A member without which an event says nothing about when."""
    if value.get(member) is None:
        raise RequestInvalid(f"{where}{member}: missing.")
    return value[member]


def _object(value: Mapping[str, Any], member: str, where: str = "") -> Mapping[str, Any]:
    found = value.get(member)
    if not isinstance(found, dict):
        raise RequestInvalid(f"{where}{member}: expected an object.")
    return found


def parse_fleet_close_request(event: object, alarm_prefix: str) -> CloseRequest[FleetRequest]:
    """What to close of a fleet: from the state machine's own last step, or from a status-change event.

    An input that is no request is closed without one. Raises RequestInvalid where the event names no execution.
    """
    execution, given, failure = _what_ended(event)
    try:
        request = parse_fleet_request(given, alarm_prefix)
    except RequestInvalid:
        request = None
    return CloseRequest(execution, request, failure, asked=None if request else _asked_in(given))


def parse_close_request(event: object) -> CloseRequest[Request]:
    """What to close: from the state machine's own last step, or from Step Functions' status-change event.

    An input that is no request is closed without one. Raises RequestInvalid where the event names no execution.
    """
    execution, given, failure = _what_ended(event)
    try:
        request = parse_request(given)
    except RequestInvalid:
        request = None
    asked = None if request else _asked_in(given)
    return CloseRequest(execution, request, failure, _cluster_in(given), asked)


def _what_ended(event: object) -> tuple[Execution, object, Failure | None]:
    """Execution, input and error: of the state machine's state, or of Step Functions' status-change event."""
    if not isinstance(event, dict):
        raise RequestInvalid("event: expected an object.")
    if "detail" in event:
        return _interrupted(_object(event, "detail"))
    return parse_execution(event), event.get("input"), _caught(event)


def _caught(event: Mapping[str, Any]) -> Failure | None:
    """The error a Catch put into the state."""
    error = event.get("error")
    return parse_failure(_text(error, "Error"), _text(error, "Cause")) if isinstance(error, dict) else None


def parse_failure(name: str, cause: str) -> Failure:
    """A caught error: ``cause`` is plain text, or the JSON in which Lambda wraps an exception.

    Either can be anything in the end, such as what a crashed runtime printed: it becomes one line, not too long.
    """
    try:
        wrapped = json.loads(cause)
    except (ValueError, RecursionError):
        wrapped = None
    if isinstance(wrapped, dict) and isinstance(wrapped.get("errorMessage"), str | int | float):
        cause = str(wrapped["errorMessage"])
    name, cause = cut(one_line(name), LONGEST_NAME), one_line(cause)
    if name.startswith("States."):  # reserved: a Fail state may not end with it
        name, cause = ExecutionBroken.__name__, f"{name} {cause}".strip()
    known = errors_by_name().get(name, ExecutionBroken)
    cause = cut(cause.removesuffix(f" Next: {known.next_step}"), LONGEST_CAUSE)
    return Failure(name or ExecutionBroken.__name__, cause, known.next_step)


def _interrupted(detail: Mapping[str, Any]) -> tuple[Execution, object, Failure | None]:
    """Execution, input and error of a "Step Functions Execution Status Change" to a status that no Catch sees."""
    execution = parse_execution({"execution": {"id": detail.get("executionArn"), "startedAt": _started(detail)}})
    try:
        given = json.loads(_text(detail, "input"))
    except (ValueError, RecursionError):  # Step Functions leaves a long input out or cuts it
        given = None
    status = _text(detail, "status")
    error = _INTERRUPTED.get(status, ExecutionBroken)
    return execution, given, Failure(error.__name__, _said(detail, status), error.next_step)


def _said(detail: Mapping[str, Any], status: str) -> str:
    """What Step Functions, or whoever stopped the execution, said of its end."""
    error, cause = one_line(_text(detail, "error")), one_line(_text(detail, "cause"))
    if cause:
        return cut(f"{error}: {cause}" if error else cause, LONGEST_CAUSE)
    return cut(
        f"The execution ended as {one_line(status)}{f' with the error {error}' if error else ''}.", LONGEST_CAUSE
    )


def _started(detail: Mapping[str, Any]) -> str:
    """When the execution of a status-change event began; it is given in milliseconds since 1970."""
    try:
        return datetime.fromtimestamp(detail["startDate"] / 1000, UTC).isoformat()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise RequestInvalid("detail.startDate: expected milliseconds since 1970.") from None


def _text(value: Mapping[str, Any], member: str) -> str:
    """A text, or an empty one in place of anything else."""
    found = value.get(member)
    return found if isinstance(found, str) else ""


def _cluster_in(value: object) -> str:
    """The cluster an input names, where it names one properly."""
    cluster = value.get("cluster") if isinstance(value, dict) else None
    return cluster if isinstance(cluster, str) and CLUSTER_NAME.fullmatch(cluster) else ""


def _asked_in(value: object) -> Asked | None:
    """Who asked, why and for what, as far as it can be read of an input that is not a valid request."""
    if not isinstance(value, dict):
        return None
    detail = value.get("detail")
    stated = detail if isinstance(detail, dict) else {}
    if value.get("source") == ALARM_SOURCE:
        name = _text_in(stated, "alarmName")
        return Asked(Trigger.ALARM, cut(f"alarm {name}", _LONGEST_TEXT) if name else "")
    if value.get("source") == OWN_SOURCE:
        return Asked(Trigger.ALARM, _text_in(stated, "reason"), _text_in(stated, "requestedBy"))
    trigger = str(value.get("trigger", Trigger.MANUAL)).lower()
    return Asked(
        trigger=next((one for one in Trigger if one == trigger), None),
        reason=_text_in(value, "reason"),
        requested_by=_text_in(value, "requestedBy"),
        dry_run=value.get("dryRun") is True,
    )


def _text_in(value: Mapping[str, Any], member: str) -> str:
    return cut(one_line(_text(value, member)), _LONGEST_TEXT)

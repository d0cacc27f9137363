"""What comes in from outside, parsed at the edge: an execution's input and state, and Step Functions' status events."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .codec import CodecError, decode
from .errors import ElementRekeyError, ExecutionAborted, ExecutionBroken, ExecutionTimedOut, RequestInvalid
from .model import Execution, Failure, KeyManagementType, Request
from .rotation import Ending

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FAULT = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_LONGEST_TEXT = 512

_INTERRUPTED: Mapping[str, type[ElementRekeyError]] = {
    "ABORTED": ExecutionAborted,
    "TIMED_OUT": ExecutionTimedOut,
}


def execution_of(state: Mapping[str, Any]) -> Execution:
    """The execution a state machine's state belongs to."""
    return decode(Execution, state["execution"])


def request_of(value: object) -> Request:
    """The request in an execution's input. Raises RequestInvalid, naming the member and what was expected."""
    try:
        request = decode(Request, value)
    except CodecError as error:
        raise RequestInvalid(f"{error}.", cluster=_cluster_in(value)) from None
    for problem in _problems(request):
        raise RequestInvalid(problem, cluster=_cluster_in(value))
    return request


def _problems(request: Request) -> Iterator[str]:
    if not _CLUSTER.fullmatch(request.cluster):
        yield "cluster: expected 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit."
    for name, text in (("reason", request.reason), ("requestedBy", request.requested_by)):
        if len(text) > _LONGEST_TEXT:
            yield f"{name}: expected at most {_LONGEST_TEXT} characters, not {len(text)}."
    for name, number in (("keyProviderID", request.key_provider_id), ("coolDownSeconds", request.cool_down_seconds)):
        if number is not None and number < 0:
            yield f"{name}: expected a number from 0 up."
    external = request.key_management_type is KeyManagementType.EXTERNAL
    if external and request.key_provider_id is None:
        yield "keyProviderID: missing; External key management needs the provider's number."
    if request.key_provider_id is not None and not external:
        yield "keyProviderID: only allowed with keyManagementType External."
    if request.force and not request.reason.strip():
        yield "reason: missing; force needs one."
    if not all(_FAULT.fullmatch(code) for code in request.ignore_faults):
        yield "ignoreFaults: expected cluster fault codes, such as nodeOffline."


def ending_of(event: Mapping[str, Any]) -> Ending:
    """What to close: from the state machine's own last step, or from Step Functions' status-change event."""
    if "detail" in event:
        return _interrupted(event["detail"])
    given = event.get("input")
    error = event.get("error")
    failure = failure_of(str(error.get("Error", "")), str(error.get("Cause", ""))) if isinstance(error, dict) else None
    return Ending(execution_of(event), _cluster_in(given), _valid_request(given), failure)


def failure_of(name: str, cause: str) -> Failure:
    """A caught error: ``cause`` is plain text, or the JSON in which Lambda wraps an exception."""
    try:
        wrapped = json.loads(cause)
    except ValueError:
        wrapped = None
    if isinstance(wrapped, dict) and "errorMessage" in wrapped:
        cause = str(wrapped["errorMessage"])
    known = _errors().get(name, ExecutionBroken)
    return Failure(name or ExecutionBroken.__name__, cause.removesuffix(f" Next: {known.next_step}"), known.next_step)


def _interrupted(detail: Mapping[str, Any]) -> Ending:
    """A "Step Functions Execution Status Change" of a status that no Catch sees."""
    started = datetime.fromtimestamp(detail["startDate"] / 1000, UTC)
    try:
        given = json.loads(detail.get("input") or "null")
    except ValueError:  # Step Functions leaves a long input out or cuts it
        given = None
    error = _INTERRUPTED.get(detail["status"], ExecutionBroken)
    cause = str(detail.get("cause") or f"The execution ended as {detail['status']}.")
    failure = Failure(error.__name__, cause, error.next_step)
    return Ending(Execution(detail["executionArn"], started), _cluster_in(given), _valid_request(given), failure)


def _valid_request(value: object) -> Request | None:
    try:
        return request_of(value)
    except RequestInvalid:
        return None


def _cluster_in(value: object) -> str:
    """The cluster an input names, where it names one properly."""
    cluster = value.get("cluster") if isinstance(value, dict) else None
    return cluster if isinstance(cluster, str) and _CLUSTER.fullmatch(cluster) else ""


def _errors() -> Mapping[str, type[ElementRekeyError]]:
    found: dict[str, type[ElementRekeyError]] = {}
    todo = [ElementRekeyError]
    while todo:
        error = todo.pop()
        found[error.__name__] = error
        todo.extend(error.__subclasses__())
    return found

"""Whatever stands in an event, an input or a secret: only errors of ours come out, and no secret in them."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from element_rekey.aws.registry import SecretsRegistry
from element_rekey.codec import CodecError, decode
from element_rekey.errors import ElementRekeyError, RequestInvalid
from element_rekey.inputs import parse_close_request, parse_failure, parse_request
from element_rekey.records import Failure, Registration, Request, Rotation

FUZZ = settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
SECRET = "s3cret-that-must-not-show"

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
MEMBERS = st.sampled_from(
    [
        *("cluster", "reason", "requestedBy", "trigger", "keyManagementType", "keyProviderID", "keyCreatedAfter"),
        *("coolDownSeconds", "dryRun", "force", "ignoreFaults", "acceptClusterUUID", "unknown"),
    ]
)
LIKELY = st.sampled_from(["prod-a", "External", "2026-11-23T03:00:00Z", "9999-12-31T23:59:59-23:59", True, 15, -1, []])
REQUESTS = st.dictionaries(MEMBERS, LIKELY | JSON, max_size=6) | JSON
SECRETS = st.dictionaries(
    st.sampled_from(["mvip", "username", "password", "caBundle", "serverName", "certificateFingerprint", "apiVersion"]),
    st.just(SECRET) | st.sampled_from(["10.0.0.1", "12.3", "u", "::1", "a" * 300]) | JSON,
)


@FUZZ
@given(REQUESTS)
def test_an_input_is_a_request_or_is_refused_by_name(value: object) -> None:
    with suppress(RequestInvalid):
        assert parse_request(value).cluster


@FUZZ
@given(
    REQUESTS, st.sampled_from(["FAILED", "TIMED_OUT", "ABORTED"]), st.none() | st.text(max_size=30), st.integers(0, 9)
)
def test_a_status_event_always_names_what_to_close(
    given_input: object, status: str, cause: str | None, kept: int
) -> None:
    text = json.dumps(given_input)
    detail: dict[str, Any] = {
        "executionArn": "arn:aws:states:eu-central-1:123456789012:execution:m:e",
        "status": status,
        "startDate": 1795402800000,
        "input": text[: len(text) * kept // 9],
        "cause": cause,
    }

    closing = parse_close_request({"detail": detail})

    assert closing.execution.started_at == datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    assert closing.failure
    assert closing.failure.cause


@FUZZ
@given(st.text(max_size=30), JSON.map(json.dumps) | st.text(max_size=40))
def test_a_caught_error_always_becomes_a_failure_with_a_next_step(name: str, cause: str) -> None:
    failure = parse_failure(name, cause)

    assert isinstance(failure, Failure)
    assert failure.error
    assert not failure.error.startswith("States.")
    assert failure.next_step


class Secrets:
    """Secrets Manager with one secret."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_secret_value(self, **_: str) -> dict[str, str]:
        return {"SecretString": self.text}


@FUZZ
@given(SECRETS.map(json.dumps) | JSON.map(json.dumps) | st.text(max_size=40).map(SECRET.__add__))
def test_a_secret_is_a_registration_or_is_refused_without_being_quoted(text: str) -> None:
    clients: Any = Secrets(text)
    directory = SecretsRegistry(clients, "element-rekey", lambda: datetime(2026, 11, 23, 3, 0, tzinfo=UTC))

    message = ""
    try:
        directory.connect("prod-a")
    except ElementRekeyError as error:
        message = str(error)

    assert SECRET not in message


@FUZZ
@given(JSON)
@pytest.mark.parametrize("kind", [Registration, Request, Rotation])
def test_what_does_not_fit_a_record_is_refused_with_its_path(kind: type, value: object) -> None:
    with suppress(CodecError):
        assert isinstance(decode(kind, value, strict=False), kind)

"""Whatever a cluster says, only our own classes come out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from element_rekey import errors
from element_rekey.element.client import ElementApi
from element_rekey.element.transport import HttpAnswer, clock_offset, parse_mvip
from element_rekey.records import Registration

REGISTRATION = Registration("10.0.0.1", "admin", "password", certificate_fingerprints=("0" * 64,))
MEMBERS = st.sampled_from(
    [
        "clusterInfo",
        "uuid",
        "name",
        "mvipNodeID",
        "clusterVersion",
        "pendingClusterVersion",
        "state",
        "status",
        "masterKeyInfo",
        "keyID",
        "keyManagementType",
        "keyProviderID",
        "keyCreatedTime",
        "rekeyMasterKeyAsyncResultID",
        "asyncHandle",
        "resultType",
        "result",
        "error",
        "message",
        "newKey",
        "keyToDecommission",
        "details",
        "createTime",
        "lastUpdateTime",
        "faults",
        "code",
        "severity",
        "kmipKeyProviders",
        "keyProviderName",
        "keyServerIDs",
        "currentVersion",
        "supportedVersions",
    ]
)
VALUES = st.sampled_from(
    ["running", "complete", "enabled", "internal", "External", "RekeySoftwareEncryptionAtRestMasterKey", "12.3",
     "2026-01-02T03:04:05Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "7", 0, 10**30, 1e308]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | VALUES | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=9),
    max_leaves=20,
)
OBJECTS = st.dictionaries(MEMBERS, JSON, max_size=9)
ENVELOPES = st.fixed_dictionaries({"result": OBJECTS}) | st.fixed_dictionaries({"error": OBJECTS}) | JSON


def client(body: bytes, offset: timedelta | None) -> ElementApi:
    """A client without a wire: its transport hands out one body."""
    api = ElementApi("prod-a", REGISTRATION, refresh=lambda: REGISTRATION, clock=lambda: datetime.now(UTC))

    class Wire:
        def post(self, *_: object, **__: object) -> HttpAnswer:
            return HttpAnswer(200, body, offset)

    api._transport = Wire()  # type: ignore[assignment]  # noqa: SLF001 - sockets are too slow for thousands of answers
    return api


READS: list[Any] = [
    ElementApi.check_api_version,
    ElementApi.identity,
    ElementApi.version,
    ElementApi.encryption,
    ElementApi.faults,
    ElementApi.key_providers,
    lambda api: api.rekey_job(7),
    lambda api: api.test_key_provider(7),
]


@settings(max_examples=150, deadline=None)
@given(ENVELOPES, st.none() | st.timedeltas())
def test_any_json(document: object, offset: timedelta | None) -> None:
    api = client(json.dumps(document).encode(), offset)
    for read in READS:
        try:
            read(api)
        except errors.ElementRekeyError as error:
            assert not isinstance(error, errors.RekeyOutcomeUnknown | errors.RekeyRefused)  # noqa: PT017 - any may raise
    try:
        assert api.rekey(None, None) >= 0
    except errors.ElementRekeyError as error:
        assert type(error) is not errors.ElementRekeyError  # noqa: PT017 - it need not raise


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    try:
        client(body, None).identity()
    except errors.ClusterUnavailable:
        return
    raise AssertionError


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30)
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,3} [JFMA][a-z]{2} [0-9]{1,9} [0-9:]{1,9} [-+A-Z0-9]{1,9}")
)
def test_any_date(date: str) -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    offset = clock_offset(date, noon, noon)
    assert offset is None or isinstance(offset, timedelta)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text("[]:.0123456789abcdefx%-@/ ", max_size=30))
def test_any_mvip(mvip: str) -> None:
    try:
        host, port = parse_mvip(mvip)
    except errors.RegistrationInvalid:
        return
    assert host.isascii()
    assert 0 < port < 65536

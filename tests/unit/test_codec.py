from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.cluster import KeyManagementType, MasterKey
from element_rekey.codec import CodecError, decode, encode, json_name, shortened
from element_rekey.outcomes import Trigger
from element_rekey.records import ClusterMemory, Execution, Intent, Lock, Registration, Request, Rotation
from element_rekey.text import cut
from tests.fakes import NOW
from tests.unit.samples import failed, intent, rotated, rotation

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Sample:
    name: str
    count: int = 0
    on: bool = False
    at: datetime | None = None
    kind: KeyManagementType | None = None
    codes: tuple[str, ...] = ()
    keys: tuple[MasterKey, ...] = ()
    ratio: float = 0.0


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


HELD = {"owner": "me", "leaseUntil": "2026-11-23T03:00:00.000Z"}


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("attribute", "spelling"),
    [
        ("id", "id"),
        ("cluster", "cluster"),
        ("key_provider_id", "keyProviderID"),
        ("accept_cluster_uuid", "acceptClusterUUID"),
        ("execution_arn", "executionArn"),
        ("key_server_ids", "keyServerIDs"),
        ("key_created_after", "keyCreatedAfter"),
    ],
)
def test_members_are_spelt_as_the_element_api_spells_them(attribute: str, spelling: str) -> None:
    assert json_name(attribute) == spelling


def test_members_that_are_none_are_left_out() -> None:
    assert encode(MasterKey("k", KeyManagementType.INTERNAL)) == {"keyID": "k", "keyManagementType": "Internal"}


def test_a_time_is_written_in_utc_with_milliseconds_so_that_text_order_is_time_order() -> None:
    east = timezone(timedelta(hours=2))
    assert encode(datetime(2026, 11, 23, 5, 0, 0, 1999, tzinfo=east)) == "2026-11-23T03:00:00.001Z"


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_written_times_sort_as_times_do(one: datetime, other: datetime) -> None:
    if one <= other:
        assert encode(one) <= encode(other)
    else:
        assert encode(one) >= encode(other)


def test_what_is_shortened_keeps_its_form() -> None:
    long = "x" * 500
    whole = Request("a", reason=long, ignore_faults=("nodeOffline", long, "z"), force=True)
    short = replace(whole, reason=cut(long, 20), ignore_faults=("nodeOffline", cut(long, 20)))
    assert shortened(whole, 20, 2) == short


@pytest.mark.parametrize("value", [rotated(), failed(), Request("a", ignore_faults=("nodeOffline",))])
def test_what_is_written_can_be_read_back(value: Rotation | Request) -> None:
    text = json.dumps(encode(value))
    assert decode(type(value), json.loads(text)) == value


@given(st.builds(Request), st.builds(ClusterMemory, key_made_after=st.none()))
def test_every_request_and_memory_survives_being_written(request_: Request, memory: ClusterMemory) -> None:
    # Milliseconds are what is kept.
    again = decode(Request, encode(request_))
    assert encode(again) == encode(request_)
    assert decode(ClusterMemory, encode(memory)) == memory


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "the input: expected an object, not a list"),
        ({}, "name: missing"),
        ({"name": "a", "Count": 1}, "Count: unknown member; known are name, count, on, at, kind, codes, keys, ratio"),
        ({"name": 1}, "name: expected a string, not a number"),
        ({"name": None}, "name: expected a string, not null"),
        ({"name": "a", "count": True}, "count: expected a whole number, not true or false"),
        ({"name": "a", "count": 1.5}, "count: expected a whole number, not a number"),
        ({"name": "a", "count": Decimal("1.5")}, "count: expected a whole number, not a number"),
        ({"name": "a", "count": "1"}, "count: expected a whole number, not a string"),
        ({"name": "a", "ratio": True}, "ratio: expected a number, not true or false"),
        ({"name": "a", "ratio": "1"}, "ratio: expected a number, not a string"),
        ({"name": "a", "ratio": 10**400}, "ratio: expected a number of at most 308 digits"),
        ({"name": "\ud800"}, "name: expected characters of Unicode"),
        ({"name": "a", "at": "9999-12-31T23:59:59Z"}, "at: expected a time from 2000 until 2100"),
        ({"name": "a", "on": 1}, "on: expected true or false, not a number"),
        ({"name": "a", "at": "soon"}, "at: expected a time such as 2026-11-23T03:00:00Z"),
        ({"name": "a", "at": 3}, "at: expected a time such as 2026-11-23T03:00:00Z"),
        (
            {"name": "a", "at": "2026-11-23T03:00:00"},
            "at: expected a time such as 2026-11-23T03:00:00Z, with its time zone",
        ),
        ({"name": "a", "at": "0001-01-01T00:00:00+14:00"}, "at: expected a time such as 2026-11-23T03:00:00Z"),
        ({"name": "a", "kind": "other"}, "kind: expected one of Internal, External, not a string"),
        ({"name": "a", "kind": {}}, "kind: expected one of Internal, External, not an object"),
        ({"name": "a", "codes": "b"}, "codes: expected a list, not a string"),
        ({"name": "a", "codes": ["b", 2]}, "codes[1]: expected a string, not a number"),
        ({"name": "a", "keys": [{"keyManagementType": "Internal"}]}, "keys[0].keyID: missing"),
        (
            {"name": "a", "keys": [{"keyID": "k", "keyManagementType": "Internal", "x": 1}]},
            "keys[0].x: unknown member; known are keyID, keyManagementType, keyProviderID, keyCreatedTime",
        ),
    ],
)
def test_a_wrong_member_is_refused_by_its_path(value: object, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(Sample, value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": "a", "count": Decimal(3)}, Sample("a", 3)),
        ({"name": "a", "on": True, "at": None}, Sample("a", on=True)),
        ({"name": "a", "kind": "EXTERNAL"}, Sample("a", kind=KeyManagementType.EXTERNAL)),
        ({"name": "a", "at": "2026-11-23T05:00:00+02:00"}, Sample("a", at=NOW)),
        ({"name": "a", "ratio": 1}, Sample("a", ratio=1.0)),
        ({"name": "a", "ratio": 1.5}, Sample("a", ratio=1.5)),
        ({"name": "a", "codes": ["b", "c"]}, Sample("a", codes=("b", "c"))),
    ],
)
def test_what_fits_is_taken(value: object, expected: Sample) -> None:
    assert decode(Sample, value) == expected


def test_an_absent_member_that_may_be_none_is_none_even_without_a_default() -> None:
    bare = Intent("uuid", MasterKey("k", KeyManagementType.INTERNAL), None, NOW)
    assert "baselineAsyncResultID" not in encode(bare)
    assert decode(Intent, encode(bare)) == bare


def test_records_of_a_later_version_may_carry_more_at_any_depth() -> None:
    record = {"name": "a", "later": 1, "keys": [{"keyID": "k", "keyManagementType": "Internal", "later": 2}]}
    assert decode(Sample, record, strict=False) == Sample("a", keys=(MasterKey("k", KeyManagementType.INTERNAL),))


def test_records_of_an_earlier_version_may_hold_times_nobody_can_mean() -> None:
    record = {"name": "a", "at": "0001-01-01T00:00:00Z"}
    assert decode(Sample, record, strict=False) == Sample("a", at=datetime(1, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("secret", ["s3cret", 12345678, ["s3cret"], {"s3cret": "s3cret"}])
def test_a_refusal_never_quotes_the_value_which_may_be_a_secret(secret: object) -> None:
    with pytest.raises(CodecError) as caught:
        decode(Registration, {"mvip": "a", "username": "u", "password": "p", "caBundle": secret, "apiVersion": 1})
    assert "s3cret" not in str(caught.value)
    assert "12345678" not in str(caught.value)


@given(st.sampled_from([Request, Execution, Registration, Rotation]), JSON)
def test_any_json_is_read_or_refused_and_never_breaks_the_reader(cls: type, value: object) -> None:
    try:
        decode(cls, value)
    except CodecError as error:
        assert str(error)  # noqa: PT017 - both ends are right


def test_a_word_of_an_enumeration_is_taken_in_any_case() -> None:
    assert decode(Request, {"cluster": "a", "trigger": "Alarm"}).trigger is Trigger.ALARM


@pytest.mark.usefixtures("in_tokyo")
def test_times_are_of_utc_wherever_this_runs() -> None:
    assert encode(Lock("me", NOW)) == HELD
    assert decode(Lock, HELD).lease_until.utcoffset() == timedelta(0)


def test_an_unknown_member_is_refused_in_an_optional_object_too() -> None:
    record = encode(rotation(intent=intent()))
    record["intent"]["later"] = 1
    with pytest.raises(CodecError, match=r"^intent\.later: unknown member"):
        decode(Rotation, record)
    assert decode(Rotation, record, strict=False) == rotation(intent=intent())

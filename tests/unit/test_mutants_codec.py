"""What changes to the codec went unnoticed by its own tests: docs/mutation.md."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey.codec import CodecError, decode, encode
from element_rekey.records import Lock, Rotation
from tests.fakes import NOW
from tests.unit.samples import intent, rotation

if TYPE_CHECKING:
    from collections.abc import Iterator

HELD = {"owner": "me", "leaseUntil": "2026-11-23T03:00:00.000Z"}


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


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

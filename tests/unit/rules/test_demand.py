from __future__ import annotations

from datetime import timedelta

import pytest

from element_rekey.cluster import KeyManagementType, MasterKey
from element_rekey.errors import RequestInvalid
from element_rekey.outcomes import Trigger
from element_rekey.records import Request
from element_rekey.rules.demand import CLOCK_TOLERANCE, demand_of
from tests.fakes import NOW
from tests.unit.samples import DAY, HOUR, MINUTE, OLD, demand, external


def test_by_hand_the_key_has_to_be_made_after_the_execution_began() -> None:
    asked = demand_of(Request("prod-a"), NOW)
    assert asked.made_after == NOW
    assert not asked.needs_age
    assert not asked.urgent
    assert asked.cool_down == timedelta()


def test_what_a_person_asks_for_is_not_refused_because_nobody_knows_how_old_the_key_is() -> None:
    """Also where it is a part of a run, whose begin is the moment after which the key has to be made."""
    asked = demand_of(Request("prod-a", key_created_after=NOW - HOUR), NOW)
    assert asked.made_after == NOW - HOUR
    assert not asked.needs_age


def test_an_emergency_is_not_refused_because_nobody_knows_how_old_the_key_is() -> None:
    assert not demand_of(Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - HOUR), NOW).needs_age


def test_a_schedule_demands_a_key_of_an_age_and_so_needs_to_know_it() -> None:
    asked = demand_of(Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - 90 * DAY), NOW)
    assert asked.made_after == NOW - 90 * DAY
    assert asked.needs_age
    assert not asked.urgent


def test_an_alarm_is_urgent_and_keeps_its_cool_down() -> None:
    request = Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - HOUR, cool_down_seconds=3600)
    asked = demand_of(request, NOW)
    assert (asked.made_after, asked.urgent, asked.cool_down) == (NOW - HOUR, True, HOUR)


def test_force_overrides_the_cool_down_and_an_unknown_age() -> None:
    request = Request("prod-a", force=True, reason="audit", key_created_after=NOW - DAY, cool_down_seconds=3600)
    asked = demand_of(request, NOW)
    assert asked.cool_down == timedelta()
    assert not asked.needs_age


def test_the_rest_of_a_request_reaches_the_demand() -> None:
    request = Request(
        "prod-a",
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
        ignore_faults=("nodeOffline",),
        accept_cluster_uuid="new",
    )
    asked = demand_of(request, NOW)
    assert (asked.key_management_type, asked.key_provider_id) == (KeyManagementType.EXTERNAL, 15)
    assert asked.ignore_faults == {"nodeOffline"}
    assert asked.accept_cluster_uuid == "new"


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_key_from_the_future_cannot_be_demanded(trigger: Trigger) -> None:
    request = Request("prod-a", trigger=trigger, key_created_after=NOW + CLOCK_TOLERANCE + timedelta(milliseconds=1))
    with pytest.raises(RequestInvalid, match="keyCreatedAfter: expected a time that is not in the future") as caught:
        demand_of(request, NOW)
    assert caught.value.cluster == "prod-a"


def test_a_key_made_when_another_clock_is_a_little_ahead_can_be_demanded() -> None:
    assert CLOCK_TOLERANCE == 5 * MINUTE
    request = Request("prod-a", key_created_after=NOW + CLOCK_TOLERANCE)
    assert demand_of(request, NOW).made_after == NOW + CLOCK_TOLERANCE


@pytest.mark.parametrize(
    ("kind", "provider", "current", "fits"),
    [
        (None, None, OLD, True),
        (None, None, external(), True),
        (KeyManagementType.INTERNAL, None, OLD, True),
        (KeyManagementType.INTERNAL, None, external(), False),
        (KeyManagementType.EXTERNAL, 15, external(provider=15), True),
        (KeyManagementType.EXTERNAL, 15, external(provider=16), False),
        (KeyManagementType.EXTERNAL, 15, OLD, False),
        (None, None, MasterKey("key-0", None), True),
        (KeyManagementType.INTERNAL, None, MasterKey("key-0", None), None),
        (KeyManagementType.EXTERNAL, 15, MasterKey("key-0", KeyManagementType.EXTERNAL), None),
    ],
)
def test_a_key_is_of_the_kind_asked_for_by_type_and_provider(
    kind: KeyManagementType | None, provider: int | None, current: MasterKey, *, fits: bool | None
) -> None:
    assert demand(key_management_type=kind, key_provider_id=provider).of_kind(current) is fits

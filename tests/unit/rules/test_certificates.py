from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.cluster import Certificate, CertificateOf
from element_rekey.records import ClusterMemory
from element_rekey.rules.certificates import (
    NOTICE_DAYS,
    ExpiringCertificate,
    certificates_expiring,
    days_left,
    of_key_servers,
    soonest,
)
from tests.fakes import NOW
from tests.unit.samples import DAY, SECOND


def ending(left: timedelta | None, of: CertificateOf = CertificateOf.CLUSTER, name: str = "aa") -> Certificate:
    return Certificate(of, name, None if left is None else NOW + left)


@pytest.mark.parametrize(
    ("left", "days"),
    [(DAY, 1), (DAY - SECOND, 0), (timedelta(), 0), (-SECOND, -1), (-DAY, -1), (400 * DAY, 400), (None, None)],
)
def test_days_left_are_whole_ones(left: timedelta | None, days: int | None) -> None:
    assert days_left(ending(left), NOW) == days


@pytest.mark.parametrize(
    ("left", "stage"),
    [
        (90 * DAY, None),
        (90 * DAY - SECOND, 90),
        (60 * DAY, 90),
        (60 * DAY - SECOND, 60),
        (30 * DAY, 60),
        (30 * DAY - SECOND, 30),
        (-400 * DAY, 30),
        (None, None),
    ],
)
def test_a_notice_is_due_at_90_60_and_30_days(left: timedelta | None, stage: int | None) -> None:
    found = certificates_expiring([ending(left)], NOW)
    assert [one.notice_days for one in found] == ([] if stage is None else [stage])


def test_the_first_to_end_comes_first() -> None:
    certificates = [ending(80 * DAY), ending(2 * DAY, name="bb"), ending(900 * DAY), ending(40 * DAY, name="cc")]
    assert certificates_expiring(certificates, NOW) == (
        ExpiringCertificate(certificates[1], 2, 30),
        ExpiringCertificate(certificates[3], 40, 60),
        ExpiringCertificate(certificates[0], 80, 90),
    )


@given(st.integers(-100, 200), st.sampled_from([None, 30, 60, 90]))
def test_what_was_told_at_its_stage_is_not_told_again_and_each_stage_is_told(days: int, told: int | None) -> None:
    one = ending(days * DAY)
    due = certificates_expiring([one], NOW, {} if told is None else {one.fingerprint: told, "another": 30})
    stage = next((found.notice_days for found in certificates_expiring([one], NOW)), None)
    assert bool(due) is (stage is not None and (told is None or stage < told))


def test_looked_at_every_day_a_certificate_is_told_of_three_times() -> None:
    told: dict[str, int] = {}
    days = []
    for day in range(200):
        for found in certificates_expiring([ending(150 * DAY)], NOW + day * DAY + SECOND, told):
            told[found.certificate.fingerprint] = found.notice_days
            days.append(found.days_left)
    assert days == [89, 59, 29]
    assert NOTICE_DAYS == (90, 60, 30)


def test_a_new_certificate_in_the_place_of_one_that_was_told_begins_anew() -> None:
    assert certificates_expiring([ending(80 * DAY, name="new")], NOW, {"old": 30})


def test_the_clusters_own_certificate_is_kept_apart_from_those_of_its_key_servers() -> None:
    own = ending(70 * DAY)
    others = (
        ending(9 * DAY, CertificateOf.KEY_SERVER),
        ending(8 * DAY, CertificateOf.KEY_SERVER_CLIENT),
        ending(None, CertificateOf.KEY_SERVER),
    )
    seen = (own, *others)
    assert soonest(seen, NOW, of_cluster=True) == 70
    assert soonest(seen, NOW, of_cluster=False) == 8
    assert soonest([own], NOW, of_cluster=False) is None
    assert of_key_servers(ClusterMemory("u", certificates=seen)) == others
    assert of_key_servers(ClusterMemory("u")) == of_key_servers(None) == ()

"""What is published of an urgent rotation before its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from element_rekey.errors import (
    AnswerNotUnderstood,
    AwsCallFailed,
    ClusterUnavailable,
    CredentialsRefused,
    ElementRekeyError,
    LedgerConflict,
    PermissionDenied,
    RekeyOutcomeUnknown,
)
from element_rekey.outcomes import NoticeKind, Trigger
from element_rekey.records import Request
from element_rekey.rotation.steps import Status
from tests.fakes import NOW
from tests.unit.harness import RotationHarness
from tests.unit.samples import (
    ARN,
    HOUR,
    key,
)


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


def urgent(**changes: Any) -> Request:  # noqa: ANN401 - members of Request
    return replace(Request("prod-a", trigger=Trigger.ALARM, reason="alarm x", key_created_after=NOW), **changes)


def test_an_urgent_rotation_is_published_when_it_is_under_way_and_once(harness: RotationHarness) -> None:
    harness.request = urgent()
    harness.start()
    harness.start()
    assert harness.topic.notices == [(ARN, NoticeKind.BEGAN, "Replacing key key-0.")]
    assert harness.record().notices == (NoticeKind.BEGAN,)


def test_an_urgent_rotation_that_cools_down_is_published_at_once(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-0", NOW - HOUR)
    harness.request = urgent(cool_down_seconds=7200)
    harness.run()
    assert [kind for _, kind, _ in harness.topic.notices] == [NoticeKind.COOLING_DOWN, NoticeKind.BEGAN]
    assert "cooling down until 2026-11-23 04:00:00 UTC" in harness.topic.notices[0][2]


@pytest.mark.parametrize(
    "error", [AnswerNotUnderstood, ClusterUnavailable, PermissionDenied, AwsCallFailed, RekeyOutcomeUnknown]
)
def test_an_urgent_rotation_that_is_retried_is_published_with_the_reason_once(
    harness: RotationHarness, error: type[ElementRekeyError]
) -> None:
    harness.request = urgent()
    harness.cluster.failing["version"] = [error("It did not answer."), error("It did not answer again.")]
    for _ in range(2):
        with pytest.raises(error):
            harness.start()
    ((_, kind, detail),) = harness.topic.notices
    assert kind is NoticeKind.RETRYING
    assert detail.startswith("It did not answer. Next: ")
    assert harness.start().status is Status.CHECK_AGAIN


def test_an_error_after_the_rekey_is_followed_is_no_notice_that_it_has_not_begun(
    harness: RotationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.request = urgent()
    harness.start()

    def away(*_: object) -> None:
        raise AwsCallFailed("DynamoDB did not write.")

    monkeypatch.setattr(harness.ledger, "take_lock", away)
    with pytest.raises(AwsCallFailed):
        harness.start()
    assert [kind for _, kind, _ in harness.topic.notices] == [NoticeKind.BEGAN]


@pytest.mark.parametrize("error", [CredentialsRefused, LedgerConflict])
def test_an_error_that_ends_the_execution_or_passes_at_once_is_no_notice(
    harness: RotationHarness, error: type[ElementRekeyError]
) -> None:
    harness.request = urgent()
    harness.cluster.failing["version"] = [error("No.")]
    with pytest.raises(error):
        harness.start()
    assert harness.topic.notices == []


@pytest.mark.parametrize("request_", [Request("prod-a"), urgent(dry_run=True)], ids=["by hand", "dry run"])
def test_only_urgent_rotations_are_published_before_their_end(harness: RotationHarness, request_: Request) -> None:
    harness.request = request_
    harness.cluster.failing["version"] = [ClusterUnavailable("It did not answer.")]
    with pytest.raises(ClusterUnavailable):
        harness.start()
    harness.start()
    assert harness.topic.notices == []


def test_a_notice_that_fails_stops_nothing_and_is_tried_again(harness: RotationHarness) -> None:
    harness.request = urgent()
    harness.topic.failures = 1
    assert harness.start().status is Status.CHECK_AGAIN
    assert (harness.topic.notices, harness.record().notices) == ([], ())
    harness.start()
    assert len(harness.topic.notices) == 1


def test_a_retry_after_which_the_ledger_is_away_raises_what_was_wrong_with_the_cluster(
    harness: RotationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.request = urgent()

    def away(*_: object) -> None:
        raise AwsCallFailed("DynamoDB did not read.")

    harness.cluster.failing["version"] = [ClusterUnavailable("It did not answer.")]
    harness.cluster.before["version"] = lambda: monkeypatch.setattr(harness.ledger, "rotation", away)
    with pytest.raises(ClusterUnavailable):
        harness.start()
    assert harness.topic.notices == []

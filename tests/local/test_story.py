from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from local.cost import Cost
from local.story import Beat, Story

START = datetime(2026, 1, 1, tzinfo=UTC)


def events(*parts: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A history: each event a second after the one before."""
    return [
        {"id": number, "type": kind, "timestamp": START + timedelta(seconds=number - 1), **details}
        for number, (kind, details) in enumerate(parts, start=1)
    ]


def entered(kind: str, name: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"{kind}StateEntered", {"stateEnteredEventDetails": {"name": name, "input": json.dumps(state)}}


def answered(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "TaskSucceeded", {"taskSucceededEventDetails": {"output": json.dumps({"Payload": payload})}}


SCHEDULED: tuple[str, dict[str, Any]] = ("TaskScheduled", {})
FAILED = (
    "TaskFailed",
    {"taskFailedEventDetails": {"error": "ClusterUnavailable", "cause": json.dumps({"errorMessage": "no answer"})}},
)


def test_each_step_is_told_once_with_its_time() -> None:
    history = events(
        ("ExecutionStarted", {}),
        entered("Task", "StartRekey", {}),
        SCHEDULED,
        answered({"rotation": {"status": "running", "detail": "Replacing key 1."}}),
        entered("Wait", "WaitForRekey", {"rotation": {"waitSeconds": 5}}),
    )
    story = Story()
    assert list(story.hear(history[:3])) == []
    assert list(story.hear(history)) == [Beat(3.0, "StartRekey", "Replacing key 1.")]
    assert list(story.hear(history)) == []
    assert (story.state, story.waiting, story.transitions) == ("WaitForRekey", 5, 2)


def test_polls_are_counted_in_words() -> None:
    history = events(entered("Task", "CheckStatus", {}), answered({"rotation": {"polls": 2, "detail": "Rewrapping"}}))
    assert [beat.text for beat in Story().hear(history)] == ["poll 2: Rewrapping"]


def test_retries_are_trouble_and_are_billed() -> None:
    history = events(entered("Task", "StartRekey", {}), SCHEDULED, FAILED, SCHEDULED, FAILED, SCHEDULED)
    story = Story()
    told = list(story.hear(history))
    assert [(beat.text, beat.trouble) for beat in told] == [("ClusterUnavailable: no answer", True)] * 2
    assert story.transitions == 3


def test_causes_that_are_no_json_are_told_as_they_are_and_long_ones_are_cut() -> None:
    history = events(("TaskFailed", {"taskFailedEventDetails": {"error": "States.Timeout", "cause": "x" * 1000}}))
    (beat,) = Story().hear(history)
    assert beat.text.startswith("States.Timeout: xxx")
    assert len(beat.text) == 160


def test_endings() -> None:
    ended = events(
        ("ExecutionSucceeded", {}), ("ExecutionFailed", {"executionFailedEventDetails": {"error": "RekeyFailed"}})
    )
    assert [(beat.text, beat.trouble) for beat in Story().hear(ended)] == [
        ("execution succeeded", False),
        ("execution failed with RekeyFailed", True),
    ]


def test_outcome_is_told_by_its_headline() -> None:
    history = events(answered({"outcome": {"outcome": "Rotated", "headline": "master key replaced"}}))
    assert [beat.text for beat in Story().hear(history)] == ["Rotated: master key replaced"]


def test_cost_is_the_sum_of_what_it_names() -> None:
    cost = Cost(transitions=1000, invocations=1_000_000, gigabyte_seconds=1000.0)
    assert round(cost.dollars, 6) == round(0.025 + 0.20 + 0.0133334, 6)
    assert str(cost).startswith("$0.23833 = 1000 transitions")

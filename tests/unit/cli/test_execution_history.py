from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from element_rekey_cli.execution_history import ExecutionHistory, HistoryEvent
from local.cost import Cost

START = datetime(2026, 1, 1, tzinfo=UTC)


def events(*parts: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of an execution as AWS lists them: each a second after the one before."""
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


def test_each_step_is_read_once_with_its_time() -> None:
    listed = events(
        ("ExecutionStarted", {}),
        entered("Task", "StartRekey", {}),
        SCHEDULED,
        answered({"rotation": {"status": "running", "detail": "Replacing key 1."}}),
        entered("Wait", "WaitForRekey", {"rotation": {"waitSeconds": 5}}),
    )
    history = ExecutionHistory()
    assert list(history.read(listed[:3])) == []
    assert list(history.read(listed)) == [HistoryEvent(3.0, "StartRekey", "Replacing key 1.")]
    assert list(history.read(listed)) == []
    assert (history.state, history.waiting, history.transitions) == ("WaitForRekey", 5, 2)


def test_polls_are_counted_in_words() -> None:
    listed = events(entered("Task", "CheckStatus", {}), answered({"rotation": {"polls": 2, "detail": "Rewrapping"}}))
    assert [event.text for event in ExecutionHistory().read(listed)] == ["poll 2: Rewrapping"]


def test_retries_are_errors_and_are_billed() -> None:
    listed = events(entered("Task", "StartRekey", {}), SCHEDULED, FAILED, SCHEDULED, FAILED, SCHEDULED)
    history = ExecutionHistory()
    found = list(history.read(listed))
    assert [(event.text, event.is_error) for event in found] == [("ClusterUnavailable: no answer", True)] * 2
    assert history.transitions == 3


def test_causes_that_are_no_json_are_shown_as_they_are_and_long_ones_are_cut() -> None:
    listed = events(("TaskFailed", {"taskFailedEventDetails": {"error": "States.Timeout", "cause": "x" * 1000}}))
    (event,) = ExecutionHistory().read(listed)
    assert event.text.startswith("States.Timeout: xxx")
    assert len(event.text) == 160


def test_endings() -> None:
    ended = events(
        ("ExecutionSucceeded", {}), ("ExecutionFailed", {"executionFailedEventDetails": {"error": "RekeyFailed"}})
    )
    assert [(event.text, event.is_error) for event in ExecutionHistory().read(ended)] == [
        ("execution succeeded", False),
        ("execution failed with RekeyFailed", True),
    ]


def test_outcome_is_shown_by_its_headline() -> None:
    listed = events(answered({"outcome": {"outcome": "Rotated", "headline": "master key replaced"}}))
    assert [event.text for event in ExecutionHistory().read(listed)] == ["Rotated: master key replaced"]


def test_cost_is_the_sum_of_what_it_names() -> None:
    cost = Cost(transitions=1000, invocations=1_000_000, gigabyte_seconds=1000.0)
    assert round(cost.dollars, 6) == round(0.025 + 0.20 + 0.0133334, 6)
    assert str(cost).startswith("$0.23833 = 1000 transitions")

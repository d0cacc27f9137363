from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from element_rekey.aws import telemetry
from element_rekey.aws.telemetry import log_outcome, log_selection, log_step, measure_fleet, measure_outcome
from element_rekey.outcomes import Outcome
from element_rekey.records import (
    ClusterResult,
    Execution,
    Failure,
    FleetRequest,
    FleetRun,
    Following,
    NotSelected,
    Selected,
)
from element_rekey.rotation.steps import Status, Step
from tests.fakes import NOW
from tests.unit.samples import DAY, failed, following, key, rotated, rotation

RUN = FleetRun(Execution("fleet-arn", NOW), FleetRequest(), selected=(Selected("a", "a-1", NOW),))
AFTER = [ClusterResult(RUN.selected[0], rotated(current_key=key(made=NOW - 10 * DAY)))]
INCOMPLETE = Failure("FleetIncomplete", "Not as they should be: b.", "Look.")


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "element-rekey")
    monkeypatch.setattr(telemetry.metrics.provider, "service", "element-rekey")


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[set[str], dict[str, float]]]:
    """What was emitted: by metric its dimensions and the line's values."""
    found: dict[str, tuple[set[str], dict[str, float]]] = {}
    for line in capsys.readouterr().out.splitlines():
        document = json.loads(line)
        if "_aws" not in document:
            continue
        (directive,) = document["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "ElementRekey"
        assert document["service"] == "element-rekey"
        (dimensions,) = directive["Dimensions"]
        for metric in directive["Metrics"]:
            (value,) = document[metric["Name"]]
            found[metric["Name"]] = set(dimensions), {"value": value, **{name: document[name] for name in dimensions}}
    return found


def logged(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    (record,) = caplog.records
    return vars(record) | {"message": record.getMessage()}


def test_a_verified_rotation_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    measure_outcome(rotated(), NOW + DAY)
    found = metrics(capsys)
    outcome = {"service", "Outcome"}
    assert {name: dimensions for name, (dimensions, _) in found.items()} == {
        "Rotations": outcome,
        "Polls": outcome,
        "DetectionLag": outcome,
        "RekeyDuration": outcome,
        "KeyAgeDays": {"service", "Cluster"},
    }
    values = {name: value["value"] for name, (_, value) in found.items()}
    assert values == {"Rotations": 1, "Polls": 3, "DetectionLag": 12, "RekeyDuration": 120, "KeyAgeDays": 1.0}
    assert found["Rotations"][1]["Outcome"] == "Rotated"  # type: ignore[comparison-overlap]
    assert found["KeyAgeDays"][1]["Cluster"] == "prod-a"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_counted_under_its_own_name(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    measure_outcome(replace(failed(outcome=outcome), current_key=None), NOW)
    found = metrics(capsys)
    assert list(found) == ["Rotations"]
    assert found["Rotations"][1]["Outcome"] == outcome  # type: ignore[comparison-overlap]


def test_a_rotation_without_an_outcome_counts_as_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    measure_outcome(rotation(), NOW)
    assert metrics(capsys)["Rotations"][1]["Outcome"] == "OutcomeUnknown"  # type: ignore[comparison-overlap]


def test_a_key_without_a_time_has_no_age(capsys: pytest.CaptureFixture[str]) -> None:
    measure_outcome(rotated(current_key=key(made=None)), NOW)
    assert "KeyAgeDays" not in metrics(capsys)


def test_a_clock_that_runs_ahead_makes_no_negative_age_and_no_negative_lag(capsys: pytest.CaptureFixture[str]) -> None:
    change = rotated().change
    assert change
    early = replace(change, detected_at=change.finished_at - timedelta(seconds=1), job_seconds=None)
    measure_outcome(rotated(change=early), NOW)
    found = metrics(capsys)
    assert found["KeyAgeDays"][1]["value"] == found["DetectionLag"][1]["value"] == 0
    assert found["RekeyDuration"][1]["value"] == 0


def test_one_measurement_leaves_nothing_behind_for_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    measure_outcome(rotated(), NOW)
    metrics(capsys)
    measure_fleet(RUN, AFTER, NOW)
    assert {name: dimensions for name, (dimensions, _) in metrics(capsys).items()} == {
        "FleetRunsFailed": {"service"},
        "OldestKeyAgeDays": {"service"},
    }


def test_a_run_over_the_whole_fleet_measures_the_oldest_key(capsys: pytest.CaptureFixture[str]) -> None:
    measure_fleet(RUN, AFTER, NOW)
    values = {name: value["value"] for name, (_, value) in metrics(capsys).items()}
    assert values == {"FleetRunsFailed": 0, "OldestKeyAgeDays": 10.0}


@pytest.mark.parametrize(
    ("run", "after"),
    [
        (replace(RUN, request=FleetRequest(clusters=("a",))), AFTER),
        (replace(RUN, request=None), AFTER),
        (RUN, [ClusterResult(RUN.selected[0], None)]),
    ],
    ids=["a part of the fleet", "no valid request", "no cluster answered"],
)
def test_anything_less_says_nothing_of_the_oldest_key(
    run: FleetRun, after: list[ClusterResult], capsys: pytest.CaptureFixture[str]
) -> None:
    measure_fleet(replace(run, failure=INCOMPLETE), after, NOW)
    assert {name: value["value"] for name, (_, value) in metrics(capsys).items()} == {"FleetRunsFailed": 1}


def test_the_log_says_how_a_run_ended(caplog: pytest.LogCaptureFixture) -> None:
    measure_fleet(replace(RUN, failure=INCOMPLETE), AFTER, NOW)
    line = logged(caplog)
    assert line["message"] == "fleet ended"
    assert (line["execution"], line["counts"], line["succeeded"]) == ("fleet-arn", {"Rotated": 1}, False)


def test_the_log_says_what_was_selected_and_names_what_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    log_selection(replace(RUN, not_selected=(NotSelected("b", "RegistrationInvalid", "Tag"),)))
    line = logged(caplog)
    assert (line["message"], line["execution"], line["clusters"]) == ("fleet selected", "fleet-arn", 1)
    assert line["refused"] == [{"cluster": "b", "error": "RegistrationInvalid", "cause": "Tag"}]


@pytest.mark.parametrize(("follows", "handle"), [(following(), 7), (None, None)])
def test_the_log_says_where_a_rotation_stands(
    follows: Following | None, handle: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    log_step(Step(Status.CHECK_AGAIN, rotation(following=follows, polls=2, detail="Waiting."), 30))
    line = logged(caplog)
    assert line["message"] == "rotation stands"
    assert (line["cluster"], line["status"], line["detail"], line["polls"]) == ("prod-a", "running", "Waiting.", 2)
    assert (line["asyncHandle"], line["waitSeconds"]) == (handle, 30)


def test_the_log_says_how_a_rotation_ended(caplog: pytest.LogCaptureFixture) -> None:
    log_outcome(failed())
    line = logged(caplog)
    assert (line["message"], line["cluster"], line["outcome"]) == ("rotation ended", "prod-a", "Failed")
    assert line["failure"]["error"] == "RekeyFailed"

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.aws import telemetry
from element_rekey.aws.telemetry import log_outcome, log_selection, log_step, measure_fleet, measure_outcome
from element_rekey.cluster import Unfamiliar
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    ClusterResult,
    Execution,
    Failure,
    FleetReadiness,
    FleetRequest,
    FleetRun,
    Following,
    NotSelected,
    OutsideChange,
    Selected,
)
from element_rekey.rotation.steps import Status, Step
from tests.fakes import NOW
from tests.unit.samples import ARN, DAY, MINUTE, change, execution, failed, following, key, rotated, rotation

if TYPE_CHECKING:
    from element_rekey.cluster import MasterKey


ENDED = NOW + 4 * MINUTE


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where the one Logger writes; it took the standard output for itself when it was made."""
    written = io.StringIO()
    monkeypatch.setattr(telemetry.logger.registered_handler, "stream", written)
    return written


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def values(line: dict[str, Any]) -> dict[str, object]:
    """What a line of metrics measures, without what Powertools wraps it in."""
    measured = {name for group in line["_aws"]["CloudWatchMetrics"] for name in (m["Name"] for m in group["Metrics"])}
    return {name: line[name][0] if isinstance(line[name], list) else line[name] for name in measured}


def only(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (line,) = lines(capsys)
    return line


def logged(log: io.StringIO) -> dict[str, Any]:
    (line,) = log.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


RUN = FleetRun(execution(), FleetRequest(), selected=(Selected("prod-a", "prod-a-1", NOW),), ended_at=ENDED)
AFTER = (ClusterResult(RUN.selected[0], rotated(current_key=key(made=NOW - 10 * DAY))),)
FLEET_RUN = FleetRun(Execution("fleet-arn", NOW), FleetRequest(), selected=(Selected("a", "a-1", NOW),))
FLEET_RESULTS = [ClusterResult(FLEET_RUN.selected[0], rotated(current_key=key(made=NOW - 10 * DAY)))]
INCOMPLETE = Failure("FleetIncomplete", "Not as they should be: b.", "Look.")


@pytest.fixture(autouse=True)
def service_name(monkeypatch: pytest.MonkeyPatch) -> None:
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


def fields(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    (record,) = caplog.records
    return vars(record) | {"message": record.getMessage()}


def test_the_hours_of_a_schedule_are_counted_while_it_is_on(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure_schedules(rotates=False, looks=False)
    assert metrics(capsys) == {}
    for rotates, looks, expected in (
        (True, False, {"HoursScheduled"}),
        (False, True, {"HoursWatched"}),
        (True, True, {"HoursScheduled", "HoursWatched"}),
    ):
        telemetry.measure_schedules(rotates=rotates, looks=looks)
        found = metrics(capsys)
        assert found.keys() == expected
        assert all((dimensions, values["value"]) == ({"service"}, 1) for dimensions, values in found.values())


LOOKS = FleetRequest(trigger=Trigger.READINESS, dry_run=True)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (replace(FLEET_RUN, request=LOOKS, readiness=FleetReadiness(2)), {"ClustersNotReady", "ClustersUnseen"}),
        (replace(FLEET_RUN, request=LOOKS, selected=(), readiness=FleetReadiness(2)), {"ClustersNotReady"}),
        (replace(FLEET_RUN, request=replace(LOOKS, clusters=("a",)), readiness=FleetReadiness(2)), set[str]()),
        (
            replace(FLEET_RUN, request=FleetRequest(trigger=Trigger.SCHEDULE), readiness=FleetReadiness(2)),
            {"ClustersNotReady", "ClustersUnseen", "OldestKeyAgeDays"},
        ),
        (FLEET_RUN, {"ClustersUnseen", "OldestKeyAgeDays"}),
    ],
)
def test_a_look_measures_who_is_not_ready_and_leaves_the_oldest_key_to_runs_that_rotate(
    capsys: pytest.CaptureFixture[str], run: FleetRun, expected: set[str]
) -> None:
    """A look that goes on while the schedule has stopped must not hide that."""
    telemetry.measure_fleet(run, FLEET_RESULTS if run.selected else [], NOW)
    found = metrics(capsys)
    assert found.keys() == expected | {"FleetRunsFailed"}
    if run.readiness and "ClustersNotReady" in expected:
        assert found["ClustersNotReady"][1]["value"] == 2


def test_a_step_is_one_line_on_where_the_rotation_stands(log: io.StringIO) -> None:
    telemetry.log_step(Step(Status.CHECK_AGAIN, rotation(following=following(), polls=2, detail="Rewrap"), 15))
    line = logged(log)
    assert line["message"] == "rotation stands"
    expected = {
        "cluster": "prod-a",
        "execution": ARN,
        "status": "running",
        "detail": "Rewrap",
        "asyncHandle": 7,
        "polls": 2,
        "waitSeconds": 15,
    }
    assert {name: line[name] for name in expected} == expected


def test_a_step_that_follows_nothing_has_no_handle(log: io.StringIO) -> None:
    telemetry.log_step(Step(Status.START_AGAIN, rotation()))
    assert logged(log).get("asyncHandle") is None


def test_an_outcome_is_one_line_with_its_failure(log: io.StringIO) -> None:
    telemetry.log_outcome(failed())
    line = logged(log)
    assert (line["message"], line["outcome"], line["cluster"]) == ("rotation ended", "Failed", "prod-a")
    assert line["failure"]["error"] == "RekeyFailed"


def test_what_was_not_understood_is_in_the_log(log: io.StringIO) -> None:
    odd = rotation(unfamiliar=(Unfamiliar("GetAsyncResult.result", '"Done."'),))
    shown = [{"member": "GetAsyncResult.result", "value": '"Done."'}]
    telemetry.log_step(Step(Status.CHECK_AGAIN, odd))
    assert logged(log)["unfamiliar"] == shown


def test_what_was_not_understood_is_in_the_last_line_of_a_rotation(log: io.StringIO) -> None:
    telemetry.log_outcome(failed(unfamiliar=(Unfamiliar("GetAsyncResult.result", "5"),)))
    assert logged(log)["unfamiliar"] == [{"member": "GetAsyncResult.result", "value": "5"}]


def test_a_rotation_is_counted_by_outcome_and_its_rekey_measured(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure_outcome(rotated(), ENDED)
    age, counted = sorted(lines(capsys), key=lambda line: "Rotations" in line)
    assert counted["Outcome"] == "Rotated"
    assert values(counted) == {"Rotations": 1.0, "Polls": 3.0, "DetectionLag": 12.0, "RekeyDuration": 120.0}
    assert age["Cluster"] == "prod-a"
    assert values(age) == {"KeyAgeDays": 0.0}


def test_the_namespace_is_the_codes_own_and_none_the_environment_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "SomebodyElse")
    telemetry.measure_outcome(rotated(), ENDED)
    telemetry.measure_fleet(RUN, AFTER, NOW)
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE")
    telemetry.measure_outcome(rotated(), ENDED)
    telemetry.measure_fleet(RUN, AFTER, NOW)
    measured = [group for line in lines(capsys) if "_aws" in line for group in line["_aws"]["CloudWatchMetrics"]]
    assert len(measured) == 6
    assert {group["Namespace"] for group in measured} == {telemetry.NAMESPACE} == {"ElementRekey"}


def test_each_change_that_nothing_explains_is_counted_for_the_alarm_and_logged(
    log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    one = OutsideChange("key-0", key("key-9", None), NOW - DAY, NOW)
    telemetry.measure_outcome(rotated(current_key=None, outside=(one, one)), ENDED)
    counted = [line for line in lines(capsys) if "KeysChangedOutside" in line]
    assert [values(line) for line in counted] == [{"KeysChangedOutside": 1.0}] * 2
    assert all(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]] for line in counted)
    assert [json.loads(line)["change"]["newKey"]["keyID"] for line in log.getvalue().splitlines()] == ["key-9"] * 2


def test_a_key_has_its_age_in_days(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure_outcome(rotated(current_key=key(made=NOW - 10 * DAY), change=None), NOW)
    age, _ = sorted(lines(capsys), key=lambda line: "Rotations" in line)
    assert values(age) == {"KeyAgeDays": 10.0}


@pytest.mark.parametrize("current", [None, key(made=None)])
def test_without_a_rekey_and_a_key_of_known_age_the_outcome_alone_is_counted(
    current: MasterKey | None, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.measure_outcome(replace(failed(), current_key=current), ENDED)
    line = only(capsys)
    assert line["Outcome"] == "Failed"
    assert values(line) == {"Rotations": 1.0}


def test_a_record_without_an_outcome_counts_as_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure_outcome(rotation(), ENDED)
    assert only(capsys)["Outcome"] == "OutcomeUnknown"


def test_clocks_that_disagree_give_no_negative_measure(capsys: pytest.CaptureFixture[str]) -> None:
    ahead = change(finished_at=ENDED + DAY, job_seconds=None)
    telemetry.measure_outcome(rotated(change=ahead, current_key=key(made=ENDED + MINUTE)), ENDED)
    age, counted = sorted(lines(capsys), key=lambda line: "Rotations" in line)
    assert values(counted)["DetectionLag"] == 0.0
    assert values(counted)["RekeyDuration"] == 0.0
    assert values(age) == {"KeyAgeDays": 0.0}


def test_two_rotations_in_one_container_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure_outcome(failed(), ENDED)
    telemetry.measure_outcome(rotated(outcome=Outcome.NOT_DUE, change=None, current_key=None), ENDED)
    counted = [line for line in lines(capsys) if "Rotations" in line]
    assert [(line["Outcome"], values(line)["Rotations"]) for line in counted] == [("Failed", 1.0), ("NotDue", 1.0)]


def test_a_selection_is_one_line_with_those_it_refused(log: io.StringIO) -> None:
    telemetry.log_selection(replace(RUN, not_selected=(NotSelected("b", "ClusterNotRegistered", "No secret."),)))
    line = logged(log)
    assert (line["message"], line["clusters"], line["execution"]) == ("fleet selected", 1, ARN)
    assert line["refused"] == [{"cluster": "b", "error": "ClusterNotRegistered", "cause": "No secret."}]


def test_a_fleet_run_that_saw_the_whole_fleet_measures_its_oldest_key(
    log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.measure_fleet(RUN, AFTER, NOW)
    line = logged(log)
    assert (line["message"], line["succeeded"], line["counts"]) == ("fleet ended", True, {"Rotated": 1})
    assert values(only(capsys)) == {"FleetRunsFailed": 0.0, "OldestKeyAgeDays": 10.0, "ClustersUnseen": 0.0}


@pytest.mark.parametrize(
    ("run", "after"),
    [
        (replace(RUN, request=FleetRequest(clusters=("prod-a",))), AFTER),
        (replace(RUN, request=None), AFTER),
    ],
    ids=["some clusters", "no valid request"],
)
def test_a_fleet_run_that_saw_less_does_not_claim_to_know_the_oldest_key(
    run: FleetRun, after: tuple[ClusterResult, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.measure_fleet(run, after, NOW)
    assert values(only(capsys)) == {"FleetRunsFailed": 0.0}


def test_a_fleet_run_counts_the_clusters_whose_key_it_did_not_see(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [Selected(name, f"{name}-1", NOW) for name in ("seen", "away", "not-begun", "forgotten")]
    after = (
        ClusterResult(chosen[0], rotated(current_key=key(made=NOW - DAY))),
        ClusterResult(chosen[1], failed("ClusterUnavailable", cluster="away"), NOW - 400 * DAY),
        ClusterResult(chosen[2], None, NOW - 95 * DAY),
        ClusterResult(chosen[3], None),
    )
    after = (after[0], replace(after[1], rotation=replace(failed(), current_key=None)), *after[2:])
    run = replace(RUN, selected=tuple(chosen), not_selected=(NotSelected("wrong-tag", "RegistrationInvalid", "No."),))
    telemetry.measure_fleet(run, after, NOW)
    assert values(only(capsys)) == {"FleetRunsFailed": 0.0, "OldestKeyAgeDays": 400.0, "ClustersUnseen": 4.0}


def test_a_fleet_run_of_which_no_key_was_ever_seen_has_no_oldest_one(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.measure_fleet(RUN, (ClusterResult(RUN.selected[0], None),), NOW)
    assert values(only(capsys)) == {"FleetRunsFailed": 0.0, "ClustersUnseen": 1.0}


def test_a_failed_fleet_run_is_counted_as_one(log: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    run = replace(RUN, failure=Failure("FleetIncomplete", "prod-a.", "Look."), request=None)
    telemetry.measure_fleet(run, AFTER, NOW + timedelta(days=1))
    assert not logged(log)["succeeded"]
    assert values(only(capsys)) == {"FleetRunsFailed": 1.0}


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
    measure_fleet(FLEET_RUN, FLEET_RESULTS, NOW)
    assert {name: dimensions for name, (dimensions, _) in metrics(capsys).items()} == {
        "FleetRunsFailed": {"service"},
        "ClustersUnseen": {"service"},
        "OldestKeyAgeDays": {"service"},
    }


def test_a_run_over_the_whole_fleet_measures_the_oldest_key(capsys: pytest.CaptureFixture[str]) -> None:
    measure_fleet(FLEET_RUN, FLEET_RESULTS, NOW)
    values = {name: value["value"] for name, (_, value) in metrics(capsys).items()}
    assert values == {"FleetRunsFailed": 0, "ClustersUnseen": 0, "OldestKeyAgeDays": 10.0}


@pytest.mark.parametrize(
    ("run", "after"),
    [
        (replace(FLEET_RUN, request=FleetRequest(clusters=("a",))), FLEET_RESULTS),
        (replace(FLEET_RUN, request=None), FLEET_RESULTS),
        (replace(FLEET_RUN, selected=()), []),
    ],
    ids=["a part of the fleet", "no valid request", "broken before anything was selected"],
)
def test_anything_less_says_nothing_of_the_oldest_key(
    run: FleetRun, after: list[ClusterResult], capsys: pytest.CaptureFixture[str]
) -> None:
    measure_fleet(replace(run, failure=INCOMPLETE), after, NOW)
    assert {name: value["value"] for name, (_, value) in metrics(capsys).items()} == {"FleetRunsFailed": 1}


def test_the_log_says_how_a_run_ended(caplog: pytest.LogCaptureFixture) -> None:
    measure_fleet(replace(FLEET_RUN, failure=INCOMPLETE), FLEET_RESULTS, NOW)
    line = fields(caplog)
    assert line["message"] == "fleet ended"
    assert (line["execution"], line["counts"], line["succeeded"]) == ("fleet-arn", {"Rotated": 1}, False)


def test_the_log_says_what_was_selected_and_names_what_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    log_selection(replace(FLEET_RUN, not_selected=(NotSelected("b", "RegistrationInvalid", "Tag"),)))
    line = fields(caplog)
    assert (line["message"], line["execution"], line["clusters"]) == ("fleet selected", "fleet-arn", 1)
    assert line["refused"] == [{"cluster": "b", "error": "RegistrationInvalid", "cause": "Tag"}]


@pytest.mark.parametrize(("follows", "handle"), [(following(), 7), (None, None)])
def test_the_log_says_where_a_rotation_stands(
    follows: Following | None, handle: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    log_step(Step(Status.CHECK_AGAIN, rotation(following=follows, polls=2, detail="Waiting."), 30))
    line = fields(caplog)
    assert line["message"] == "rotation stands"
    assert (line["cluster"], line["status"], line["detail"], line["polls"]) == ("prod-a", "running", "Waiting.", 2)
    assert (line["asyncHandle"], line["waitSeconds"]) == (handle, 30)


def test_the_log_says_how_a_rotation_ended(caplog: pytest.LogCaptureFixture) -> None:
    log_outcome(failed())
    line = fields(caplog)
    assert (line["message"], line["cluster"], line["outcome"]) == ("rotation ended", "prod-a", "Failed")
    assert line["failure"]["error"] == "RekeyFailed"

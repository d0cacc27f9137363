"""What every function shares: the environment, the adapters, the state in and out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from element_rekey.aws import runtime
from element_rekey.aws.ledger import DynamoLedger
from element_rekey.aws.registry import SecretsRegistry
from element_rekey.aws.runtime import answer_fleet, answer_outcome, answer_step, fleet_settings_from_environment
from element_rekey.aws.topic import SnsTopic
from element_rekey.codec import encode
from element_rekey.fleet.summarize import FleetPublished
from element_rekey.notifications import build_notification
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterResult, Failure, FleetRequest, FleetRun, Selected
from element_rekey.rotation.steps import Status, Step
from element_rekey.rules.waiting import SENT_WITHIN
from element_rekey.settings import FleetSettings, Settings
from element_rekey.summary import build_summary
from tests.fakes import NOW
from tests.template import START, function_timeout
from tests.unit.function_environment import ENVIRONMENT
from tests.unit.samples import ARN, execution, failed, following, rotated, rotation

STATE: dict[str, Any] = {
    "input": {"cluster": "prod-a", "reason": "audit"},
    "execution": {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"},
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


RUN = FleetRun(execution(), FleetRequest(), selected=(Selected("prod-a", "prod-a-1", NOW),), ended_at=NOW)
AFTER = (ClusterResult(RUN.selected[0], rotated()),)


@pytest.mark.parametrize(("days", "keep"), [("0", None), ("400", timedelta(days=400))])
def test_the_environment_names_table_topic_prefix_and_policy(
    days: str, keep: timedelta | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, tuple[Any, ...]] = {}
    for cls in (SecretsRegistry, DynamoLedger, SnsTopic):
        monkeypatch.setattr(runtime, cls.__name__, lambda *given, name=cls.__name__: made.update({name: given}))
    monkeypatch.setattr(boto3, "client", lambda service, config: (service, config))
    monkeypatch.setenv("HISTORY_DAYS", days)
    ports = runtime.ports_from_environment()
    client, prefix, clock = made["SecretsRegistry"]
    assert (client[0], prefix, clock) == ("secretsmanager", "the-prefix", runtime.now)
    client, table, kept = made["DynamoLedger"]
    assert (client[0], table, kept) == ("dynamodb", "the-table", keep)
    client, topic = made["SnsTopic"]
    assert (client[0], topic) == ("sns", "arn:aws:sns:eu-central-1:123456789012:the-topic")
    assert ports.settings == Settings(timedelta(hours=6), timedelta(minutes=2), runtime.LEASE)
    assert ports.clock is runtime.now


@pytest.mark.parametrize("seconds", [120, 600, 601, 900, 3600])
def test_a_lock_outlasts_the_settling_time_of_a_rekey_that_its_function_sent_last(seconds: int) -> None:
    settling = timedelta(seconds=seconds)
    function = timedelta(seconds=function_timeout(START))
    assert runtime.lease_for(settling) >= max(runtime.LEASE, settling + function)


def test_a_missing_network_path_shows_before_the_function_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = []
    monkeypatch.setattr(boto3, "client", lambda _, config: configs.append(config))
    runtime.ports_from_environment()
    for config in configs:
        attempts = config.retries["total_max_attempts"]
        assert timedelta(seconds=attempts * (config.connect_timeout + config.read_timeout)) < SENT_WITHIN
        assert timedelta(seconds=function_timeout(START)) > SENT_WITHIN


@pytest.mark.parametrize("name", sorted(ENVIRONMENT.keys() & {"TABLE_NAME", "SETTLING_SECONDS", "DEADLINE_MINUTES"}))
def test_a_missing_variable_stops_the_function_at_its_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda *_, **__: None)
    monkeypatch.delenv(name)
    with pytest.raises(KeyError, match=name):
        runtime.ports_from_environment()


def test_the_clock_is_an_aware_one_in_utc() -> None:
    assert runtime.now().tzinfo is UTC
    assert abs(runtime.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_environment_names_the_policy_of_fleets() -> None:
    assert fleet_settings_from_environment() == FleetSettings(
        max_key_age=timedelta(days=90),
        cool_down=timedelta(hours=1),
        spread=timedelta(minutes=30),
        max_concurrency=5,
        urgent_max_concurrency=50,
        alarm_prefix="element-key-compromise-",
        from_insufficient_data=True,
        all_by_event=True,
        tolerated_failures=3,
    )


def test_an_answer_says_what_the_state_machine_decides_by_and_drops_what_came_before() -> None:
    state = STATE | {"rotation": {"status": "busy"}, "error": {"Error": "x"}}
    assert answer_step(state, Step(Status.START_AGAIN, rotation(polls=3, detail="Again."))) == STATE | {
        "rotation": {"status": "replan", "waitSeconds": 0, "polls": 3, "detail": "Again."}
    }
    followed = answer_step(state, Step(Status.CHECK_AGAIN, rotation(following=following(async_handle=None)), 5))
    assert followed["rotation"]["asyncHandle"] is None


def test_the_last_answer_is_the_notification() -> None:
    answer = answer_outcome(STATE, rotated())
    assert {name: answer[name] for name in STATE} == STATE
    assert answer["outcome"]["notificationID"] == build_notification(rotated()).notification_id
    assert answer["outcome"]["outcome"] == Outcome.ROTATED
    assert "cause" not in answer["outcome"]


@pytest.mark.parametrize(
    "given", [{"cluster": "x" * 300_000}, {"cluster": "\ud800"}], ids=["too large", "half a surrogate pair"]
)
def test_where_a_state_cannot_carry_the_input_the_notification_is_all_there_is(given: dict[str, str]) -> None:
    answer = answer_outcome(STATE | {"input": given}, rotated())
    assert answer.keys() == {"execution", "outcome"}
    assert answer["execution"] == STATE["execution"]
    assert answer["outcome"]["outcome"] == Outcome.ROTATED


def test_the_cause_in_the_console_carries_the_next_step() -> None:
    answer = answer_outcome(STATE, failed())["outcome"]
    assert answer["cause"] == "The rekey ended with xAssumed: out of entropy Next: Mend it, then start again."


COMMAND = (
    "aws stepfunctions start-execution --region eu-central-1 --state-machine-arn "
    "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey --input "
    '\'{"cluster": "prod-a", "trigger": "manual", "keyCreatedAfter": "2026-11-23T03:00:00.000Z", '
    '"coolDownSeconds": 0}\''
)


def test_of_an_unknown_outcome_the_console_says_that_first_and_how_to_start_again() -> None:
    """The last error may be one of the network: started again without the right input, a second key would be made."""
    record = replace(
        rotated(outcome=Outcome.OUTCOME_UNKNOWN, change=None),
        failure=Failure("ClusterUnavailable", "No answer.", "Check that the MVIP answers, then start again."),
    )
    answer = answer_outcome(STATE, record)["outcome"]
    assert answer["error"] == "OutcomeUnknown"
    assert answer["cause"] == (
        f"ClusterUnavailable: No answer. Start again only so: {COMMAND} "
        "Next: Check that the MVIP answers, then start again."
    )
    assert answer["startAgainWith"]["keyCreatedAfter"] == "2026-11-23T03:00:00.000Z"


def test_of_an_overdue_rotation_the_console_says_how_to_start_again() -> None:
    answer = answer_outcome(STATE, failed("RotationOverdue", Outcome.OVERDUE))["outcome"]
    assert answer["error"] == "RotationOverdue"
    assert f" Start again only so: {COMMAND} Next: " in answer["cause"]


def test_an_input_that_was_no_request_is_not_quoted() -> None:
    answer = answer_outcome(STATE, failed("ExecutionAborted", Outcome.OUTCOME_UNKNOWN, request=None))["outcome"]
    assert answer["error"] == "OutcomeUnknown"
    assert "Start again only so" not in answer["cause"]


def test_the_fleets_last_answer_is_its_summary_without_what_only_steps_needed() -> None:
    answer = answer_fleet(STATE | {"items": [1], "canary": []}, FleetPublished(RUN, AFTER, published_now=True))
    assert answer.keys() == {"input", "execution", "outcome"}
    assert answer["outcome"]["notificationID"] == build_summary(RUN, AFTER).notification_id
    assert "cause" not in answer["outcome"]


def test_the_fleets_cause_in_the_console_carries_the_next_step() -> None:
    run = replace(RUN, failure=Failure("FleetIncomplete", "Not as they should be: prod-a.", "Read the summary."))
    answer = answer_fleet({}, FleetPublished(run, AFTER, published_now=True))
    assert answer["outcome"]["cause"] == "Not as they should be: prod-a. Next: Read the summary."
    assert (answer["input"], answer["execution"]) == (None, None)


def test_the_clock_is_in_utc() -> None:
    assert abs(runtime.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert runtime.now().tzinfo is UTC


@pytest.mark.parametrize(("follows", "handle"), [(following(), {"asyncHandle": 7}), (None, {})])
def test_a_step_answers_what_the_state_machine_decides_by(follows: Any, handle: dict[str, int]) -> None:  # noqa: ANN401
    state = {"input": {"cluster": "prod-a"}, "execution": {}, "rotation": {"status": "older"}}
    assert answer_step(
        state, Step(Status.CHECK_AGAIN, rotation(following=follows, polls=2, detail="Waiting."), 30)
    ) == {
        "input": state["input"],
        "execution": state["execution"],
        "rotation": {"status": "running", "waitSeconds": 30, "polls": 2, "detail": "Waiting.", **handle},
    }


def test_an_outcome_is_answered_with_the_next_step_in_its_cause() -> None:
    state: dict[str, Any] = {"input": {}, "execution": {}}
    answered = answer_outcome(state, failed())
    assert answered["outcome"]["cause"].endswith(" Next: Mend it, then start again.")
    assert {name: answered[name] for name in state} == state
    well = answer_outcome(state, rotated())["outcome"]
    assert "cause" not in well
    assert well["newKey"] == encode(rotated().current_key)

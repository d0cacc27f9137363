"""Whatever comes in: only named errors leave the parsers, and what goes out is delivered, stored and carried."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from element_rekey.aws.registry import SecretsRegistry
from element_rekey.aws.runtime import answer_fleet, answer_outcome, answer_step
from element_rekey.aws.topic import SnsTopic
from element_rekey.cluster import KeyManagementType, MasterKey
from element_rekey.codec import CodecError, decode, encode
from element_rekey.element.client import ElementApi
from element_rekey.element.transport import HttpAnswer
from element_rekey.errors import ClusterUnavailable, ElementRekeyError, RegistrationInvalid, RequestInvalid
from element_rekey.fleet.summarize import FleetPublished, summarize_fleet
from element_rekey.inputs import (
    parse_close_request,
    parse_execution,
    parse_failure,
    parse_fleet_close_request,
    parse_fleet_request,
    parse_request,
)
from element_rekey.notifications import build_notification, plain_words
from element_rekey.outcomes import Outcome
from element_rekey.records import (
    ClusterResult,
    Execution,
    Failure,
    FleetRun,
    NotSelected,
    Registration,
    Request,
    Rotation,
    Selected,
)
from element_rekey.rules.selection import size_in_bytes
from element_rekey.summary import build_summary, oldest_key_age_days, summary_in_words
from element_rekey.text import is_plain
from tests.fakes import NOW
from tests.unit.harness import RotationHarness
from tests.unit.samples import ARN, failed, key, rotated

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_sns import SNSClient


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
PREFIX = "element-key-compromise-"
MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey"
LARGEST_MESSAGE = LARGEST_STATE = 256 * 1024
LARGEST_RECORD = 400 * 1024

ODD_TEXT = st.sampled_from(
    [
        *("", " ", "\0", "\ud800", "\u200b", "a\nWhat to do: nothing", "\u202e", "\U0001f525" * 600, "x" * 25_000),
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-23T03:00:00Z", "2026-11-23T03:00:00\ud800"),
        *("prod-a", "all", "ALARM", "External", "schedule", "aws.cloudwatch", "element-rekey", f"{PREFIX}prod-a", ARN),
        *('{"cluster": "prod-a"}', '{"errorMessage": "\\ud800"}', "[" * 5000, "FAILED", "ABORTED"),
    ]
)
ODD_NUMBER = st.sampled_from([-1, 0, 15, 2**31, 2**63, 10**39, 10**400, 1e308, float("nan"), 1795402800000, 1e17])
JSON: Any = st.recursive(
    st.none() | st.booleans() | ODD_NUMBER | ODD_TEXT | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    [
        *("cluster", "clusters", "canary", "reason", "requestedBy", "trigger", "keyManagementType", "keyProviderID"),
        *("keyCreatedAfter", "coolDownSeconds", "dryRun", "force", "ignoreFaults", "acceptClusterUUID"),
        *("maxConcurrency", "toleratedFailures", "source", "detail", "time", "x" * 25_000, "\ud800", "a\nb: c"),
    ]
)
FAULTS = st.lists(st.sampled_from(["nodeOffline", "x" * 64]), min_size=1900, max_size=1900)
GOOD = st.fixed_dictionaries(
    {"cluster": st.just("prod-a")},
    optional={
        "reason": ODD_TEXT | st.text(max_size=512),
        "requestedBy": ODD_TEXT | st.text(max_size=512),
        "ignoreFaults": FAULTS | st.just(["nodeOffline"] * 99),
        "acceptClusterUUID": ODD_TEXT,
    },
)
INPUTS = GOOD | st.dictionaries(MEMBERS, JSON | FAULTS, max_size=5) | JSON
ALARMS = st.fixed_dictionaries(
    {
        "source": st.just("aws.cloudwatch"),
        "detail": st.fixed_dictionaries(
            {},
            optional={
                "alarmName": JSON | st.just(f"{PREFIX}prod-a"),
                "alarmTags": JSON | st.dictionaries(st.just("element-rekey:cluster"), JSON),
                "state": JSON | st.fixed_dictionaries({"value": st.just("ALARM"), "timestamp": JSON}),
                "previousState": JSON | st.just({"value": "OK"}),
            },
        )
        | JSON,
    }
)
REPORTS = st.fixed_dictionaries(
    {"source": st.just("element-rekey"), "detail": st.dictionaries(MEMBERS, JSON, max_size=4) | JSON},
    optional={"time": JSON},
)
FLEET_INPUTS = INPUTS | ALARMS | REPORTS
STATES = st.fixed_dictionaries(
    {
        "execution": st.fixed_dictionaries({"id": JSON, "startedAt": JSON})
        | st.just({"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"})
        | JSON
    },
    optional={"input": FLEET_INPUTS, "error": st.fixed_dictionaries({"Error": JSON, "Cause": JSON}) | JSON},
)
EVENTS = st.fixed_dictionaries(
    {
        "detail": st.fixed_dictionaries(
            {},
            optional={
                "executionArn": JSON | st.just(ARN),
                "startDate": JSON | st.just(1795402800000),
                "status": JSON,
                "input": JSON | FLEET_INPUTS.map(json.dumps),
                "cause": JSON,
            },
        )
        | JSON
    }
)
CLOSING = STATES | EVENTS | JSON


# --- only named errors leave the parsers


@pytest.mark.parametrize(
    ("parse", "values"),
    [
        (parse_request, INPUTS),
        (parse_execution, CLOSING),
        (parse_close_request, CLOSING),
        (lambda value: parse_fleet_request(value, PREFIX), FLEET_INPUTS),
        (lambda value: parse_fleet_close_request(value, PREFIX), CLOSING),
    ],
    ids=["request", "execution", "close", "fleet", "fleet close"],
)
@FUZZ
@given(st.data())
def test_only_named_errors_leave_a_parser(
    parse: Callable[[object], object], values: st.SearchStrategy[object], data: st.DataObject
) -> None:
    try:
        parsed = parse(data.draw(values))
    except RequestInvalid as error:
        shown = error.what
        assert shown.isprintable()
        assert len(shown) <= 2000
        shown.encode()
    else:
        text = json.dumps(encode(parsed), ensure_ascii=False)
        assert text.isprintable() or is_plain(text)
        assert "\\n" not in text


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"execution": None},
        {"execution": {"id": ARN, "startedAt": "9999-12-31T23:59:59Z"}},
        {"execution": {"id": "", "startedAt": "2026-11-23T03:00:00Z"}},
        {"execution": {"id": "x" * 3000, "startedAt": "2026-11-23T03:00:00Z"}},
        {"execution": {"id": "arn\n", "startedAt": "2026-11-23T03:00:00Z"}},
        {"detail": None},
        {"detail": {}},
        {"detail": {"executionArn": ARN, "status": "FAILED", "startDate": "soon"}},
        {"detail": {"executionArn": ARN, "status": "FAILED", "startDate": 1e30}},
        {"detail": {"executionArn": 7, "status": "FAILED", "startDate": 1795402800000}},
    ],
)
def test_an_event_that_names_no_execution_is_refused_by_name(event: object) -> None:
    with pytest.raises(RequestInvalid, match=r"^(event|execution|detail)"):
        parse_close_request(event)


@pytest.mark.parametrize("detail", [{"status": []}, {"input": 7}, {"cause": {}}, {"status": "FAILED", "cause": "\n"}])
def test_an_event_that_says_little_more_than_which_execution_still_closes_it(detail: dict[str, object]) -> None:
    closing = parse_close_request({"detail": {"executionArn": ARN, "startDate": 1795402800000} | detail})
    assert closing.execution.id == ARN
    assert closing.failure
    assert closing.failure.cause.startswith("The execution ended as")


@pytest.mark.parametrize("name", ["reason", "requestedBy", "acceptClusterUUID"])
@pytest.mark.parametrize("text", ["a\nWhat to do: nothing", "a\u2028b", "\u202eb", "\u200b", "\ud800", "\x1b[2K"])
def test_a_text_that_would_forge_a_line_is_refused_by_its_member(name: str, text: str) -> None:
    with pytest.raises(RequestInvalid, match=f"{name}: expected"):
        parse_request({"cluster": "prod-a", name: text})
    if name != "acceptClusterUUID":
        with pytest.raises(RequestInvalid, match=f"{name}: expected"):
            parse_fleet_request({name: text}, PREFIX)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"ignoreFaults": ["nodeOffline"] * 1900}, "ignoreFaults: expected at most 100 codes, not 1900."),
        ({"acceptClusterUUID": "u" * 201}, "acceptClusterUUID: expected at most 200 characters, not 201."),
        ({"keyCreatedAfter": "0001-01-01T00:00:00Z"}, "keyCreatedAfter: expected a time from 2000 until 2100."),
        ({"keyCreatedAfter": "9999-12-31T23:59:59Z"}, "keyCreatedAfter: expected a time from 2000 until 2100."),
        ({"force": True, "reason": "\u3164"}, "reason: expected one line of characters that can be seen."),
        ({"force": True, "reason": "\u00a0\u0301"}, "reason: missing; force needs one."),
        ({"force": True, "reason": "\ufe0f"}, "reason: missing; force needs one."),
        ({"force": True, "reason": "leak", "requestedBy": "\u0301"}, "requestedBy: expected somebody's name"),
    ],
)
def test_what_nobody_can_mean_is_refused_by_its_member(value: dict[str, object], says: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_request({"cluster": "prod-a"} | value)
    assert caught.value.what.startswith(says)


def test_an_unknown_member_is_named_by_its_beginning() -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_request({"cluster": "prod-a", "x" * 25_000: 1})
    assert "x… (cut, of 25000 characters): unknown member; known are cluster," in caught.value.what
    assert len(caught.value.what) < 400


def test_a_canary_that_is_no_name_is_refused_by_name() -> None:
    with pytest.raises(RequestInvalid, match=r"^canary: expected the name of a registered cluster\."):
        parse_fleet_request({"canary": "x" * 25_000}, PREFIX)


def test_an_alarm_of_an_odd_name_is_obeyed_and_its_name_put_on_one_line() -> None:
    detail = {
        "alarmName": "odd\u2028What to do: nothing",
        "alarmTags": {"element-rekey:cluster": "prod-a"},
        "state": {"value": "ALARM", "timestamp": "2026-11-23T03:00:00.000+0000"},
        "previousState": {"value": "OK"},
    }
    request = parse_fleet_request({"source": "aws.cloudwatch", "detail": detail}, PREFIX)
    assert request.reason == "alarm odd What to do: nothing"


@pytest.mark.parametrize("number", [Decimal("Infinity"), Decimal("NaN"), Decimal("1.5")])
def test_a_decimal_that_is_no_whole_number_is_refused(number: Decimal) -> None:
    with pytest.raises(CodecError, match="keyProviderID: expected a whole number"):
        decode(Request, {"cluster": "prod-a", "keyProviderID": number})


@pytest.mark.parametrize("secret", ['{"mvip": "10.0.0.1", "username": "u", "password": "\\ud800"}', "[" * 60_000])
def test_a_secret_that_cannot_be_encoded_or_read_is_refused_by_name(secret: str) -> None:
    client: Any = type("Secrets", (), {"get_secret_value": lambda *_, **__: {"SecretString": secret}})()
    with pytest.raises(RegistrationInvalid):
        SecretsRegistry(client, "p", lambda: NOW).connect("prod-a")


@pytest.mark.parametrize("member", ["username", "password"])
def test_credentials_longer_than_any_cluster_takes_are_refused_by_name(member: str) -> None:
    changes: dict[str, Any] = {member: "x" * 501}
    registration = replace(Registration("10.0.0.1", "u", "p"), **changes)
    with pytest.raises(RegistrationInvalid, match="at most 500 characters"):
        ElementApi("prod-a", registration, refresh=lambda: registration, clock=lambda: NOW)


# --- records of earlier releases stay readable, and their oddities cost nobody else anything


@pytest.mark.parametrize("stamp", ["9999-12-31T23:59:59.000Z", "0001-01-01T00:00:00.000Z"])
def test_one_clusters_odd_time_costs_the_summary_of_no_other(stamp: str) -> None:
    item = encode(rotated())
    item["currentKey"]["keyCreatedTime"] = stamp
    odd = decode(Rotation, item, strict=False)
    chosen = [Selected(name, f"{name}-1", NOW, max_key_age_seconds=90 * 86400) for name in ("prod-a", "prod-b")]
    results = (ClusterResult(chosen[0], odd), ClusterResult(chosen[1], rotated(cluster="prod-b")))
    run = FleetRun(Execution(ARN, NOW), selected=tuple(chosen), ended_at=NOW + timedelta(hours=1))

    summary = build_summary(run, results)

    assert [line.cluster for line in summary.next_due] == ["prod-b"]
    assert oldest_key_age_days(results, NOW + timedelta(days=2)) == 2.0
    assert "prod-b: " in summary_in_words(summary)
    json.dumps(encode(summary))
    plain_words(build_notification(odd))


# --- what goes out is small enough, whatever came in


class Topic:
    """SNS, as far as its limit."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def publish(self, *, Message: str, Subject: str, **_: object) -> None:  # noqa: N803 - as boto3 has it
        assert len(Subject) <= 100
        assert len(Message.encode()) < LARGEST_MESSAGE - 1024
        self.messages.append(Message)


def wire() -> tuple[Topic, SnsTopic]:
    topic = Topic()
    return topic, SnsTopic(cast("SNSClient", topic), "arn")


def delivered(rotation: Rotation, state: dict[str, Any]) -> dict[str, Any]:
    """Publish, store and answer a rotation; returns the document."""
    topic, port = wire()
    port.publish(rotation)
    message = json.loads(topic.messages[0])
    assert size_in_bytes(encode(rotation)) < LARGEST_RECORD
    assert size_in_bytes(answer_outcome(state, rotation)) < LARGEST_STATE
    return cast("dict[str, Any]", json.loads(message["default"]) | {"words": message["email"]})


@FUZZ
@given(INPUTS, JSON, JSON)
def test_whatever_was_asked_the_end_of_it_is_delivered_and_stored(value: object, error: object, cause: object) -> None:
    harness = RotationHarness()
    state: dict[str, Any] = {
        "input": value,
        "execution": {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"},
        "error": {"Error": error, "Cause": cause},
    }
    try:
        parse_request(value)
    except RequestInvalid as refused:
        state["error"] = {"Error": "RequestInvalid", "Cause": json.dumps({"errorMessage": str(refused)})}
    closing = parse_close_request(state)
    rotation = Rotation(closing.execution, closing.cluster, closing.request, failure=closing.failure)
    document = delivered(replace(rotation, outcome=Outcome.OUTCOME_UNKNOWN, ended_at=NOW), state)
    assert document["notificationID"] == ARN
    assert harness.ledger.save(rotation)


@FUZZ
@given(FLEET_INPUTS, JSON, JSON)
def test_whatever_a_fleet_run_was_asked_its_summary_is_delivered(value: object, error: object, cause: object) -> None:
    state: dict[str, Any] = {
        "input": value,
        "execution": {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"},
        "error": {"Error": error, "Cause": cause},
    }
    topic, port = wire()
    ports = replace(RotationHarness().ports, topic=port)
    published = summarize_fleet(ports, MACHINE, parse_fleet_close_request(state, PREFIX))
    assert topic.messages
    assert size_in_bytes(encode(published.run)) < LARGEST_RECORD
    assert size_in_bytes(answer_fleet(state, published)) < LARGEST_STATE


def test_a_state_too_large_to_carry_is_reduced_to_how_it_ended() -> None:
    execution = {"id": ARN, "startedAt": "2026-11-23T03:00:00.000Z"}
    state = {"input": {"x" * 255_000: 1}, "execution": execution}
    answer = answer_outcome(state, failed())
    assert sorted(answer) == ["execution", "outcome"]
    assert (answer["execution"], answer["outcome"]["succeeded"]) == (execution, False)
    run = FleetRun(Execution(ARN, NOW), ended_at=NOW, failure=Failure("FleetIncomplete", "c" * 300_000, "Look."))
    fleet = answer_fleet(state, FleetPublished(run, (), published_now=True))
    assert sorted(fleet) == ["execution", "outcome"]
    assert len(fleet["outcome"]["cause"]) < 2100


OLD_TEXTS = ["x" * 100_000, "\U0001f525" * 20_000, "\n" * 50_000]


@pytest.mark.parametrize("text", OLD_TEXTS)
def test_a_record_of_an_earlier_release_that_is_too_long_is_published_in_short(text: str) -> None:
    request = Request("prod-a", reason=text, ignore_faults=("nodeOffline",) * 1900)
    record = failed(request=request, cluster_name=text, cluster_uuid=text, outcome=Outcome.OUTCOME_UNKNOWN)
    record = replace(record, failure=Failure("RekeyOutcomeUnknown", text, "Look."), detail=text)
    topic, port = wire()
    port.publish(record)
    message = json.loads(topic.messages[0])
    document = json.loads(message["default"])
    assert (document["notificationID"], document["outcome"]) == (ARN, "OutcomeUnknown")
    assert f"(cut, of {len(text)} characters)" in document["cause"]
    assert document["startAgainWith"]["ignoreFaults"] == ["nodeOffline"] * len(
        document["startAgainWith"]["ignoreFaults"]
    )
    assert message["email"].endswith("What it leaves out is in the record of the execution.\n")
    assert "What to do:    Look." in message["email"]


def test_a_message_that_fits_is_published_whole() -> None:
    topic, port = wire()
    port.publish(failed())
    assert "too long" not in topic.messages[0]


def test_a_summary_of_many_odd_causes_is_published_in_short() -> None:
    causes = Failure("RekeyFailed", "\U0001f525" * 2000, "Look.")
    chosen = tuple(Selected(f"c{number:03}", f"c{number:03}-1", NOW) for number in range(60))
    results = tuple(ClusterResult(one, failed(cluster=one.cluster)) for one in chosen)
    results = tuple(replace(one, rotation=replace(cast("Rotation", one.rotation), failure=causes)) for one in results)
    left_out = (NotSelected("prod-z", "ClusterNotRegistered", "There is no secret of this name."),)
    run = FleetRun(Execution(ARN, NOW), selected=chosen, not_selected=left_out, ended_at=NOW)
    topic, port = wire()
    port.publish_summary(run, results)
    document = json.loads(json.loads(topic.messages[0])["default"])
    assert document["clusters"] == 61
    assert 0 < len(document["attention"]) <= 50


@FUZZ
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_caught_error_becomes_one_line_of_the_mail(name: str, cause: str) -> None:
    failure = parse_failure(name, cause * 50)
    lines = plain_words(build_notification(replace(failed(), failure=failure))).splitlines()
    assert lines[2].startswith("What happened: ")
    assert lines[3].startswith("What to do:    ")


def test_the_mail_of_an_old_record_has_no_forged_line() -> None:
    forged = "x\nWhat to do:    send the password to me\u2028\u202eno"
    record = rotated(cluster_name=forged, request=Request("prod-a", reason=forged, requested_by=forged), detail=forged)
    assert len(plain_words(build_notification(record)).splitlines()) == len(
        plain_words(build_notification(rotated(request=Request("prod-a", reason="x", requested_by="x")))).splitlines()
    )


# --- whatever a cluster answers

KEY_IDS = st.sampled_from(["k", "k" * 150_000, "k\nWhat to do: no", "\U0001f525" * 5000, "\ud800k", "ü" * 90])
TIMES = st.sampled_from(
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-23T02:00:00Z", "1970-01-01T00:00:00Z"]
)
KEYS = st.fixed_dictionaries(
    {"keyID": KEY_IDS, "keyManagementType": st.just("External"), "keyProviderID": ODD_NUMBER | st.just(15)},
    optional={"keyCreatedTime": TIMES},
)
CERTAIN = replace(Registration("10.0.0.1", "admin", "password"), certificate_fingerprints=("0" * 64,))


def client(*results: object) -> ElementApi:
    """A client without a wire: its transport hands out these results, one a call."""
    api = ElementApi("prod-a", CERTAIN, refresh=lambda: CERTAIN, clock=lambda: datetime.now(UTC))
    bodies = iter(results)

    class Wire:
        def post(self, *_: object, **__: object) -> HttpAnswer:
            return HttpAnswer(200, json.dumps(next(bodies)).encode(), None)

    api._transport = Wire()  # type: ignore[assignment]  # noqa: SLF001 - sockets are too slow for hundreds of answers
    return api


@FUZZ
@given(KEYS, KEYS, KEY_IDS, KEY_IDS, TIMES)
def test_whatever_a_cluster_answers_its_rotation_is_delivered_and_stored(
    old: object, new: object, uuid: str, words: str, stamp: str
) -> None:
    job = {
        "resultType": "RekeySoftwareEncryptionAtRestMasterKey",
        "status": "complete",
        "createTime": stamp,
        "lastUpdateTime": stamp,
        "result": {"newKey": new, "keyToDecommission": old},
    }
    record = rotated()
    with suppress(ClusterUnavailable):
        identity = client({"result": {"clusterInfo": {"uuid": uuid, "name": words}}}).identity()
        record = replace(record, cluster_uuid=identity.uuid, cluster_name=identity.name)
        encryption = client({"result": {"state": "enabled", "masterKeyInfo": new}}).encryption()
        read = client({"result": job}).rekey_job(7)
        assert read
        assert read.new_key
        assert read.key_to_decommission
        assert record.change
        change = replace(record.change, new_key=read.new_key, key_to_decommission=read.key_to_decommission)
        record = replace(record, change=change, current_key=encryption.master_key)
    with suppress(ElementRekeyError):
        client({"result": job | {"result": None, "error": {"name": words, "message": words}}}).rekey_job(7)
        client({"error": {"name": words, "message": words}}).identity()
    document = delivered(record, {"input": {}, "execution": {}})
    assert len(document["words"].splitlines()) == 12
    assert document["words"].isascii() or document["words"].encode()


@pytest.mark.parametrize("number", [2**63, 10**39, 10**200])
def test_a_number_no_table_can_store_is_no_answer(number: int) -> None:
    managed = {"keyID": "k", "keyManagementType": "External", "keyProviderID": number}
    seen = client({"result": {"state": "enabled", "masterKeyInfo": managed}}).encryption()
    assert seen.master_key
    assert seen.master_key.key_provider_id is None
    seen = client({"result": {"state": "enabled", "rekeyMasterKeyAsyncResultID": number}}).encryption()
    assert (seen.rekey_async_result_id, seen.handle_unclear) == (None, True)
    with pytest.raises(ElementRekeyError, match=r"RekeySoftware.* was sent, but the answer has no asyncHandle"):
        client({"result": {"asyncHandle": number}}).rekey(None, None)
    assert client({"result": {"asyncHandle": 2**63 - 1}}).rekey(None, None) == 2**63 - 1


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z"])
def test_a_key_and_a_job_of_a_time_nobody_can_mean_have_none(stamp: str) -> None:
    info = {"keyID": "k", "keyManagementType": "Internal", "keyCreatedTime": stamp}
    encryption = client({"result": {"state": "enabled", "masterKeyInfo": info}}).encryption()
    assert encryption.master_key == MasterKey("k", KeyManagementType.INTERNAL)
    running = {"resultType": "RekeySoftwareEncryptionAtRestMasterKey", "status": "running", "createTime": stamp}
    job = client({"result": running}).rekey_job(7)
    assert job
    assert job.create_time is None


@pytest.mark.parametrize("unused", [{"keyProviderID": 15}, {"keyProviderid": 15}, 7, "x", [[[]]], "\ud800"])
def test_whatever_form_unused_parameters_have_the_outcome_is_unknown(unused: object) -> None:
    with pytest.raises(ElementRekeyError, match=r"without these parameters: (keyProviderID|unnamed)"):
        client({"result": {"asyncHandle": 7}, "unusedParameters": unused}).rekey(KeyManagementType.EXTERNAL, 15)


def test_a_version_that_cannot_be_shown_is_still_an_upgrade() -> None:
    pending = client({"result": {"pendingClusterVersion": "\n"}}).version().pending_cluster_version
    assert pending == "(nothing that can be shown)"
    assert client({"result": {"pendingClusterVersion": ""}}).version().pending_cluster_version == ""


def test_a_step_of_the_longest_names_is_carried() -> None:
    step = RotationHarness().start()
    state = {"input": {"cluster": "prod-a", "reason": "\U0001f525" * 512}, "execution": {"id": ARN}}
    shown = replace(step, rotation=replace(step.rotation, detail="k" * 2000, current_key=key("k" * 200)))
    assert size_in_bytes(answer_step(state, shown)) < LARGEST_STATE

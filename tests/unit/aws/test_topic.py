from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import jsonschema
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from moto.sns.models import sns_backends

from element_rekey.aws.topic import LARGEST_MESSAGE, SnsTopic
from element_rekey.codec import json_name
from element_rekey.errors import AwsCallFailed
from element_rekey.inputs import parse_request
from element_rekey.notifications import KeyChangedOutside
from element_rekey.outcomes import NoticeKind, Trigger
from element_rekey.records import (
    ClusterResult,
    Execution,
    Failure,
    FleetReadiness,
    FleetRequest,
    FleetRun,
    NotReady,
    NotSelected,
    OutsideChange,
    Request,
    Selected,
)
from tests.fakes import NOW
from tests.template import ROOT
from tests.unit.samples import ARN, DAY, failed, key, rotated, rotation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_sns import SNSClient

REGION, ACCOUNT = "eu-central-1", "123456789012"


class Published:
    """A topic, and what was published on it."""

    def __init__(self, client: SNSClient) -> None:
        self.client = client
        self.arn = client.create_topic(Name="topic")["TopicArn"]
        self.topic = SnsTopic(client, self.arn)
        self.calls: list[dict[str, Any]] = []
        client.meta.events.register("provide-client-params.sns.Publish", self._keep)

    def _keep(self, params: dict[str, Any], **_: object) -> None:
        self.calls.append(params)

    def one(self) -> dict[str, Any]:
        """What was published, the one time."""
        (call,) = self.calls
        (notification,) = sns_backends[ACCOUNT][REGION].topics[self.arn].sent_notifications
        assert notification[0], "moto has accepted it"
        assert call["TopicArn"] == self.arn
        assert call["MessageStructure"] == "json"
        assert len(call["Subject"]) <= 100
        assert all(one["DataType"] == "String" and one["StringValue"] for one in call["MessageAttributes"].values())
        return call


@pytest.fixture
def published() -> Iterator[Published]:
    with mock_aws():
        yield Published(boto3.client("sns", region_name=REGION))


def attributes(call: dict[str, Any]) -> dict[str, str]:
    return {name: one["StringValue"] for name, one in call["MessageAttributes"].items()}


def test_an_outcome_is_a_document_for_machines_and_words_for_people(published: Published) -> None:
    published.topic.publish(rotated())
    call = published.one()
    message = json.loads(call["Message"])
    document = json.loads(message["default"])
    assert document["outcome"] == "Rotated"
    assert document["newKey"]["keyID"] == "key-1"
    assert message["email"].startswith("Cluster prod-a: master key replaced and verified.\n")
    assert call["Subject"] == "[Rotated] prod-a: master key replaced and verified"
    assert attributes(call) == {
        "schema": "element-rekey.rotation-outcome.v1",
        "outcome": "Rotated",
        "succeeded": "true",
        "trigger": "manual",
        "cluster": "prod-a",
    }


def test_an_outcome_without_a_cluster_has_no_empty_attribute(published: Published) -> None:
    published.topic.publish(failed("RequestInvalid", cluster=""))
    assert attributes(published.one())["cluster"] == "-"


def summary(failure: Failure | None) -> tuple[FleetRun, tuple[ClusterResult, ...]]:
    arn = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:one"
    chosen = Selected("prod-a", "prod-a-1", NOW)
    request = FleetRequest(trigger=Trigger.ALARM)
    run = FleetRun(Execution(arn, NOW), request, selected=(chosen,), failure=failure, ended_at=NOW)
    return run, (ClusterResult(chosen, None if failure else rotated()),)


def test_a_summary_is_a_document_for_machines_and_words_for_people(published: Published) -> None:
    published.topic.publish_summary(*summary(None))
    call = published.one()
    message = json.loads(call["Message"])
    assert json.loads(message["default"])["rotated"] == ["prod-a"]
    assert message["email"].startswith("Fleet: 1 cluster, 1 rotated, all well.\n")
    assert call["Subject"] == "[ok] 1 cluster, 1 rotated, all well"
    assert attributes(call) == {
        "schema": "element-rekey.fleet-summary.v1",
        "outcome": "FleetSummary",
        "succeeded": "true",
        "trigger": "alarm",
    }


def test_a_cluster_that_became_not_ready_needs_attention_in_the_first_word(published: Published) -> None:
    run, results = summary(None)
    news = FleetReadiness(1, (NotReady("prod-a", "KeyProviderUnusable", "There is none.", "Mend it."),))
    published.topic.publish_summary(replace(run, readiness=news), results)
    published.topic.publish_summary(replace(run, readiness=FleetReadiness(0, ready_again=("prod-a",))), results)
    assert [one["Subject"].split(",")[0] for one in published.calls] == [
        "[ATTENTION] NOT READY any more: prod-a",
        "[ok] ready again: prod-a",
    ]


def test_a_summary_of_a_failed_run_says_so_in_its_first_word(published: Published) -> None:
    published.topic.publish_summary(*summary(Failure("FleetIncomplete", "Not as it should be: prod-a.", "Look.")))
    call = published.one()
    assert call["Subject"] == "[ATTENTION] 1 cluster, 0 rotated, 1 need ATTENTION"
    assert attributes(call)["succeeded"] == "false"


def test_what_is_larger_than_a_message_is_published_shortened_and_says_so(published: Published) -> None:
    published.topic.publish(rotated(detail="x" * LARGEST_MESSAGE))
    message = json.loads(published.one()["Message"])
    assert len(message["default"]) < LARGEST_MESSAGE
    assert json.loads(message["default"])["newKey"]["keyID"] == "key-1"
    assert "This message was too long." in message["email"]


def test_a_summary_of_very_long_texts_is_as_short_as_it_must_be(published: Published) -> None:
    run, results = summary(None)
    text = "x" * 5000
    missing = tuple(NotSelected(f"{number}-{text}", text, text) for number in range(9999))
    published.topic.publish_summary(replace(run, not_selected=missing), results)
    call = published.one()
    assert len(call["Message"]) <= LARGEST_MESSAGE
    assert "This message was too long." in json.loads(call["Message"])["email"]


def test_a_topic_that_is_gone_is_a_call_that_failed(published: Published) -> None:
    published.client.delete_topic(TopicArn=published.arn)
    with pytest.raises(AwsCallFailed, match="SNS did not publish the outcome"):
        published.topic.publish(rotated())


def test_an_endpoint_that_does_not_answer_is_a_call_that_failed() -> None:
    client = boto3.client("sns", region_name=REGION, config=Config(retries={"total_max_attempts": 1}))

    def unreachable(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://sns.eu-central-1.amazonaws.com")

    client.meta.events.register("before-send.sns.Publish", unreachable)
    with pytest.raises(AwsCallFailed, match="Could not connect to the endpoint URL"):
        SnsTopic(client, "arn:aws:sns:eu-central-1:123456789012:topic").publish_summary(*summary(None))


# --- notices ---

NOTICE = json.loads((ROOT / "schemas" / "rotation-notice.v1.schema.json").read_text())


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_is_a_document_plain_words_and_attributes(published: Published, kind: NoticeKind) -> None:
    request = Request("prod-a", "alarm x", "cloudwatch", Trigger.ALARM, cool_down_seconds=3600, key_created_after=NOW)
    waiting = rotation(request=request, cooling_until=NOW + timedelta(hours=1))
    published.topic.publish_notice(waiting, kind, "Cooling down until then.")
    call = published.one()
    message = json.loads(call["Message"])
    document = json.loads(message["default"])
    jsonschema.validate(document, NOTICE)
    assert document["notificationID"] == f"{waiting.execution.id}#{kind}"
    assert attributes(call) == {"schema": document["schema"], "notice": kind, "trigger": "alarm", "cluster": "prod-a"}
    assert call["Subject"] == f"[{kind}] prod-a: {kind.headline}"
    assert f"Cluster prod-a: {kind.headline}.\n\nCooling down until then.\n" in message["email"]
    assert "Asked by:             alarm (cloudwatch and alarm x)" in message["email"]
    waits = kind is NoticeKind.COOLING_DOWN
    assert ("coolingUntil" in document, "To rotate now: " in message["email"]) == (waits, waits)
    if waits:
        shown = message["email"].partition("To rotate now: ")[2].partition("\n")[0]
        assert shown.startswith("aws stepfunctions start-execution --region eu-central-1 --state-machine-arn arn:aws:")
        now = parse_request(json.loads(shlex.split(shown)[-1]))
        assert (now.force, now.cool_down_seconds, now.key_created_after) == (True, 0, NOW)
        assert parse_request(document["startNowWith"]) == now


def test_a_notice_without_a_request_or_a_requester_still_says_what_it_can(published: Published) -> None:
    published.topic.publish_notice(rotation(request=None), NoticeKind.BEGAN, "Replacing key key-0.")
    assert "Asked by:             manual\n" in json.loads(published.one()["Message"])["email"]


def test_the_schema_knows_every_kind_of_notice() -> None:
    assert NOTICE["properties"]["kind"]["enum"] == list(NoticeKind)


# --- changes of keys that nothing explains ---

CHANGED = json.loads((ROOT / "schemas" / "key-changed-outside.v1.schema.json").read_text())


@pytest.mark.parametrize("listed", [None, 8])
def test_a_change_outside_is_a_document_plain_words_and_attributes(published: Published, listed: int | None) -> None:
    change = OutsideChange("key-0", key("key-9", NOW), NOW - DAY, NOW, rekey_async_result_id=listed)
    published.topic.publish_outside(rotated(), change)
    call = published.one()
    message = json.loads(call["Message"])
    document = json.loads(message["default"])
    jsonschema.validate(document, CHANGED)
    assert document["notificationID"] == f"{ARN}#KeyChangedOutside#key-9"
    assert (document["oldKeyID"], document["newKey"]["keyID"]) == ("key-0", "key-9")
    assert attributes(call) == {"schema": document["schema"], "event": "KeyChangedOutside", "cluster": "prod-a"}
    assert call["Subject"] == "[KeyChangedOutside] prod-a: master key CHANGED, and not by Element Rekey"
    shows = "lists no rekey" if listed is None else "lists rekey 8 as its latest"
    assert message["email"] == (
        "Cluster prod-a: master key CHANGED, and not by Element Rekey.\n"
        "\n"
        "What happened: On this cluster key key-0 was replaced by key-9 after 2026-11-22 03:00:00 UTC and before "
        f"2026-11-23 03:00:00 UTC. No record explains it. The cluster {shows}.\n"
        "What to do:    Find out who rekeyed the cluster; docs/runbook.md, key-changed-outside, says where to look.\n"
        "\n"
        "Old key:              key-0\n"
        "New key:              key-9 (Internal, made 2026-11-23 03:00:00 UTC)\n"
        "Cluster uuid:         uuid-of-prod-a (production)\n"
        f"Seen by execution:    {ARN}\n"
    )


def test_the_schema_of_a_change_outside_has_its_members() -> None:
    members = {json_name(field.name) for field in fields(KeyChangedOutside)}
    assert set(CHANGED["properties"]) == members
    optional = {json_name(field.name) for field in fields(KeyChangedOutside) if "None" in str(field.type)}
    assert set(CHANGED["required"]) == members - optional

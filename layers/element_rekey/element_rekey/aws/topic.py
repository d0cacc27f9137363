"""The topic: what is published, sent as a JSON document, as plain words for e-mail, and with attributes for filters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from element_rekey.codec import encode
from element_rekey.errors import AwsCallFailed
from element_rekey.notifications import (
    build_notice,
    build_notification,
    notice_in_words,
    one_line,
    plain_words,
    subject_of,
)
from element_rekey.summary import build_summary, summary_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_sns import SNSClient

    from element_rekey.outcomes import NoticeKind
    from element_rekey.records import ClusterResult, FleetRun, Rotation


class SnsTopic:
    """``ports.Topic`` over Amazon SNS."""

    def __init__(self, client: SNSClient, topic_arn: str) -> None:
        """Publish to ``topic_arn`` through ``client``."""
        self._client = client
        self._topic_arn = topic_arn

    def publish(self, rotation: Rotation) -> None:
        """Publish a closed rotation (``sns:Publish``). Raises AwsCallFailed."""
        notification = build_notification(rotation)
        attributes = {
            "schema": notification.schema,
            "outcome": notification.outcome,
            "succeeded": str(notification.succeeded).lower(),
            "trigger": notification.trigger,
            "cluster": notification.cluster or "-",  # an attribute may not be empty
        }
        self._send(subject_of(notification), json.dumps(encode(notification)), plain_words(notification), attributes)

    def publish_notice(self, rotation: Rotation, kind: NoticeKind, detail: str) -> None:
        """Publish a notice of a rotation under way (``sns:Publish``). Raises AwsCallFailed."""
        notice = build_notice(rotation, kind, detail)
        attributes = {"schema": notice.schema, "notice": kind, "trigger": notice.trigger, "cluster": notice.cluster}
        subject = one_line(f"[{kind}] {notice.cluster}: {notice.headline}")
        self._send(subject, json.dumps(encode(notice)), notice_in_words(notice), attributes)

    def publish_summary(self, run: FleetRun, results: Sequence[ClusterResult]) -> None:
        """Publish a closed fleet run (``sns:Publish``). Raises AwsCallFailed."""
        summary = build_summary(run, results)
        attributes = {
            "schema": summary.schema,
            "outcome": "FleetSummary",
            "succeeded": str(summary.succeeded).lower(),
            "trigger": summary.trigger,
        }
        subject = one_line(f"[{'ok' if summary.succeeded else 'ATTENTION'}] {summary.headline}")
        self._send(subject, json.dumps(encode(summary)), summary_in_words(summary), attributes)

    def _send(self, subject: str, document: str, words: str, attributes: Mapping[str, str]) -> None:
        try:
            self._client.publish(
                TopicArn=self._topic_arn,
                Subject=subject,
                MessageStructure="json",
                Message=json.dumps({"default": document, "email": words}),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )
        except (ClientError, BotoCoreError) as error:
            raise AwsCallFailed(f"SNS did not publish the outcome: {error}") from error

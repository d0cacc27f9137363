"""The topic: what is published, sent as a JSON document, as plain words for e-mail, and with attributes for filters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from element_rekey.codec import encode, shortened
from element_rekey.errors import AwsCallFailed
from element_rekey.notifications import (
    KeyChangedOutside,
    Notification,
    RotationNotice,
    build_notice,
    build_notification,
    build_outside,
    notice_in_words,
    outside_in_words,
    plain_words,
    subject_line,
    subject_of,
)
from element_rekey.summary import Summary, build_summary, summary_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mypy_boto3_sns import SNSClient

    from element_rekey.outcomes import NoticeKind
    from element_rekey.records import ClusterResult, FleetRun, OutsideChange, Rotation

LARGEST_MESSAGE = 240_000  # bytes; SNS takes 262,144, and the attributes are of them
_SHORTER = ((1000, 50), (300, 10))  # characters of each text, and items of each list; the execution's ARN stays whole
_SHORTENED = "\nThis message was too long. What it leaves out is in the record of the execution.\n"

T = TypeVar("T", Notification, RotationNotice, KeyChangedOutside, Summary)


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
        self._send(subject_of(notification), message_of(notification, plain_words), attributes)

    def publish_notice(self, rotation: Rotation, kind: NoticeKind, detail: str) -> None:
        """Publish a notice of a rotation under way (``sns:Publish``). Raises AwsCallFailed."""
        notice = build_notice(rotation, kind, detail)
        attributes = {"schema": notice.schema, "notice": kind, "trigger": notice.trigger, "cluster": notice.cluster}
        subject = subject_line(f"[{kind}] {notice.cluster}: {notice.headline}")
        self._send(subject, message_of(notice, notice_in_words), attributes)

    def publish_outside(self, rotation: Rotation, change: OutsideChange) -> None:
        """Publish a change of keys that nothing explains (``sns:Publish``). Raises AwsCallFailed."""
        outside = build_outside(rotation, change)
        attributes = {"schema": outside.schema, "event": "KeyChangedOutside", "cluster": outside.cluster}
        subject = subject_line(f"[KeyChangedOutside] {outside.cluster}: {outside.headline}")
        self._send(subject, message_of(outside, outside_in_words), attributes)

    def publish_summary(self, run: FleetRun, results: Sequence[ClusterResult]) -> None:
        """Publish a closed fleet run (``sns:Publish``). Raises AwsCallFailed."""
        summary = build_summary(run, results)
        attributes = {
            "schema": summary.schema,
            "outcome": "FleetSummary",
            "succeeded": str(summary.succeeded).lower(),
            "trigger": summary.trigger,
        }
        well = summary.succeeded and not summary.became_not_ready
        subject = subject_line(f"[{'ok' if well else 'ATTENTION'}] {summary.headline}")
        self._send(subject, message_of(summary, summary_in_words), attributes)

    def _send(self, subject: str, message: str, attributes: Mapping[str, str]) -> None:
        try:
            self._client.publish(
                TopicArn=self._topic_arn,
                Subject=subject,
                MessageStructure="json",
                Message=message,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )
        except (ClientError, BotoCoreError) as error:
            raise AwsCallFailed(f"SNS did not publish the outcome: {error}") from error


def message_of(published: T, words_of: Callable[[T], str]) -> str:
    """The document and the words as one message, in a shorter form where SNS would not take the whole.

    Every text is bounded where it comes in, but a message holds many, and a record may be one of an earlier release.
    What is too large once is so at every retry, and nothing would be published at all.
    """
    message = _message(published, words_of(published))
    for longest, most in _SHORTER:
        if len(message) <= LARGEST_MESSAGE:
            return message
        shorter = shortened(published, longest, most)
        message = _message(shorter, words_of(shorter) + _SHORTENED)
    return message


def _message(published: Notification | RotationNotice | KeyChangedOutside | Summary, words: str) -> str:
    """All ASCII, as ``json.dumps`` writes it: a byte a character."""
    return json.dumps({"default": json.dumps(encode(published)), "email": words})

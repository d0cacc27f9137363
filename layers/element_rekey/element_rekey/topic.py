"""The topic: what is told, sent as a JSON document, as plain words for e-mail, and with attributes for filters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from .codec import encode
from .errors import AwsCallFailed
from .notifications import notification_of, one_line, plain_words, subject_of
from .summary import summary_in_words, summary_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_sns import SNSClient

    from .fleet import Standing
    from .model import FleetRun, Rotation


class SnsTopic:
    """``ports.Topic`` over Amazon SNS."""

    def __init__(self, client: SNSClient, topic_arn: str) -> None:
        """Publish to ``topic_arn`` through ``client``."""
        self._client = client
        self._topic_arn = topic_arn

    def publish(self, rotation: Rotation) -> None:
        """Publish a closed rotation (``sns:Publish``). Raises AwsCallFailed."""
        told = notification_of(rotation)
        attributes = {
            "schema": told.schema,
            "outcome": told.outcome,
            "succeeded": str(told.succeeded).lower(),
            "trigger": told.trigger,
            "cluster": told.cluster or "-",  # an attribute may not be empty
        }
        self._send(subject_of(told), json.dumps(encode(told)), plain_words(told), attributes)

    def publish_summary(self, run: FleetRun, after: Sequence[Standing]) -> None:
        """Publish a closed fleet run (``sns:Publish``). Raises AwsCallFailed."""
        told = summary_of(run, after)
        attributes = {
            "schema": told.schema,
            "outcome": "FleetSummary",
            "succeeded": str(told.succeeded).lower(),
            "trigger": told.trigger,
        }
        subject = one_line(f"[{'ok' if told.succeeded else 'ATTENTION'}] {told.headline}")
        self._send(subject, json.dumps(encode(told)), summary_in_words(told), attributes)

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

"""AWS clients of an engine, deaf to the user's own AWS settings, credentials, proxies and CA bundles."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config

from local.engine import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient


def deaf_session() -> boto3.Session:
    """A session that sees no AWS_* variable and no ~/.aws file: every setting is botocore's default."""
    variables = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    for file in ("config_file", "credentials_file"):
        variables[file] = (None, None, os.devnull, None)
    return boto3.Session(
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        region_name=REGION,
        botocore_session=botocore.session.Session(session_vars=variables),
    )


@dataclass(frozen=True)
class Aws:
    """One client per service, made at first use. No retries: an engine that does not answer is dead."""

    endpoint_url: str

    @cached_property
    def _session(self) -> boto3.Session:
        return deaf_session()

    @cached_property
    def _config(self) -> Config:
        return Config(proxies={}, connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 1})

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """CloudFormation."""
        return self._session.client("cloudformation", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB."""
        return self._session.client("dynamodb", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """CloudWatch Logs."""
        return self._session.client("logs", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def s3(self) -> S3Client:
        """S3."""
        return self._session.client("s3", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def secretsmanager(self) -> SecretsManagerClient:
        """Secrets Manager."""
        return self._session.client("secretsmanager", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def sns(self) -> SNSClient:
        """SNS."""
        return self._session.client("sns", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def sqs(self) -> SQSClient:
        """SQS."""
        return self._session.client("sqs", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def stepfunctions(self) -> SFNClient:
        """Step Functions."""
        return self._session.client("stepfunctions", endpoint_url=self.endpoint_url, config=self._config)

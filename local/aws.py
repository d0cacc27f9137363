"""AWS clients of an engine, isolated from the user's own AWS settings, credentials, proxies and CA bundles."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config

from local.engine import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient


def isolated_session() -> boto3.Session:
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
    """The services of one endpoint."""

    endpoint_url: str
    cloudformation: CloudFormationClient
    cloudwatch: CloudWatchClient
    dynamodb: DynamoDBClient
    logs: CloudWatchLogsClient
    s3: S3Client
    secretsmanager: SecretsManagerClient
    sns: SNSClient
    sqs: SQSClient
    stepfunctions: SFNClient


def connect(endpoint_url: str) -> Aws:
    """Clients of ``endpoint_url``. They do not retry: an engine that does not answer is dead."""
    session = isolated_session()
    config = Config(proxies={}, connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 1})
    services = (field.name for field in fields(Aws) if field.name != "endpoint_url")
    clients: dict[str, Any] = {
        service: session.client(service, endpoint_url=endpoint_url, config=config) for service in services
    }
    return Aws(endpoint_url, **clients)

"""What a function of this kind has to import and make anyway, before a line of this project's."""

import boto3
import requests
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config

CONFIG = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
CLIENTS = (
    boto3.client("secretsmanager", config=CONFIG),
    boto3.client("dynamodb", config=CONFIG),
    boto3.client("sns", config=CONFIG),
)
SESSION = requests.Session
LOGGER = Logger(utc=True)
METRICS = Metrics()

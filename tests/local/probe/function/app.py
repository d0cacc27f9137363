"""A Lambda function that does what its event says."""

from __future__ import annotations

import itertools
import os
from typing import Any

import boto3
from probe_layer import greeting  # type: ignore[import-not-found]  # a layer's module, on the path in Lambda only

ATTEMPTS = itertools.count(1)


class NotYet(Exception):
    """Come again."""


class Refused(Exception):
    """Do not."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do what ``event["do"]`` says."""
    match event["do"]:
        case "fail twice":
            attempt = next(ATTEMPTS)
            if attempt <= 2:
                raise NotYet(f"attempt {attempt}")
            return {"attempt": attempt}
        case "refuse":
            raise Refused("as asked")
        case "break":
            return {"impossible": 1 / 0}
        case "read":
            client = boto3.client("secretsmanager")
            return {"read": client.get_secret_value(SecretId=event["secret"])["SecretString"]}
        case "greet":
            return {"greeting": greeting()}
        case _:
            return {"environment": dict(os.environ)}

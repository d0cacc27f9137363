"""No credential in anything that a run leaves behind for others to read."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenarios import SCENARIOS, WRONG_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.scenarios import Results

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]


def traces(results: Results) -> Iterator[tuple[str, str]]:
    """Logs, histories with every state, executions with their outputs, notifications, the ledger."""
    deployment = results.stack.deployment
    for name, run in results.runs.items():
        yield f"history of {name}", json.dumps(run.history, default=str)
        yield f"execution of {name}", json.dumps(run.description, default=str)
        yield f"notification of {name}", json.dumps(run.published)
    for group in deployment.log_groups:
        pages = deployment.aws.logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        yield group, "\n".join(event["message"] for page in pages for event in page["events"])
    yield "ledger", json.dumps(deployment.aws.dynamodb.scan(TableName=deployment.table_name)["Items"], default=str)
    yield "engine", results.stack.engine.log()


def test_no_trace_holds_a_password(results: Results) -> None:
    passwords = {results.stack.simulator[name].password for name in SCENARIOS} | {WRONG_PASSWORD}
    tokens = {base64.b64encode(f"rekey:{password}".encode()).decode() for password in passwords}
    found = [where for where, text in traces(results) for secret in passwords | tokens if secret in text]
    assert found == []


@pytest.mark.parametrize("step", ["start-rekey", "check-status", "publish-outcome"])
def test_the_traces_searched_are_the_real_ones(results: Results, step: str) -> None:
    (log,) = [text for where, text in traces(results) if where.endswith(f"/{step}")]
    assert "REPORT" in log
    assert '"service":"element-rekey"' in log

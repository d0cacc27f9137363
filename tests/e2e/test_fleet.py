"""The real fleet machine on the engine, through its real triggers, seen as a person sees it: by command and output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from element_rekey.aws.ledger import DynamoLedger
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import asked_of
from local.fleet import published, specifications
from local.stack import running_stack

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

ROOT = Path(__file__).parents[2]
SECONDS = 100


def local(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def counts(summary: dict[str, list[dict[str, object]]]) -> dict[object, object]:
    return {one["outcome"]: one["clusters"] for one in summary["counts"]}


def test_fleet_rotates_what_is_due_and_leaves_the_rest() -> None:
    done = local("fleet", "--clusters", "6", "--due", "3", "--rekey-seconds", "0.5", "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert summary["succeeded"] is True
    assert counts(summary) == {"Rotated": 3, "NotDue": 3}
    assert summary["rotated"] == ["cluster-0001", "cluster-0002", "cluster-0003"]


def test_fleet_with_a_failure_lets_the_others_have_their_chance_and_fails() -> None:
    done = local("fleet", "--clusters", "4", "--due", "3", "--fail", "1", "--rekey-seconds", "0.5", "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 1
    assert (summary["succeeded"], summary["error"]) == (False, "FleetIncomplete")
    assert counts(summary) == {"Rotated": 2, "NotDue": 1, "Failed": 1}
    assert [one["cluster"] for one in summary["attention"]] == ["cluster-0001"]
    assert [one["cluster"] for one in summary["overdueKeys"]] == ["cluster-0001"]


def test_schedule_stops_the_wave_on_the_first_failure() -> None:
    specs = specifications(3, due=3, fail=1, rekey_seconds=0.5)
    with running_stack(specs, 0.05) as stack:
        deployment = stack.deployment
        execution = deployment.start({"trigger": "schedule", "canary": "cluster-0001"}, "RotateFleet")
        *_, summary = published(deployment, execution)
        assert summary["executionArn"] == execution
        assert counts(summary) == {"Failed": 1, "NotBegun": 2}
        assert [len(one.cluster.rekeys) for one in stack.simulator] == [1, 0, 0]
        ledger = DynamoLedger(deployment.aws.dynamodb, deployment.table_name)
        (record,) = ledger.rotations_of("cluster-0001")
        assert (record.outcome, asked_of(record).trigger) == (Outcome.FAILED, Trigger.SCHEDULE)
        assert [one.cluster for one in ledger.rotations_in(f"{record.execution.started_at:%Y-%m}")] == ["cluster-0001"]


@pytest.mark.parametrize("trigger", ["alarm", "schedule"])
def test_trigger_rotates_through_its_rule_and_the_fleet(trigger: str) -> None:
    done = local("rotate", "--trigger", trigger, "--rekey-seconds", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    notification = json.loads(done.stdout)
    assert (notification["outcome"], notification["trigger"]) == ("Rotated", trigger)
    assert notification["reason"]

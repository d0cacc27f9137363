"""``element-rekey`` as a person calls it, against the engine: found by AWS_ENDPOINT_URL, and by what make up wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.engine import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY

if TYPE_CHECKING:
    from tests.e2e.scenarios import Results

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

ROOT = Path(__file__).parents[2]
SECONDS = 60


def element_rekey(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "element_rekey")])
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "element_rekey_cli", *arguments],
        env={**kept, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def on_aws(results: Results) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": results.stack.engine.endpoint_url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    }


def test_the_state_of_every_cluster_is_what_became_of_it(results: Results) -> None:
    done = element_rekey("status", "--json", **on_aws(results))
    assert done.stderr == ""
    assert done.returncode == 1
    document: dict[str, Any] = json.loads(done.stdout)
    states = {one["cluster"]: one["state"] for one in document["clusters"]}
    expected = {
        "plain": "ok",
        "external": "ok",
        "dry-run": "overdue",  # its key is as old as before
        "fails-rewrapping": "overdue",
        "fails-decommissioning": "unknown",
        "wrong-password": "not ready",
        "stopped": "unknown",
    }
    assert {name: states[name] for name in expected} == expected
    assert "bad-request" in states
    assert "not-registered" not in states
    whole = {one["cluster"]: one for one in document["clusters"]}
    assert (whole["external"]["keyManagementType"], whole["external"]["keyProviderID"]) == ("External", 15)


def test_a_dry_run_is_followed_to_its_answer_and_can_be_shown_after_it(results: Results, tmp_path: Path) -> None:
    where = {
        "endpointUrl": results.stack.engine.endpoint_url,
        "region": REGION,
        "accessKeyId": ACCESS_KEY_ID,
        "secretAccessKey": SECRET_ACCESS_KEY,
        "stackName": results.stack.deployment.stack_name,
    }
    file = tmp_path / f"element-rekey-up-{os.getuid()}.json"
    file.write_text(json.dumps(where))
    file.chmod(0o600)
    done = element_rekey("rotate", "plain", "--dry-run", "--json", "--local", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "StartRekey" in done.stderr
    published = json.loads(done.stdout)
    assert (published["cluster"], published["outcome"]) == ("plain", "Planned")
    shown = element_rekey("show", published["executionArn"], "--local", TMPDIR=str(tmp_path))
    assert "What happened when" in shown.stdout
    kept = element_rekey("history", "plain", "--all", "--json", "--local", TMPDIR=str(tmp_path))
    assert [one["outcome"] for one in json.loads(kept.stdout)["rotations"]] == ["Planned", "Rotated"]

"""``fleet``: whole fleet runs on one machine, and what grows with the number of clusters.

The engine and the functions share this machine's cores with the clusters, so the time says how it grows, not how long
it takes on AWS. Next to it stands a script as one would write it: a loop over the clusters, one after the other.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from bench.places import make_importable
from bench.table import Table, number

make_importable()
from element_rekey.codec import encode  # noqa: E402 - after the path is set
from element_rekey.outcomes import Trigger  # noqa: E402 - likewise
from element_rekey.records import Execution, FleetRequest, Registered  # noqa: E402 - likewise
from element_rekey.rules.selection import map_input, select  # noqa: E402 - likewise
from element_rekey.settings import FleetSettings  # noqa: E402 - likewise
from local.fleet import SUMMARY_SECONDS, published, specifications  # noqa: E402 - likewise
from local.simulator import Simulator  # noqa: E402 - likewise
from local.stack import running_stack  # noqa: E402 - likewise

if TYPE_CHECKING:
    from local.deployment import Deployment
    from local.simulator import RunningCluster
    from local.stack import Stack

SIZES = (10, 100, 1000)
QUICK_SIZES = (5, 20)
DUE_SHARE = 0.1
REKEY_SECONDS = 0.5
WAIT_SCALE = 0.05
LOOK_SECONDS = 0.1
AT_A_TIME = 8
KIB = 1024
STATE_LIMIT = 256 * KIB
ITEM_LIMIT = 400 * KIB
LONGEST_NAME = 64
REMARKS = (
    f"""A tenth of the clusters is due, a rekey takes {REKEY_SECONDS} s, {AT_A_TIME} are worked on at a time; waits
    are shortened to {WAIT_SCALE:.0%}.""",
    """The script reads each cluster's key and rekeys the old ones, one after the other, on one kept-alive connection
    a cluster: no lock, no intent, no verification, no history, no notification.""",
    """Events: of the run's own execution, of 25,000 that one may have. Each cluster's part in the map run is an
    execution of its own, with 17 events, and so is its rotation.""",
    f"""State: the largest payload between two steps with names of {LONGEST_NAME} characters, of {STATE_LIMIT // KIB}
    KiB that Step Functions takes. Record: the run's item in the ledger, of {ITEM_LIMIT // KIB} KiB.""",
)


@dataclass(frozen=True)
class Measured:
    """One run."""

    seconds: float
    megabytes: float
    events: int


def run(quick: bool) -> Table:  # noqa: FBT001 - the shape of every benchmark
    """Run fleets of growing size, each next to the script."""
    rows = []
    for clusters in QUICK_SIZES if quick else SIZES:
        due = max(1, round(clusters * DUE_SHARE))
        ours, script = fleet_run(clusters, due), script_run(clusters, due)
        state, record = payload(clusters)
        rows.append(
            (
                f"{clusters:,}",
                str(due),
                f"{number(ours.seconds)} s",
                f"{number(ours.seconds / clusters * 1000)} ms",
                f"{number(ours.megabytes)} MB",
                f"{number(script)} s",
                str(ours.events),
                f"{number(state / KIB)} KiB",
                f"{number(record / KIB)} KiB",
            )
        )
    columns = ("clusters", "due", "fleet run", "a cluster", "engine's memory", "script", "events", "state", "record")
    return Table(columns, tuple(rows), tuple(" ".join(remark.split()) for remark in REMARKS))


def wait_for_end(deployment: Deployment, execution: str) -> None:
    """Until a run whose summary was published has ended, a step later, so that its whole history is counted."""
    deadline = time.monotonic() + SUMMARY_SECONDS
    while deployment.status(execution) == "RUNNING":
        if time.monotonic() > deadline:
            raise RuntimeError(f"The fleet run published its summary and goes on: {execution}.")
        time.sleep(LOOK_SECONDS)  # nothing but the status shows the end


def fleet_run(clusters: int, due: int) -> Measured:
    """The real fleet machine on the engine."""
    with running_stack(specifications(clusters, due, 0, REKEY_SECONDS), WAIT_SCALE) as stack:
        request = {"trigger": "schedule", "maxConcurrency": AT_A_TIME}
        began, most = time.monotonic(), 0.0
        execution = stack.deployment.start(request, "RotateFleet")
        summary: dict[str, Any] = {}
        for document in published(stack.deployment, execution):
            most, summary = max(most, megabytes(stack)), document
        seconds = time.monotonic() - began
        wait_for_end(stack.deployment, execution)
        events = len(list(stack.deployment.history(execution)))
        rotated = sum(len(one.cluster.rekeys) for one in stack.simulator)
    if not summary.get("succeeded") or summary.get("clusters") != clusters or rotated != due:
        raise RuntimeError(f"a fleet of {clusters} did not end well: {json.dumps(summary)[:500]}")
    return Measured(seconds, most, events)


def megabytes(stack: Stack) -> float:
    """The resident memory of the engine and its functions, where the system says it (Linux)."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == stack.engine.pid:  # its process group
            total += int(fields[21])
    return total * 4096 / 1e6


def script_run(clusters: int, due: int) -> float:
    """Seconds for a plain loop over the clusters."""
    with Simulator(specifications(clusters, due, 0, REKEY_SECONDS)) as simulator:
        began = time.monotonic()
        for cluster in simulator:
            rekey_if_old(cluster)
        return time.monotonic() - began


def rekey_if_old(cluster: RunningCluster) -> None:
    """What the loop does with one cluster."""
    with requests.Session() as session:
        session.trust_env = False
        session.auth = (cluster.username, cluster.password)
        session.verify = str(cluster.ca_file)
        ids = count(1)

        def call(method: str, **params: object) -> dict[str, Any]:
            body = {"method": method, "params": params, "id": next(ids)}
            answer: dict[str, Any] = session.post(f"{cluster.url}/json-rpc/12.3", json=body, timeout=30).json()[
                "result"
            ]
            return answer

        key = call("GetSoftwareEncryptionAtRestInfo")["masterKeyInfo"]
        if datetime.fromisoformat(key["keyCreatedTime"]) > datetime.now(UTC) - timedelta(days=90):
            return
        handle = call("RekeySoftwareEncryptionAtRestMasterKey")["asyncHandle"]
        while call("GetAsyncResult", asyncHandle=handle, keepResult=True)["status"] == "running":
            time.sleep(REKEY_SECONDS / 2)


def payload(clusters: int) -> tuple[int, int]:
    """Bytes of the largest state and of the ledger's record, with the longest names there can be."""
    settings = FleetSettings(
        max_key_age=timedelta(days=90),
        cool_down=timedelta(hours=1),
        spread=timedelta(minutes=30),
        max_concurrency=AT_A_TIME,
        urgent_max_concurrency=AT_A_TIME,
        alarm_prefix="element-key-compromise-",
    )
    execution = Execution("arn:aws:states:us-east-1:000000000000:execution:RotateFleet:run", datetime.now(UTC))
    request = FleetRequest(trigger=Trigger.SCHEDULE)
    names = (f"{number:0{LONGEST_NAME}}" for number in range(clusters))
    selected = select(settings, execution, request, [Registered(name) for name in names])
    return len(json.dumps(map_input(settings, selected, request))), len(json.dumps(encode(selected)))

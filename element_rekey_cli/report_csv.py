"""The report as one table for a spreadsheet: a row for each key, breach, rotation, change outside and gap."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from element_rekey.codec import encode
from element_rekey.text import flat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from element_rekey.cluster import MasterKey

    from .documents import ReportDocument
    from .evidence import ClusterEvidence

COLUMNS = (
    "row",
    "cluster",
    "judgement",
    "from",
    "to",
    "days",
    "outcome",
    "error",
    "trigger",
    "requestedBy",
    "reason",
    "oldKeyID",
    "oldKeyManagementType",
    "oldKeyProviderID",
    "newKeyID",
    "newKeyManagementType",
    "newKeyProviderID",
    "finishedAt",
    "jobResultRead",
    "ours",
    "settledBy",
    "executionArn",
)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width ones begin a formula, too


def csv_of(document: ReportDocument) -> str:
    """The table, with a line for its columns."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for one in document.clusters:
        for row in _rows(one):
            writer.writerow({name: cell(value) for name, value in row.items()})
    return file.getvalue()


def cell(value: object) -> str:
    """A value as text that no spreadsheet takes for a formula, on one line."""
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else flat(str(encode(value)))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _rows(one: ClusterEvidence) -> Iterator[dict[str, object]]:
    yield {"row": "cluster", "cluster": one.cluster, "judgement": one.judgement, "days": one.days_in_breach}
    for life in one.keys:
        yield _row("key", one, life.made_at, life.until) | {"days": life.age_days} | _key("new", life.key)
    for breach in one.breaches:
        yield _row("breach", one, breach.since, breach.until) | {"days": breach.days, "newKeyID": breach.key_id}
    for line in one.rotations:
        yield (
            _row("rotation", one, line.started_at, line.ended_at)
            | {
                "outcome": line.outcome,
                "error": line.error,
                "trigger": line.trigger,
                "requestedBy": line.requested_by,
                "reason": line.reason,
                "finishedAt": line.finished_at,
                "jobResultRead": line.job_result_read,
                "ours": line.ours,
                "settledBy": line.settled_by,
                "executionArn": line.execution_arn,
            }
            | _key("old", line.old_key)
            | _key("new", line.new_key)
        )
    for change in one.changes_outside:
        row = _row("change outside", one, change.old_key_seen_at, change.new_key_seen_at)
        yield row | {"oldKeyID": change.old_key_id} | _key("new", change.new_key)
    for gap in one.gaps:
        keys = {"oldKeyID": gap.expected_key_id, "newKeyID": gap.found_key_id}
        yield _row("gap", one, gap.after, gap.before) | keys


def _row(kind: str, one: ClusterEvidence, since: datetime | None, until: datetime | None) -> dict[str, object]:
    return {"row": kind, "cluster": one.cluster, "from": since, "to": until}


def _key(which: str, key: MasterKey | None) -> dict[str, object]:
    if key is None:
        return {}
    return {
        f"{which}KeyID": key.key_id,
        f"{which}KeyManagementType": key.key_management_type,
        f"{which}KeyProviderID": key.key_provider_id,
    }

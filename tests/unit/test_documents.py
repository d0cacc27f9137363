"""What the documents point to is there, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.template import TEMPLATE

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FIRST = (ROOT / "docs" / "first-real-cluster.md").read_text(encoding="utf-8")


def headings(document: Path) -> set[str]:
    """The anchors of a document, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_the_first_real_cluster_is_found_from_both_first_pages() -> None:
    assert "docs/first-real-cluster.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "first-real-cluster.md" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


def test_what_the_first_real_cluster_names_is_there() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    outputs = re.findall(r"\$\(out (\w+)\)", FIRST)
    assert outputs
    assert set(outputs) <= set(TEMPLATE["Outputs"])
    for name in re.findall(r"`(ScheduleState|NotificationEmail|\w+Minutes|Compromise\w+)`", FIRST):
        assert name in TEMPLATE["Parameters"]
    for error in re.findall(r"`((?:Api|Permission|Encryption|Answer|Key|Rekey|Would)[A-Z]?[a-z]+[A-Z]\w+)`", FIRST):
        assert f"### `{error}`" in runbook or error.startswith("keyTo"), error
    schema = (ROOT / "schemas" / "rotation-outcome.v1.schema.json").read_text(encoding="utf-8")
    for member in (
        "outcome",
        "unfamiliar",
        "currentKey",
        "clusterUUID",
        "rekeySeconds",
        "jobResultRead",
        "keyToDecommission",
    ):
        assert f"`{member}`" in FIRST
        assert f'"{member}"' in schema


def test_it_reads_before_it_changes() -> None:
    """Up to the first rotation, no command can change a key."""
    before, _, after = FIRST.partition("## 5. The first rotation")
    assert after
    assert "RekeySoftwareEncryptionAtRestMasterKey" not in FIRST
    starts = re.findall(r"start-execution[^\n]*\\\n[^\n]*|start-execution[^\n]*", before)
    assert starts
    assert all('"dryRun": true' in start for start in starts)
    for call in re.findall(r"GetAsyncResult\", \"params\": (.*?)}'", FIRST):
        assert '"keepResult": true' in call

"""The summary says what the tables say."""

from __future__ import annotations

from tests.reliability.report import SECTIONS, SUMMARY, document, summary_table
from tests.tables import section


def test_every_table_has_its_document_and_the_summary_counts_their_runs() -> None:
    assert {document(name).name for name in SECTIONS} == {"crashes.md", "abandoned.md", "matrix.md"}
    assert section("runs", SUMMARY.read_text(encoding="utf-8")) == summary_table()

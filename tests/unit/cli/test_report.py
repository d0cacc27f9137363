"""``element-rekey report``: a made-up year with twelve rotations, one breach and one change outside."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import OutsideChange, Request
from element_rekey_cli.report_csv import cell
from tests.fakes import NOW
from tests.unit.cli.golden import assert_is
from tests.unit.cli.scenario import failure, recorded, remembered, rotated
from tests.unit.cli.schemas import assert_valid
from tests.unit.samples import DAY, MINUTE, external, key

if TYPE_CHECKING:
    from pathlib import Path

    from element_rekey.cluster import MasterKey
    from tests.unit.cli.harness import Harness, Ran

YEAR = ("--from", "2025-11-01", "--to", "2026-10-31")
MARKUP = '<script>alert("x")</script><img src=x onerror=alert(1)>&amp;'


def day(month: int, of_month: int = 1, year: int = 2026) -> datetime:
    return datetime(year, month, of_month, 3, 0, tzinfo=UTC)


def in_a_row(harness: Harness, cluster: str, keys: list[MasterKey], began: list[datetime]) -> None:
    for number, moment in enumerate(began):
        rotated(harness, cluster, moment, keys[number], keys[number + 1])


def named(cluster: str, *made: datetime) -> list[MasterKey]:
    return [key(f"{cluster}-key-{number}", moment) for number, moment in enumerate(made)]


def a_year(harness: Harness) -> None:
    """Twelve rotations of three clusters; prod-b's third was 40 days late, and prod-c's key was changed by others."""
    harness.register("prod-a")
    began = [day(11, 20, 2025), day(2, 10), day(5, 5), day(7, 30), day(10, 20)]
    in_a_row(harness, "prod-a", named("prod-a", day(9, 1, 2025), *(one + MINUTE for one in began)), began)
    remembered(harness, "prod-a", "prod-a-key-5", began[-1] + MINUTE)

    harness.register("prod-b")
    began = [day(12, 1, 2025), day(2, 25), day(7, 5), day(9, 25)]
    in_a_row(harness, "prod-b", named("prod-b", day(9, 10, 2025), *(one + MINUTE for one in began)), began)
    refused = failure("CredentialsRefused", "The cluster refused the user rekey (HTTP 401).")
    recorded(harness, "prod-b", day(5, 27), outcome=Outcome.FAILED, failure=refused)
    remembered(harness, "prod-b", "prod-b-key-4", began[-1] + MINUTE)

    harness.register("prod-c")
    first, second, others, third = (external(f"prod-c-key-{number}", 15, None) for number in range(4))
    first, second = (
        replace(first, key_created_time=day(10, 1, 2025)),
        replace(second, key_created_time=day(12, 20, 2025)),
    )
    others, third = replace(others, key_created_time=day(3, 2)), replace(third, key_created_time=day(5, 20))
    fourth = external("prod-c-key-4", 15, day(8, 10))
    rotated(harness, "prod-c", day(12, 20, 2025) - MINUTE, first, second)
    outside = OutsideChange(second.key_id, others, day(3, 1), day(3, 3), 17)
    recorded(harness, "prod-c", day(3, 3), outcome=Outcome.NOT_DUE, current_key=others, outside=(outside,))
    report = Request("prod-c", reason=MARKUP, requested_by="=HYPERLINK(1)", trigger=Trigger.ALARM)
    harness.ledger.save(replace(rotated(harness, "prod-c", day(5, 20) - MINUTE, others, third), request=report))
    rotated(harness, "prod-c", day(8, 10) - MINUTE, third, fourth)
    remembered(harness, "prod-c", fourth.key_id, day(8, 10))

    harness.register("lab-a")  # nobody ever looked at it
    recorded(harness, "prod-typo", day(4, 4), outcome=Outcome.FAILED, failure=failure("ClusterNotRegistered", "No."))


def written(harness: Harness, tmp_path: Path, *more: str) -> tuple[Ran, str, str]:
    """What the command says, the HTML, and the table."""
    html, table = tmp_path / "out.html", tmp_path / "out.csv"
    ran = harness.run("report", *YEAR, "--html", str(html), "--csv", str(table), *more)
    return ran, html.read_text(encoding="utf-8"), table.read_bytes().decode("utf-8-sig")


def test_a_made_up_year_is_as_in_the_files(harness: Harness, tmp_path: Path) -> None:
    a_year(harness)
    ran, html, table = written(harness, tmp_path)
    assert (ran.code, ran.out) == (0, f"Written: {tmp_path / 'out.html'}\nWritten: {tmp_path / 'out.csv'}\n")
    assert_is("report.html", html)
    assert_is("report.csv", table.replace("\r\n", "\n"))
    assert_is("report.txt", harness.run("report", *YEAR).out)


def test_its_numbers_are_those_of_the_year(harness: Harness) -> None:
    a_year(harness)
    ran = harness.run("report", *YEAR, "--json")
    assert_valid("command-report.v1", ran.document)
    assert ran.document["summary"] == {
        "clusters": 4,
        "inPolicy": 2,
        "inBreach": 1,
        "daysInBreach": 40.0,
        "ageUnknown": 0,
        "unseen": 1,
        "neverRotated": 1,
        "keyChanges": 12,
        "failures": 1,
        "changesOutside": 1,
        "gaps": 0,
    }
    assert [(one["cluster"], one["judgement"]) for one in ran.document["clusters"]] == [
        ("prod-b", "breach"),
        ("lab-a", "unseen"),
        ("prod-a", "in policy"),
        ("prod-c", "in policy"),
        ("prod-typo", "no cluster"),
    ]
    assert ran.document["basis"].startswith("Records are not chained yet: what is shown is what the table holds.")


def test_every_control_speaks_of_numbers_that_are_there(harness: Harness) -> None:
    document = harness.run("report", *YEAR, "--json").document
    numbers = {"maxKeyAgeDays", *document["summary"]}
    assert [one["name"] for one in document["controls"]] == [
        "PCI DSS v4, requirement 3.7.4",
        "NIST SP 800-57 Part 1, cryptoperiods (section 5.3)",
        "ISO/IEC 27001:2022, Annex A 8.24",
    ]
    assert all(set(one["figures"]) <= numbers for one in document["controls"])


class Read(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_markup_in_a_reason_stays_text(harness: Harness, tmp_path: Path) -> None:
    a_year(harness)
    page = Read(written(harness, tmp_path)[1])
    assert MARKUP in page.text
    assert not page.all("script")
    assert not page.all("img")


def test_the_page_fetches_nothing_and_runs_nothing(harness: Harness, tmp_path: Path) -> None:
    a_year(harness)
    html = written(harness, tmp_path)[1]
    page = Read(html)
    assert {name for name, _ in page.elements} & {"script", "link", "iframe", "object", "image", "use"} == set()
    links = [attributes["href"] or "" for _, attributes in page.elements if "href" in attributes]
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert links
    assert all(one.startswith("#") and one[1:] in ids for one in links)
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [one for one in names if one in {"src", "style"} or one.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_page_is_one_for_screen_readers_and_the_keyboard(harness: Harness, tmp_path: Path) -> None:
    a_year(harness)
    html = written(harness, tmp_path)[1]
    page = Read(html)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pictures = page.all("svg")
    assert len(pictures) == 4
    for one in pictures:
        assert one["role"] == "img"
        assert set((one["aria-labelledby"] or "").split()) <= set(ids)
    scrolled = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert len(scrolled) == len(page.all("table")) + len(pictures)
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in scrolled)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "＝1"])  # noqa: RUF001
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")


def test_the_table_has_what_was_asked_as_text(harness: Harness, tmp_path: Path) -> None:
    a_year(harness)
    rows = list(csv.DictReader(io.StringIO(written(harness, tmp_path)[2])))
    (asked,) = [row for row in rows if row["requestedBy"].endswith("=HYPERLINK(1)")]
    assert (asked["requestedBy"], asked["reason"]) == ("'=HYPERLINK(1)", MARKUP)
    assert asked["jobResultRead"] == "true"
    kinds = [row["row"] for row in rows]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "breach": 1,
        "change outside": 1,
        "cluster": 5,
        "key": 16,
        "rotation": 15,
    }


def test_a_gap_an_unread_result_and_a_rekey_of_others_are_told(harness: Harness, tmp_path: Path) -> None:
    harness.register("prod-a")
    keys = named("prod-a", day(1), day(2), day(3), day(4))
    rotated(harness, "prod-a", day(2), keys[0], keys[1])
    followed = rotated(harness, "prod-a", day(4) - MINUTE, keys[2], keys[3])
    assert followed.change
    change = replace(followed.change, ours=False, job_result_read=False)
    lost = replace(followed, change=change, outcome=Outcome.OUTCOME_UNKNOWN, settled_by=followed.execution)
    harness.ledger.save(lost)
    recorded(harness, "prod-a", day(5), ended_at=None, request=None)
    _, html, table = written(harness, tmp_path)
    text = Read(html).text
    assert "Gaps in the keys of prod-a" in text
    assert "The cluster's state alone (jobResultRead false), somebody else began the rekey; seen by arn:" in text
    assert "under way" in text
    assert [row["row"] for row in csv.DictReader(io.StringIO(table))].count("gap") == 1


def test_what_is_not_known_is_not_made_up(harness: Harness, tmp_path: Path) -> None:
    """A cluster that is gone, whose key has neither a type nor a time, and was changed by others."""
    seen = OutsideChange("key-0", replace(key("key-1", None), key_management_type=None), None, day(6))
    recorded(harness, "gone", day(6), current_key=seen.new_key, outside=(seen,), outcome=Outcome.NOT_DUE)
    text = Read(written(harness, tmp_path)[1]).text
    for part in (
        "It is not registered, and judged until it was last seen.",
        "Never rotated: no change of its key is on record.",
        "Age unknown: no breach shows",
        "before 2026-06-01 03:00:00 UTC",
        "not known",
    ):
        assert part in text


def test_where_there_is_no_cluster_it_says_so(harness: Harness, tmp_path: Path) -> None:
    assert "No cluster is registered, and none is on record." in Read(written(harness, tmp_path)[1]).text
    assert "Clusters: 0; in policy: 0" in harness.run("report", *YEAR).out.replace("\n", " ")


def test_a_report_until_now_says_as_of_when(harness: Harness) -> None:
    harness.register("prod-a")
    remembered(harness, "prod-a", "key-1", NOW - 100 * DAY)
    document = harness.run("report", "--from", "2026-01-01", "--to", "2026-12-31", "--json").document
    assert (document["until"], document["asOf"]) == ("2027-01-01T00:00:00.000Z", "2026-11-23T03:00:00.000Z")
    assert document["clusters"][0]["breaches"][0]["days"] == 10.0
    until_today = harness.run("report", "--from", "2026-01-01", "--json").document
    assert until_today["until"] == "2026-11-24T00:00:00.000Z"
    assert until_today["clusters"] == document["clusters"]


def test_a_long_time_has_fewer_months_in_its_picture(harness: Harness, tmp_path: Path) -> None:
    harness.register("prod-a")
    remembered(harness, "prod-a", "key-1", NOW - 100 * DAY)
    file = tmp_path / "out.html"
    harness.run("report", "--from", "2021-01-15", "--html", str(file))
    grid = [one for one in Read(file.read_text(encoding="utf-8")).all("line") if one["class"] == "grid"]
    assert 10 <= len(grid) <= 13


@pytest.mark.parametrize("days", [("2026-02-01", "2026-01-31"), ("2027-01-01", "2027-12-31")])
def test_a_time_that_is_none_is_refused(harness: Harness, days: tuple[str, str]) -> None:
    ran = harness.run("report", "--from", days[0], "--to", days[1])
    assert (ran.code, ran.out) == (2, "")
    assert "there is no such time" in ran.err


def test_a_file_that_cannot_be_written_is_told(harness: Harness, tmp_path: Path) -> None:
    ran = harness.run("report", *YEAR, "--html", str(tmp_path / "not-there" / "out.html"))
    assert ran.code == 2
    assert "cannot be written: No such file or directory." in ran.err


def test_with_json_the_document_alone_is_on_standard_output(harness: Harness, tmp_path: Path) -> None:
    ran, _, _ = written(harness, tmp_path, "--json")
    json.loads(ran.out[: ran.out.rindex("}") + 1])
    assert ran.out.startswith("{")
    assert "Written: " in ran.err

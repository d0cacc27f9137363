"""The report as one HTML file, complete in itself: no script, nothing that is fetched.

It is built as a tree and written out by ``xml.etree``, which escapes every text and attribute; no text becomes markup.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from element_rekey.codec import encode
from element_rekey.text import flat

from .evidence import Judgement
from .words import in_full

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from element_rekey.cluster import MasterKey

    from .documents import ReportDocument
    from .evidence import ClusterEvidence, RotationLine

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1a1d21; --quiet: #59616b; --rule: #cfd5dc; --band: #f3f5f8;
  --key: #2f6fb5; --other: #79a9dc; --over: #c62828; --mark: #8a4b00; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --text: #e6e9ed; --quiet: #a3adb8; --rule: #3a424b; --band: #1e2328;
    --key: #4f8fd6; --other: #2c5788; --over: #ff7b72; --mark: #f0b35a; --good: #6fce93; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; background: var(--page); color: var(--text);
  font: 1rem/1.45 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; border-top: 1px solid var(--rule); padding-top: 1rem; }
p { margin: .4rem 0; max-width: 60rem; } .quiet { color: var(--quiet); }
.basis { border-left: 4px solid var(--mark); padding: .4rem .8rem; background: var(--band); }
a { color: inherit; } :focus-visible { outline: 3px solid var(--key); outline-offset: 2px; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--rule);
  overflow-wrap: anywhere; min-width: 4.5rem; }
thead th { background: var(--band); overflow-wrap: normal; } tbody th { font-weight: 600; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
.bad { color: var(--over); font-weight: 600; } .good { color: var(--good); }
svg { display: block; width: 100%; min-width: 40rem; height: auto; } svg text { fill: var(--quiet); font-size: 11px; }
svg .grid { stroke: var(--rule); } svg .key { fill: var(--key); } svg .other { fill: var(--other); }
svg .over { fill: var(--over); } svg .policy { stroke: var(--over); stroke-width: 2; stroke-dasharray: 4 3; }
svg .failed { stroke: var(--over); stroke-width: 2.5; } svg .outside { fill: var(--mark); }
@media print {
  :root { --page: #fff; --text: #000; --quiet: #444; --rule: #999; --band: #f0f0f0; --key: #2f6fb5; --other: #9dc1e6;
    --over: #b71c1c; --mark: #8a4b00; --good: #1b6e3c; color-scheme: light; }
  @page { size: A4 landscape; margin: 12mm; }
  body { max-width: none; padding: 0; font-size: 9pt; } .scroll { overflow: visible; }
  svg { min-width: 0; } svg * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  tr, figure { break-inside: avoid; } thead { display: table-header-group; } h2, h3, caption { break-after: avoid; }
  nav { display: none; } }
figure { margin: .8rem 0; } figcaption { color: var(--quiet); font-size: .85rem; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
FIGURES = (
    ("clusters", "Clusters"),
    ("maxKeyAgeDays", "Maximum age of a key, in days"),
    ("inPolicy", "Clusters in policy"),
    ("inBreach", "Clusters with a breach"),
    ("daysInBreach", "Days in breach, of all clusters together"),
    ("ageUnknown", "Clusters with a key of unknown age"),
    ("unseen", "Clusters unseen in the period"),
    ("neverRotated", "Clusters never rotated"),
    ("keyChanges", "Key changes on record"),
    ("failures", "Rotations that failed, or ended with an error"),
    ("changesOutside", "Changes outside the record"),
    ("gaps", "Gaps between two rows"),
)
_WORDS = {
    Judgement.BREACH: "Breach: a key was in use for longer than the maximum age.",
    Judgement.UNSEEN: "Unseen: nothing on record shows its key in the period.",
    Judgement.AGE_UNKNOWN: "Age unknown: no breach shows, and nothing says how old its first key was.",
    Judgement.IN_POLICY: "In policy: no key was in use for longer than the maximum age.",
    Judgement.NO_CLUSTER: "No cluster: executions named it, and none was ever seen under this name.",
}
_ROTATION = ("Began", "Outcome", "Trigger", "Who and why", "Old key", "New key", "The proof rests on", "Execution")
_WIDTH, _TOP, _BAR, _HEIGHT = 1000.0, 26, 22, 78  # of a timeline, in units of its view box

Child = ET.Element | str


def html_of(document: ReportDocument) -> str:
    """The file."""
    last = document.until - timedelta(days=1)
    title = f"Master keys of {document.stack}, {document.since:%Y-%m-%d} to {last:%Y-%m-%d}"
    style = ET.Element("style")
    style.text = STYLE  # ours; the one text that is not escaped
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("title", title),
        style,
    )
    made = f"Made {in_full(document.at)} by element-rekey report; shown as of {in_full(document.as_of)}."
    top = _tag("header", _tag("h1", title), _tag("p", made, **_QUIET), _tag("p", document.basis, **{"class": "basis"}))
    sections = [_cluster(one, place, document) for place, one in enumerate(document.clusters)]
    main = _tag("main", *_summary(document), *_overview(document.clusters), *sections)
    page = _tag("html", head, _tag("body", top, main), lang="en")
    return "<!DOCTYPE html>\n" + ET.tostring(page, encoding="unicode", method="html") + "\n"


_QUIET = {"class": "quiet"}


def _tag(element: str, /, *children: Child, **attributes: str) -> ET.Element:
    """An element; text in it, and in its attributes, is text on one line."""
    made = ET.Element(element, {key: flat(value) for key, value in attributes.items()})
    for child in children:
        if isinstance(child, ET.Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + flat(child)
        else:
            made.text = (made.text or "") + flat(child)
    return made


def _table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[Child]]) -> ET.Element:
    """A table whose first column names its rows; it scrolls by itself, by the keyboard, too."""
    body = [_tag("tr", _tag("th", first, scope="row"), *(_tag("td", one) for one in others)) for first, *others in rows]
    head = _tag("tr", *(_tag("th", one, scope="col") for one in headings))
    table = _tag("table", _tag("caption", caption), _tag("thead", head), _tag("tbody", *body))
    return _tag("div", table, **{"class": "scroll", "role": "region", "aria-label": caption, "tabindex": "0"})


def _summary(document: ReportDocument) -> Iterator[ET.Element]:
    numbers = encode(document.summary) | {"maxKeyAgeDays": document.max_key_age_days}
    rows = [
        (label, f"{numbers[name]:g}", "; ".join(one.name for one in document.controls if name in one.figures))
        for name, label in FIGURES
    ]
    yield _tag("h2", "Summary")
    yield _table("The whole fleet against the maximum age", ("Figure", "Number", "Control it speaks to"), rows)
    asked = [(one.name, one.asks) for one in document.controls]
    yield _table("The controls", ("Control", "What it asks for, in short"), asked)


def _overview(clusters: Sequence[ClusterEvidence]) -> Iterator[ET.Element]:
    yield _tag("h2", "Clusters")
    if not clusters:
        yield _tag("p", "No cluster is registered, and none is on record.")
        return
    rows = [
        (
            _tag("a", one.cluster, href=f"#cluster-{place}"),
            _judgement(one),
            f"{one.days_in_breach:g}",
            str(sum(line.new_key is not None for line in one.rotations)),
            str(sum(line.failed for line in one.rotations)),
            str(len(one.changes_outside)),
            str(len(one.gaps)),
        )
        for place, one in enumerate(clusters)
    ]
    headings = ("Cluster", "Judgement", "Days in breach", "Changes", "Failed", "Outside the record", "Gaps")
    yield _table("Every cluster, the worst first", headings, rows)


def _judgement(one: ClusterEvidence) -> ET.Element:
    good = one.judgement is Judgement.IN_POLICY
    return _tag("span", one.judgement, **{"class": "good" if good else "bad"})


def _cluster(one: ClusterEvidence, place: int, document: ReportDocument) -> ET.Element:
    facts = [_WORDS[one.judgement], f"Maximum age {one.max_key_age_days:g} days."]
    if not one.registered:
        facts.append("It is not registered, and judged until it was last seen.")
    if one.never_rotated:
        facts.append("Never rotated: no change of its key is on record.")
    facts.append(f"Last seen {in_full(one.last_seen_at)}." if one.last_seen_at else "Not seen in the period.")
    parts: list[ET.Element] = [_tag("h3", one.cluster, id=f"name-{place}"), _tag("p", " ".join(facts))]
    if one.keys or one.rotations:
        parts.append(_timeline(one, place, document))
    parts += _tables(one)
    return _tag("section", *parts, **{"id": f"cluster-{place}", "aria-labelledby": f"name-{place}"})


def _tables(one: ClusterEvidence) -> Iterator[ET.Element]:
    name = one.cluster
    if one.breaches:
        rows: list[Sequence[Child]] = [
            (_code(it.key_id), in_full(it.since), in_full(it.until), f"{it.days:g}") for it in one.breaches
        ]
        yield _table(f"Breaches of {name}", ("Key", "From", "To", "Days"), rows)
    if one.keys:
        rows = [
            (
                _code(it.key.key_id),
                _managed(it.key),
                in_full(it.made_at) if it.made_at_known else f"before {in_full(it.made_at)}",
                in_full(it.until) if it.until else "in use",
                f"{it.age_days:g}",
            )
            for it in one.keys
        ]
        yield _table(f"Keys of {name}", ("Key", "Kept by", "Made", "In use until", "Age in days"), rows)
    if one.rotations:
        headings = (
            "Began",
            "Outcome",
            "Trigger",
            "Who and why",
            "Old key",
            "New key",
            "The proof rests on",
            "Execution",
        )
        yield _table(f"Rotations of {name}", headings, map(_rotation, one.rotations))
    if one.changes_outside:
        rows = [
            (
                _code(it.old_key_id),
                _code(it.new_key.key_id),
                _managed(it.new_key),
                in_full(it.old_key_seen_at) if it.old_key_seen_at else "not known",
                in_full(it.new_key_seen_at),
            )
            for it in one.changes_outside
        ]
        seen = ("Old key", "New key", "Kept by", "Old key last seen", "New key first seen")
        yield _table(f"Changes of {name} outside the record", seen, rows)
    if one.gaps:
        rows = [
            (_code(it.expected_key_id), _code(it.found_key_id), in_full(it.after), in_full(it.before))
            for it in one.gaps
        ]
        ends = ("New key of the earlier row", "Old key of the later row", "After", "Before")
        yield _table(f"Gaps in the keys of {name}", ends, rows)


def _rotation(line: RotationLine) -> Sequence[Child]:
    outcome = str(line.outcome or "under way") + (f": {line.error}" if line.error else "")
    return (
        in_full(line.started_at),
        _tag("span", outcome, **{"class": "bad"} if line.failed else {}),
        line.trigger or "not known",
        " and ".join(part for part in (line.requested_by, line.reason) if part) or "not said",
        _key(line.old_key),
        _key(line.new_key),
        _proof(line),
        _code(line.execution_arn),
    )


def _proof(line: RotationLine) -> str:
    if line.job_result_read is None:
        return "no change"
    read = "The rekey's own result was read" if line.job_result_read else "The cluster's state alone"
    by = "" if line.ours else ", somebody else began the rekey"
    settled = f"; seen by {line.settled_by}" if line.settled_by else ""
    return f"{read} (jobResultRead {str(line.job_result_read).lower()}){by}{settled}"


def _code(text: str) -> ET.Element:
    return _tag("code", text)


def _key(key: MasterKey | None) -> Child:
    return _tag("span", _code(key.key_id), f", {_managed(key)}") if key else "none"


def _managed(key: MasterKey) -> str:
    provider = f", provider {key.key_provider_id}" if key.key_provider_id is not None else ""
    return f"{key.key_management_type or 'not known'}{provider}"


# --- the timeline ---


def _timeline(one: ClusterEvidence, place: int, document: ReportDocument) -> ET.Element:
    """Keys as bars; where each reaches its maximum age, a line; what lies beyond it, in another colour and lower."""
    title, description = f"timeline-{place}", f"timeline-text-{place}"
    since, until = document.since, document.until
    shapes = [
        _tag("title", f"Keys of {one.cluster} over time", id=title),
        _tag("desc", _in_words(one), id=description),
    ]
    for month in _months(since, until):
        x = _x(month, document)
        shapes.append(_line("grid", x, _TOP - 8, x, _HEIGHT - 12))
        shapes.append(_tag("text", f"{month:%b}", x=_n(x + 3), y="12"))
    for number, life in enumerate(one.keys):
        begin, end = max(life.made_at, since), life.until or document.as_of
        bar = _bar("other" if number % 2 else "key", _x(begin, document), _x(end, document), _TOP, _BAR)
        bar.append(_tag("title", f"{life.key.key_id}, {life.age_days:g} days"))
        shapes.append(bar)
        limit = life.made_at + timedelta(days=one.max_key_age_days)
        if since <= limit < (life.until or until):
            shapes.append(_line("policy", _x(limit, document), _TOP - 6, _x(limit, document), _TOP + _BAR + 12))
    for breach in one.breaches:
        over = _bar("over", _x(breach.since, document), _x(breach.until, document), _TOP + _BAR - 6, 12)
        over.append(_tag("title", f"{breach.days:g} days over the maximum age"))
        shapes.append(over)
    for line in one.rotations:
        if line.failed:
            shapes += _cross(_x(line.started_at, document), _HEIGHT - 18, f"{line.outcome} {line.started_at:%Y-%m-%d}")
    for change in one.changes_outside:
        x, y = _x(change.new_key_seen_at, document), _HEIGHT - 18
        points = f"{_n(x)},{y - 6} {_n(x + 6)},{y} {_n(x)},{y + 6} {_n(x - 6)},{y}"
        mark = _tag("polygon", _tag("title", f"outside the record {change.new_key_seen_at:%Y-%m-%d}"), points=points)
        mark.set("class", "outside")
        shapes.append(mark)
    box = {"viewBox": f"-8 0 {_n(_WIDTH + 16)} {_HEIGHT}", "role": "img", "aria-labelledby": f"{title} {description}"}
    legend = (
        "Bars are keys; a dashed line is where a key reaches the maximum age; the lower red bar is the time beyond it. "
        "✕ is a rotation that failed, ◆ a change outside the record."
    )
    scroll = {"class": "scroll", "role": "region", "aria-label": f"Timeline of {one.cluster}", "tabindex": "0"}
    return _tag("figure", _tag("div", _tag("svg", *shapes, **box), **scroll), _tag("figcaption", legend))


def _in_words(one: ClusterEvidence) -> str:
    failures = sum(line.failed for line in one.rotations)
    return (
        f"{len(one.keys)} keys, {len(one.breaches)} of them older than {one.max_key_age_days:g} days for "
        f"{one.days_in_breach:g} days in all; {failures} failures; {len(one.changes_outside)} changes outside the "
        "record. The tables below say the same."
    )


def _months(since: datetime, until: datetime) -> Iterator[datetime]:
    """The first of each month, or of each twelfth of a longer time."""
    step = max(1, round((until - since) / timedelta(days=365)))
    month = since.replace(day=1)
    while month < until:
        if month >= since:
            yield month
        ahead = month.month - 1 + step
        month = month.replace(year=month.year + ahead // 12, month=ahead % 12 + 1)


def _x(moment: datetime, document: ReportDocument) -> float:
    share = (moment - document.since) / (document.until - document.since)
    return min(1.0, max(0.0, share)) * _WIDTH


def _n(number: float) -> str:
    return f"{number:.1f}"


def _bar(kind: str, begin: float, end: float, y: int, height: int) -> ET.Element:
    width = _n(max(1.0, end - begin))
    return _tag("rect", x=_n(begin), y=str(y), width=width, height=str(height), **{"class": kind})


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> ET.Element:
    return _tag("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), **{"class": kind})


def _cross(x: float, y: float, title: str) -> list[ET.Element]:
    first, second = _line("failed", x - 5, y - 5, x + 5, y + 5), _line("failed", x - 5, y + 5, x + 5, y - 5)
    first.append(_tag("title", title))
    return [first, second]

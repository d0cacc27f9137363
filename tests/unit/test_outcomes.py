"""Everything outside the layer that names an outcome or a trigger, held to the tables in ``outcomes.py``.

A new row fails here in each place that does not know it yet, and the message says what to write there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from element_rekey.errors import RequestInvalid
from element_rekey.inputs import parse_fleet_request, parse_request
from element_rekey.outcomes import Outcome, Trigger
from tests.template import ROOT, default, properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from element_rekey.records import FleetRequest, Request

    Rows: TypeAlias = "Sequence[Outcome | OutcomeRow]"

UNFINISHED = ("Refused", "NotEnded", "NotBegun")
"""What a fleet's summary says of a cluster without an outcome."""

ROTATION = "schemas/rotation-outcome.v1.schema.json"
SUMMARY = "schemas/fleet-summary.v1.schema.json"
RUNBOOK = "docs/runbook.md"
FLEET_INPUTS = ("fleet-all", "fleet-canary", "fleet-dry-run", "fleet-readiness", "fleet-schedule", "fleet-some")


@dataclass(frozen=True)
class OutcomeRow:
    """The members of a row of outcomes, to show what a new one would make this file say."""

    value: str
    succeeded: bool = False
    may_go_on: bool = False
    look_at_cluster: bool = False
    mailed: bool = True


def compared(where: str, found: Iterable[str], expected: Iterable[str]) -> Iterator[str]:
    """What to write into ``where`` and what to take out of it."""
    found, expected = list(found), list(expected)
    yield from (f"{where}: add {name}" for name in expected if name not in found)
    yield from (f"{where}: remove {name}" for name in found if name not in expected)
    if sorted(found) == sorted(expected) and found != expected:
        yield f"{where}: give the order of outcomes.py, {', '.join(expected)}"
    if len(found) != len(set(found)):
        yield f"{where}: name each once"


def text(path: str) -> str:
    return (ROOT / path).read_text()


def enumerated(path: str, *members: str) -> Any:  # noqa: ANN401 - JSON
    """The words a schema allows for a member."""
    found = json.loads(text(path))
    for member in members:
        found = found[member]
    return found["enum"]


# --- outcomes ---


def in_the_schema_of_rotations(rows: Rows) -> Iterator[str]:
    found = enumerated(ROTATION, "properties", "outcome")
    yield from compared(f"{ROTATION}, outcome", found, [row.value for row in rows])


def in_the_schema_of_what_to_start_again_with(rows: Rows) -> Iterator[str]:
    found = enumerated(ROTATION, "dependentSchemas", "startAgainWith", "properties", "outcome")
    expected = [row.value for row in rows if row.may_go_on]
    yield from compared(f"{ROTATION}, dependentSchemas (may_go_on)", found, expected)


def in_the_schema_of_summaries(rows: Rows) -> Iterator[str]:
    expected = [*(row.value for row in rows), *UNFINISHED]
    counted = enumerated(SUMMARY, "properties", "counts", "items", "properties", "outcome")
    yield from compared(f"{SUMMARY}, counts", counted, expected)
    yield from compared(
        f"{SUMMARY}, cluster", enumerated(SUMMARY, "$defs", "cluster", "properties", "outcome"), expected
    )


def in_the_table_of_the_readme(rows: Rows) -> Iterator[str]:
    found = re.findall(r"^\| `(\w+)` \| (succeeds|fails) \| \S.* \|$", text("README.md"), re.MULTILINE)
    lines = [f"| `{name}` | {ends} |" for name, ends in found]
    expected = [f"| `{row.value}` | {'succeeds' if row.succeeded else 'fails'} |" for row in rows]
    yield from compared("README.md, What is published", lines, expected)


def in_the_alarm_on_unsettled_rotations(rows: Rows) -> Iterator[str]:
    alarm, where = properties("UnsettledRotationsAlarm"), "template.yaml, UnsettledRotationsAlarm (look_at_cluster)"
    metrics = [one["MetricStat"]["Metric"] for one in alarm["Metrics"] if "MetricStat" in one]
    found = [one["Value"] for metric in metrics for one in metric["Dimensions"] if one["Name"] == "Outcome"]
    expected = [row.value for row in rows if row.look_at_cluster]
    yield from compared(where, sorted(found), sorted(expected))
    named = re.findall(r"\b[A-Z][A-Za-z]+\b", alarm["AlarmDescription"].removeprefix("A rotation"))
    yield from compared(f"{where}, AlarmDescription", sorted(named), sorted(expected))


def in_the_filter_of_the_mail(rows: Rows) -> Iterator[str]:
    policy, where = properties("EmailSubscription")["FilterPolicy"], "template.yaml, EmailSubscription"
    absent, left_out = policy["outcome"]
    if (list(policy), absent, list(left_out)) != (["outcome"], {"exists": False}, ["anything-but"]):
        yield f"{where}: let through what has no outcome, and all outcomes but those that are not mailed"
    expected = [row.value for row in rows if not row.mailed]
    yield from compared(f"{where} (not mailed)", left_out["anything-but"], expected)


def in_the_runbook(rows: Rows) -> Iterator[str]:
    entries = dict(re.findall(r"^### `(\S+)`\n(.*?)(?=^##|\Z)", text(RUNBOOK), re.MULTILINE | re.DOTALL))
    means = entries["unsettled-rotations"].partition("**Do:**")[0]
    expected = [row.value for row in rows if row.look_at_cluster]
    yield from compared(
        f"{RUNBOOK}, unsettled-rotations (look_at_cluster)", sorted(re.findall(r"`(\w+)`", means)), sorted(expected)
    )
    questions = text(RUNBOOK).partition("## Outcomes that raise questions")[2].partition("\n## ")[0]
    known = {*(row.value for row in rows), *UNFINISHED}
    for name in re.findall(r"^### `(\S+)`$", questions, re.MULTILINE):
        if name not in known:
            yield f"{RUNBOOK}, Outcomes that raise questions: remove {name}"


OUTCOME_PLACES: dict[str, Callable[[Rows], Iterator[str]]] = {
    check.__name__.replace("_", " "): check
    for check in (
        in_the_schema_of_rotations,
        in_the_schema_of_what_to_start_again_with,
        in_the_schema_of_summaries,
        in_the_table_of_the_readme,
        in_the_alarm_on_unsettled_rotations,
        in_the_filter_of_the_mail,
        in_the_runbook,
    )
}


@pytest.mark.parametrize("place", OUTCOME_PLACES)
def test_every_place_that_names_outcomes_names_those_of_the_table(place: str) -> None:
    missing = list(OUTCOME_PLACES[place](list(Outcome)))
    assert not missing, "\n".join(missing)


def test_a_new_outcome_is_missed_in_each_place_with_what_to_write_there() -> None:
    new = OutcomeRow("Halted", may_go_on=True, look_at_cluster=True, mailed=False)
    already = [line for check in OUTCOME_PLACES.values() for line in check(list(Outcome))]
    missing = [line for check in OUTCOME_PLACES.values() for line in check([*Outcome, new])]
    assert [line for line in missing if line not in already] == [
        "schemas/rotation-outcome.v1.schema.json, outcome: add Halted",
        "schemas/rotation-outcome.v1.schema.json, dependentSchemas (may_go_on): add Halted",
        "schemas/fleet-summary.v1.schema.json, counts: add Halted",
        "schemas/fleet-summary.v1.schema.json, cluster: add Halted",
        "README.md, What is published: add | `Halted` | fails |",
        "template.yaml, UnsettledRotationsAlarm (look_at_cluster): add Halted",
        "template.yaml, UnsettledRotationsAlarm (look_at_cluster), AlarmDescription: add Halted",
        "template.yaml, EmailSubscription (not mailed): add Halted",
        "docs/runbook.md, unsettled-rotations (look_at_cluster): add Halted",
    ]


def test_an_outcome_that_is_no_more_is_to_be_removed_from_each_place() -> None:
    left = [one for one in Outcome if one not in {Outcome.NOT_DUE, Outcome.COOLING_DOWN, Outcome.OVERDUE}]
    missing = [line for check in OUTCOME_PLACES.values() for line in check(left)]
    for place in ("outcome: remove Overdue", "(may_go_on): remove Overdue", "counts: remove NotDue", "not mailed"):
        assert any(place in line for line in missing), place
    assert "docs/runbook.md, Outcomes that raise questions: remove CoolingDown" in missing


def test_an_outcome_for_which_nobody_has_to_do_anything_asks_nobody_to_look_at_the_cluster() -> None:
    for outcome in Outcome:
        assert not (outcome.succeeded and (outcome.look_at_cluster or outcome.may_go_on)), outcome
        assert outcome.succeeded or (outcome.mailed and not outcome.replaced), outcome


# --- triggers ---


def requests_in_events() -> Iterator[tuple[str, Request | FleetRequest]]:
    """What ``inputs.py`` makes of each example that asks for rotations; the others are refused, or close one."""
    for path in sorted((ROOT / "events").glob("*.json")):
        value, name = json.loads(path.read_text()), path.stem
        if name.startswith("rotate"):
            yield name, parse_request(value)
        elif name.startswith(("alarm", "compromise")) or name in FLEET_INPUTS:
            try:
                yield name, parse_fleet_request(value, default("CompromiseAlarmPrefix"))
            except RequestInvalid:
                assert name.startswith("alarm"), name


EXAMPLES = dict(requests_in_events())


def in_schemas(names: Sequence[str]) -> Iterator[str]:
    for path, members in (
        (ROTATION, ("properties", "trigger")),
        (ROTATION, ("properties", "startAgainWith", "properties", "trigger")),
        (SUMMARY, ("properties", "trigger")),
    ):
        yield from compared(f"{path}, {'.'.join(members)}", enumerated(path, *members), names)


def in_examples(names: Sequence[str]) -> Iterator[str]:
    found = {request.trigger.value for request in EXAMPLES.values()}
    where = "events/, an example that inputs.py makes a request of"
    yield from compared(where, [name for name in names if name in found], names)


@pytest.mark.parametrize("place", [in_schemas, in_examples], ids=["in schemas", "in examples"])
def test_every_place_that_names_triggers_names_those_of_the_table(
    place: Callable[[Sequence[str]], Iterator[str]],
) -> None:
    missing = list(place([trigger.value for trigger in Trigger]))
    assert not missing, "\n".join(missing)


def test_a_new_trigger_is_missed_in_each_place_with_what_to_write_there() -> None:
    names = [trigger.value for trigger in Trigger]
    already = [*in_schemas(names), *in_examples(names)]
    missing = [*in_schemas([*names, "drill"]), *in_examples([*names, "drill"])]
    assert [line for line in missing if line not in already] == [
        "schemas/rotation-outcome.v1.schema.json, properties.trigger: add drill",
        "schemas/rotation-outcome.v1.schema.json, properties.startAgainWith.properties.trigger: add drill",
        "schemas/fleet-summary.v1.schema.json, properties.trigger: add drill",
        "events/, an example that inputs.py makes a request of: add drill",
    ]


@pytest.mark.parametrize(
    ("name", "trigger"),
    [
        ("rotate", Trigger.MANUAL),
        ("fleet-all", Trigger.MANUAL),
        ("fleet-schedule", Trigger.SCHEDULE),
        ("alarm-one-cluster", Trigger.ALARM),
        ("alarm-tagged", Trigger.ALARM),
        ("compromise-reported", Trigger.ALARM),
        ("fleet-readiness", Trigger.READINESS),
    ],
)
def test_an_example_is_of_the_trigger_it_is_an_example_of(name: str, trigger: Trigger) -> None:
    assert EXAMPLES[name].trigger is trigger


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_brings_the_moment_its_trigger_goes_by(name: str) -> None:
    """A schedule goes by each cluster's maximum key age; what is urgent demands a key made after it happened."""
    request = EXAMPLES[name]
    if request.trigger.by_age:
        assert request.key_created_after is None
    if request.trigger.urgent or request.trigger.cools_down:
        assert request.key_created_after


@pytest.mark.parametrize("trigger", Trigger)
def test_a_moment_is_refused_exactly_where_each_clusters_maximum_key_age_decides_or_nothing_is_rotated(
    trigger: Trigger,
) -> None:
    given = {"trigger": trigger.value, "keyCreatedAfter": "2026-11-23T03:00:00Z", "dryRun": trigger.looks_only}
    if trigger.by_age or trigger.looks_only:
        with pytest.raises(RequestInvalid, match="keyCreatedAfter: not together with the trigger"):
            parse_fleet_request(given, "element-key-compromise-")
    else:
        assert parse_fleet_request(given, "element-key-compromise-").trigger is trigger

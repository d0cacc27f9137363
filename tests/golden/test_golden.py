"""What a release wrote and sent is read, and written equal, by every code that comes after it."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest
from boto3.dynamodb.types import TypeDeserializer

from tests.golden.application import (
    Claim,
    ClusterMemory,
    DynamoLedger,
    Execution,
    FleetIncomplete,
    FleetRun,
    KeyChangedOutside,
    KeyManagementType,
    Lock,
    Notification,
    Outcome,
    Readiness,
    Rotation,
    RotationNotice,
    Status,
    Summary,
    Trigger,
    decode,
    wire_name,
)
from tests.golden.files import RELEASES, current_release, difference, names, path_of, read, text_of
from tests.golden.harness import BEGIN, PASSWORD, ledger_over, played, table_alone, table_before
from tests.golden.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.golden.harness import Table

READER = TypeDeserializer()
FILES = [(release, name) for release in RELEASES for name in names(release)]
KINDS: dict[str, type] = {
    "LOCK": Lock,
    "CLUSTER": ClusterMemory,
    "UUID": Claim,
    "READINESS": Readiness,
    "ROTATION": Rotation,
    "FLEET": FleetRun,
}
COUNT = {"begun", "failures", "expiresAt"}
"""An item without a class: the state machine counts in it, and no function reads it."""
ADDED = {
    "ROTATION": {"month", "startedAt", "expiresAt"},
    "FLEET": {"month", "startedAt", "expiresAt", "begun", "failures"},
}
"""What an item has beside the members of its class: for the indexes, for the expiry, and what the machine counts."""
DOCUMENTS: dict[str, type] = {
    "element-rekey.rotation-outcome.v1": Notification,
    "element-rekey.fleet-summary.v1": Summary,
    "element-rekey.rotation-notice.v1": RotationNotice,
    "element-rekey.key-changed-outside.v1": KeyChangedOutside,
}


hints_of = cache(get_type_hints)


@cache
def stored(release: str, name: str) -> dict[str, Any]:
    return read(release, name)


def steps() -> Iterator[dict[str, Any]]:
    """Every invocation in every file."""
    for release, name in FILES:
        yield from stored(release, name)["steps"]


@cache
def items_of(release: str, name: str) -> list[dict[str, Any]]:
    """Every version of every item in a file."""
    changes = (change for step in stored(release, name)["steps"] for change in (*step["found"], *step["written"]))
    items = [change["put"] for change in changes if "put" in change]
    return [item for number, item in enumerate(items) if item not in items[:number]]


def records_of(release: str, name: str) -> list[dict[str, Any]]:
    """Every version of every item in a file that a function writes."""
    return [item for item in items_of(release, name) if not item["pk"]["S"].startswith("COUNT#")]


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An item as JSON."""
    return {name: READER.deserialize(value) for name, value in item.items()}


# -- written equal, and met by new code in the middle -----------------------------------------------------------------


@pytest.mark.parametrize("name", names(current_release()))
def test_each_step_goes_on_from_what_was_stored_and_stores_answers_and_sends_the_same(name: str) -> None:
    recorded = stored(current_release(), name)

    came = played(SCENARIOS[name], recorded)

    assert not difference(recorded, came), difference(recorded, came)
    assert path_of(current_release(), name).read_text(encoding="utf-8") == text_of(came)


CHANGED = {
    "failed-before-the-change-of-keys": "a rekey that was sent may have left something, so nothing changed is not said",
    "fleet-whose-canary-fails": "likewise, of the canary",
    "cooling-down-unless-forced": "an alarm within the cool-down waits for its end, so that its demand is met",
    "timed-out-and-told-without-its-input": "the detail says that nobody knows what became of the rekey",
    "undone-by-somebody-else": "a look that ends with an error is remembered, too",
    "unknown-what-became-of-the-rekey": "likewise; and a look while a rekey may run unseen is no last sight of the key",
    "fleet-with-an-input-that-is-no-request": "the wrong input of a schedule is not told as one of a person any more",
    "fleet-that-stops-after-a-failure": "a run counts in an item of its own, which older releases do not have",
    "fleet-on-a-report": "a report names clusters and says why; faults to ignore, or other keys, are not for it to ask",
    "not-proven-to-be-rotated": "the console says first that the outcome is not known, and how to start again",
    "overdue-and-followed-by-the-next": "the console says how to start again; the record gets the change in the end",
    "rotated-ignoring-a-fault": "nobody can ignore ensembleDegraded any more; the scenario ignores another fault",
}
"""Scenarios that end otherwise than in an older release, and why: a defect was mended on purpose."""


NEXT_STEP = "Read the summary: each cluster named there has its own notification with its own next step."
REWORDED = {NEXT_STEP: FleetIncomplete.next_step}
"""Advice that is given in other words now."""


def reworded(recorded: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """What a release stored, with the words of today."""
    text = json.dumps(recorded)
    for old, new in REWORDED.items():
        text = text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    return json.loads(text)


@pytest.mark.parametrize(("release", "name"), [one for one in FILES if one[0] != current_release()])
def test_what_an_older_release_stored_and_sent_is_still_in_what_is_stored_and_sent(release: str, name: str) -> None:
    """Each step goes on from what that release stored; members may have come, none is missing or another."""
    recorded = stored(release, name)

    came = played(SCENARIOS[name], recorded)

    if name not in CHANGED:
        assert not lost(reworded(essence(recorded)), essence(came))


def essence(recorded: dict[str, Any]) -> dict[str, Any]:
    """What is left in the end: the items of the table, what was published, and how the executions ended."""
    items = table_before({"steps": [*recorded["steps"], {"found": []}]}, len(recorded["steps"]))
    published = [call for step in recorded["steps"] for call in step["published"]]
    documents = [json.loads(", ".join(call["Message"]["default"])) for call in published]
    ended = [document for document in documents if document["schema"] in ENDED]
    plain_text = json.dumps({"items": items, "published": ended, "executions": recorded["executions"]})
    found: dict[str, Any] = json.loads(CHILD.sub("", plain_text))
    return found


ENDED = {"element-rekey.rotation-outcome.v1", "element-rekey.fleet-summary.v1"}
"""What the first release published; other kinds may have come."""
CHILD = re.compile("-[0-9a-f]{24}")
"""Behind the cluster in the name of a rotation that a fleet run began; it says nothing to anybody."""


def lost(old: Any, new: Any, where: str = "") -> list[str]:  # noqa: ANN401 - JSON
    """The places of ``old`` that are missing in ``new``, or have another value there."""
    if isinstance(old, dict) and isinstance(new, dict):
        places = ((name, f"{where}.{name}") for name in old if name not in UNIMPORTANT)
        return [one for name, place in places for one in lost(old[name], new.get(name), place)]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [one for index, value in enumerate(old) for one in lost(value, new[index], f"{where}[{index}]")]
    return [] if old == new else [f"{where}: {old} is {new} now"]


UNIMPORTANT = {"version", "publishingUntil", "begun", "failures"}  # how often it was written, and for whom


def test_what_is_lost_is_named() -> None:
    assert lost({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}, "d": 4}) == []
    assert lost({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}) == [".a.b[1]: 2 is 3 now"]
    assert lost({"a": 1}, {}) == [".a: 1 is None now"]
    assert lost({"a": [1]}, {"a": [1, 2]}) == [".a: [1] is [1, 2] now"]


def test_the_table_before_a_step_is_what_the_steps_before_it_left_there() -> None:
    recorded = {
        "steps": [
            {"found": [], "written": [{"put": {"pk": {"S": "a"}}}, {"put": {"pk": {"S": "b"}}}, {"deleted": "a"}]},
            {"found": [{"put": {"pk": {"S": "c"}}}], "written": [{"deleted": "b"}]},
        ]
    }

    assert [sorted(table_before(recorded, number)) for number in (0, 1)] == [[], ["b", "c"]]


def test_what_differs_is_shown_line_by_line() -> None:
    shown = difference({"polls": {"N": "1"}, "owner": "x" * 120}, {"polls": {"N": "2"}, "owner": "x" * 120})

    assert '- "polls": {"N": "1"}' in shown
    assert '+ "polls": {"N": "2"}' in shown
    assert not difference({"polls": 1}, {"polls": 1})


# -- read -------------------------------------------------------------------------------------------------------------


def again(table: Table, ledger: DynamoLedger, item: dict[str, Any]) -> dict[str, Any] | None:
    """An item after it was read from the table and what was read was written there."""
    pk: str = item["pk"]["S"]
    kind, _, name = pk.partition("#")
    table.load({pk: item})
    if kind == "LOCK":
        long_ago = BEGIN - timedelta(days=1)
        held = ledger.take_lock(name, Lock("somebody else", BEGIN), long_ago)
        table.load({})
        ledger.take_lock(name, held, long_ago)
    elif kind == "CLUSTER":
        memory = ledger.memory(name)
        assert memory
        ledger.remember(name, memory)
    elif kind == "UUID":
        owner = ledger.owner(name)
        assert owner
        ledger.claim(name, owner)
    elif kind == "READINESS":
        readiness = ledger.readiness([name])[name]
        table.load({})
        ledger.save_readiness(name, readiness)
    elif kind == "ROTATION":
        rotation = ledger.rotation(execution_of(item))
        assert rotation
        ledger.save(rotation)
    else:
        run = ledger.fleet_run(execution_of(item))
        assert run
        ledger.save_fleet_run(run)
    return table.item(pk)


def execution_of(item: dict[str, Any]) -> Execution:
    return decode(Execution, plain(item)["execution"])


def expected_again(item: dict[str, Any]) -> dict[str, Any]:
    """The same; a record's version counts each time it is written, and the machine's counts are not in the record."""
    kept = {name: value for name, value in item.items() if name not in {"begun", "failures"}}
    return kept | {"version": {"N": str(int(item["version"]["N"]) + 1)}} if "version" in item else kept


def test_each_stored_item_is_read_and_written_back_as_it_was() -> None:
    with table_alone() as table:
        for release, name in FILES:
            ledger = ledger_over(table, SCENARIOS[name])
            for item in records_of(release, name):
                came = again(table, ledger, item)
                if release == current_release():
                    assert came == expected_again(item), f"{release}/{name}"
                assert not lost(item, came), f"{release}/{name}"


# -- complete ---------------------------------------------------------------------------------------------------------


def test_there_is_a_file_for_each_scenario_and_a_scenario_for_each_file() -> None:
    assert current_release() in RELEASES
    assert {name for _, name in FILES} == set(SCENARIOS)


def test_every_outcome_and_every_status_is_stored() -> None:
    records = [plain(item) for release, name in FILES for item in items_of(release, name)]
    answers = [step["answer"]["rotation"]["status"] for step in steps() if "rotation" in step.get("answer", {})]

    assert {record["outcome"] for record in records if "outcome" in record} == set(Outcome)
    assert {document["outcome"] for document in documents() if "outcome" in document} == set(Outcome)
    assert set(answers) == {*Status, "replan"}  # the word for starting again at once


def test_every_trigger_and_every_kind_of_key_management_is_stored() -> None:
    records = [plain(item) for release, name in FILES for item in items_of(release, name)]
    requests = [record["request"] for record in records if "request" in record]
    keys = [record["currentKey"] for record in records if "currentKey" in record]

    assert {request["trigger"] for request in requests} == set(Trigger)
    assert {key["keyManagementType"] for key in keys} == set(KeyManagementType)


def test_every_function_is_invoked() -> None:
    assert {step["function"] for step in steps()} == {
        "StartRekeyFunction",
        "CheckStatusFunction",
        "PublishOutcomeFunction",
        "SelectClustersFunction",
        "SummarizeFleetFunction",
    }


def members(cls: type, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The members of a dataclass, and of those inside it, that are there in its JSON."""
    hints = hints_of(cls)
    for field in fields(cls):
        name = wire_name(field)
        if name not in value:
            continue
        yield cls.__name__, name
        for inner in (hints[field.name], *get_args(hints[field.name])):
            for one in value[name] if isinstance(value[name], list) else [value[name]]:
                if is_dataclass(inner) and isinstance(inner, type):
                    yield from members(inner, one)


def all_members(cls: type) -> Iterator[tuple[str, str]]:
    """The members a dataclass, and those inside it, can have."""
    for field in fields(cls):
        yield cls.__name__, wire_name(field)
        hint = hints_of(cls)[field.name]
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner) and isinstance(inner, type):
                yield from all_members(inner)


def documents() -> Iterator[dict[str, Any]]:
    """Every document published."""
    for step in steps():
        for call in step["published"]:
            yield json.loads(", ".join(call["Message"]["default"]))


def test_every_member_of_what_is_persisted_is_in_some_stored_item() -> None:
    seen: set[tuple[str, str]] = set()
    for release, name in FILES:
        for item in records_of(release, name):
            seen.update(members(KINDS[item["pk"]["S"].partition("#")[0]], plain(item)))

    assert {member for cls in KINDS.values() for member in all_members(cls)} - seen == set()


def test_every_attribute_of_a_stored_item_is_a_member_or_is_known() -> None:
    for release, name in FILES:
        for item in items_of(release, name):
            kind = item["pk"]["S"].partition("#")[0]
            known = COUNT if kind == "COUNT" else {wire_name(field) for field in fields(KINDS[kind])}
            assert item.keys() <= known | ADDED.get(kind, set()) | {"pk"}


@pytest.mark.parametrize("kind", ADDED)
def test_every_attribute_beside_the_members_is_in_some_stored_item(kind: str) -> None:
    items = [item for release, name in FILES for item in items_of(release, name)]
    attributes = {name for item in items if item["pk"]["S"].startswith(kind) for name in item}

    assert attributes >= ADDED[kind]


def test_every_member_of_what_is_published_is_in_some_stored_document() -> None:
    seen: set[tuple[str, str]] = set()
    for document in documents():
        seen.update(members(DOCUMENTS[document["schema"]], document))

    assert {member for cls in DOCUMENTS.values() for member in all_members(cls)} - seen == set()


def test_no_password_is_stored() -> None:
    assert not [name for release, name in FILES if PASSWORD in path_of(release, name).read_text(encoding="utf-8")]

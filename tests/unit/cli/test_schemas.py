"""The schemas say of each document what the command puts into it, and nothing else."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.cluster import KeyManagementType, MasterKey
from element_rekey.codec import wire_name
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import OutsideChange
from element_rekey_cli.documents import (
    Control,
    DoctorDocument,
    Explanation,
    FleetRunLine,
    HistoryDocument,
    HistoryLine,
    RegistrationDocument,
    RegistrationLine,
    ReportDocument,
    StartedDocument,
    StatusDocument,
)
from element_rekey_cli.evidence import Breach, ClusterEvidence, Gap, Judgement, KeyLife, RotationLine, Summary
from element_rekey_cli.hops import Hop, Verdict
from element_rekey_cli.standing import Attempt, HeldLock, Incident, LastLine, RunningLine, Standing, State
from tests.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "schemas" / f"{name}.v1.schema.json").read_text())
    return found


STATUS, HISTORY = schema("command-status")["properties"], schema("command-history")["properties"]
STANDING = STATUS["clusters"]["items"]["properties"]
LINE = HISTORY["rotations"]["items"]["properties"]
REPORT = schema("command-report")["properties"]
EVIDENCE = REPORT["clusters"]["items"]["properties"]
OBJECTS: list[tuple[type, dict[str, Any]]] = [
    (StatusDocument, schema("command-status")),
    (Standing, STATUS["clusters"]["items"]),
    (HeldLock, STANDING["lock"]),
    (RunningLine, STANDING["running"]),
    (Attempt, STANDING["running"]["properties"]["retrying"]),
    (LastLine, STANDING["lastOutcome"]),
    (Incident, STATUS["incidents"]["items"]),
    (HistoryDocument, schema("command-history")),
    (HistoryLine, HISTORY["rotations"]["items"]),
    (OutsideChange, LINE["keyChangedOutside"]["items"]),
    (FleetRunLine, HISTORY["fleetRuns"]["items"]),
    (MasterKey, LINE["oldKey"]),
    (StartedDocument, schema("command-started")),
    (Explanation, schema("command-explanation")),
    (DoctorDocument, schema("command-doctor")),
    (Hop, schema("command-doctor")["properties"]["hops"]["items"]),
    (RegistrationDocument, schema("command-registration")),
    (RegistrationLine, schema("command-registration")["properties"]["clusters"]["items"]),
    (ReportDocument, schema("command-report")),
    (Control, REPORT["controls"]["items"]),
    (Summary, REPORT["summary"]),
    (ClusterEvidence, REPORT["clusters"]["items"]),
    (KeyLife, EVIDENCE["keys"]["items"]),
    (Breach, EVIDENCE["breaches"]["items"]),
    (RotationLine, EVIDENCE["rotations"]["items"]),
    (Gap, EVIDENCE["gaps"]["items"]),
]


@pytest.mark.parametrize(("kind", "described"), OBJECTS, ids=[one.__name__ for one, _ in OBJECTS])
def test_every_member_is_described_and_needed_where_it_is_always_there(kind: Any, described: dict[str, Any]) -> None:  # noqa: ANN401
    assert is_dataclass(kind)
    optional = {wire_name(one) for one in fields(kind) if "None" in str(one.type)}
    named = {wire_name(one) for one in fields(kind)}
    assert set(described["properties"]) == named
    assert set(described["required"]) == named - optional
    assert described["additionalProperties"] is True


def enums(value: object) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict) and "enum" in inner:
                yield name, inner["enum"]
            yield from enums(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from enums(inner)


def test_words_are_those_of_the_code() -> None:
    words: dict[str, list[Any]] = {
        "state": list(State),
        "outcome": list(Outcome),
        "trigger": list(Trigger),
        "verdict": list(Verdict),
        "judgement": list(Judgement),
        "keyManagementType": list(KeyManagementType),
    }
    found = [*enums(STATUS), *enums(HISTORY), *enums(schema("command-doctor")), *enums(REPORT)]
    assert {name for name, _ in found} == set(words)
    assert all(said == [str(word) for word in words[name]] for name, said in found)

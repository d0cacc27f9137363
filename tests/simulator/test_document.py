"""docs/simulator.md keeps up with the code."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from local.simulator import FAULTS, Assumptions, ClusterSpec, Fault, FaultGroup, FaultName, RpcError, SimulatedCluster

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "simulator.md").read_text(encoding="utf-8")
ROWS = re.findall(r'^\| `(\{"fault".*?\})` \| (.*) \|$', TEXT, re.MULTILINE)


def test_every_fault_has_its_row_and_every_row_a_fault() -> None:
    assert [json.loads(rule)["fault"] for rule, _ in ROWS] == [name.value for name in FaultName]


@pytest.mark.parametrize(("rule", "rest"), ROWS)
def test_a_row_is_a_rule_that_works_and_tells_what_may_be_chosen(rule: str, rest: str) -> None:
    fault = Fault.from_json(json.loads(rule))
    applied = rest.rsplit("|", 1)[-1].strip()
    if fault.kind.group is FaultGroup.STATE:
        assert "|" not in rest
    elif "applied" in fault.kind.members:
        assert applied == f"choose ({'yes' if fault.kind.members['applied'] else 'no'})"
    elif fault.fault != FaultName.APPLY_DELAY:
        assert applied == ("yes" if fault.is_applied else "no")


@pytest.mark.parametrize("name", [name for name in FaultName if FAULTS[name].hits])
def test_a_row_names_the_only_methods_its_fault_hits(name: FaultName) -> None:
    row = next(rest for rule, rest in ROWS if json.loads(rule)["fault"] == name)
    assert "only" in row
    assert all(method in row or (method.startswith("Rekey") and "Rekey only" in row) for method in FAULTS[name].hits)


def test_every_assumption_has_its_row_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", TEXT.partition("## Assumptions")[2], re.MULTILINE))
    assert set(rows) == {field.name for field in fields(Assumptions)}
    texts = {field.name: field.default for field in fields(Assumptions) if isinstance(field.default, str)}
    del texts["same_type_operation"]
    assert {name: rows[name] for name in texts} == {name: f"`{value}`" for name, value in texts.items()}


@pytest.mark.parametrize("document", ["runbook.md", "first-real-cluster.md"])
def test_the_calls_that_a_person_makes_by_hand_exist_and_change_nothing(document: str) -> None:
    calls = re.findall(r"^(?:time )?element '(.*)'$", (DOCS / document).read_text(encoding="utf-8"), re.MULTILINE)
    assert calls
    one = SimulatedCluster(ClusterSpec(rekey_seconds=0.0, key_provider_id=15))
    handle = one.call("RekeySoftwareEncryptionAtRestMasterKey")["asyncHandle"]
    before = one.call("ListAsyncResults"), one.call("GetSoftwareEncryptionAtRestInfo")
    for text in calls:
        call = json.loads(text)
        params = call["params"] | ({"asyncHandle": handle} if "asyncHandle" in call["params"] else {})
        try:
            one.call(call["method"], params)
        except RpcError as error:
            pytest.fail(f"{call['method']}: {error}")
    assert (one.call("ListAsyncResults"), one.call("GetSoftwareEncryptionAtRestInfo")) == before
    assert len(one.rekeys) == 1

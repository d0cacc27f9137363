"""What the documents point to is there, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import boto3
import pytest

from element_rekey.codec import encode
from element_rekey.errors import RequestInvalid
from element_rekey.rules.selection import LARGEST_RECORD, LARGEST_STATE, map_input, size_in_bytes
from tests.deployment import limits, permissions
from tests.deployment.report import DEPLOY, IAM, SECTIONS
from tests.tables import section
from tests.template import TEMPLATE
from tests.unit.fleet_samples import EXECUTION, FLEET, SCHEDULED

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


# -- deploying, and permissions ---------------------------------------------------------------------------------------

WRITER = "PYTHONPATH=layers/element_rekey .venv/bin/python -m tests.deployment.report"
TEXT = DEPLOY.read_text(encoding="utf-8")
REMOVAL = TEXT.partition("## Removal")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("document", "name"), SECTIONS, ids=lambda one: str(getattr(one, "stem", one)))
def test_what_is_said_of_the_template_is_what_it_says(document: Path, name: str) -> None:
    content = SECTIONS[document, name]()
    assert section(name, document.read_text(encoding="utf-8")) == content, f"write it anew: {WRITER}"


def test_every_parameter_has_its_line() -> None:
    lines = re.findall(r"^\| `(\w+)` \|", section("parameters", TEXT), re.MULTILINE)
    assert sorted(lines) == sorted(TEMPLATE["Parameters"])


def test_every_role_rule_and_schedule_is_among_the_permissions() -> None:
    text = IAM.read_text(encoding="utf-8")
    assert WRITER in text
    kinds = {name: one["Type"] for name, one in TEMPLATE["Resources"].items()}
    owners = {name for name, kind in kinds.items() if kind in permissions.SERVERLESS | {"AWS::IAM::Role"}}
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) == owners == set(permissions.roles())
    started = set(re.findall(r"^\| `(\w+)` \|", section("starters", text), re.MULTILINE))
    assert started == {name for name, kind in kinds.items() if kind in permissions.TARGETED}
    policies = {"AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::Lambda::Permission", "AWS::Events::EventBus"}
    said = sum(1 for _ in permissions.resource_statements())
    assert said >= sum(kind in policies for kind in kinds.values()) > 0


def test_every_action_of_a_role_is_in_its_table() -> None:
    for owner, role in permissions.roles().items():
        said = permissions.role_table(owner)
        for policy in role["Policies"]:
            for action in re.findall(r"'((?:[a-z]+):[A-Z]\w+)'", str(policy)):
                assert f"`{action}`" in said, owner


def test_every_reason_is_needed_by_some_line() -> None:
    """That each line has one is shown by its table: without one it cannot be made."""
    assert permissions.reasons_used() == set(permissions.WHY)
    used = {
        one.partition(":policy/")[2]
        for role in permissions.roles().values()
        for one in role.get("ManagedPolicyArns", ())
    }
    assert used == set(permissions.MANAGED)


def test_the_endpoints_are_those_of_the_services_that_are_called() -> None:
    assert permissions.services_called() == set(permissions.ENDPOINTS)


@pytest.mark.parametrize("letters", [limits.SHORT_NAME, limits.LONGEST_NAME])
def test_as_many_clusters_fit_as_the_limits_say_and_hardly_more(letters: int) -> None:
    run = limits.run_of(limits.clusters_in(LARGEST_STATE, letters, state=True), letters)
    assert size_in_bytes({"execution": encode(EXECUTION), **map_input(FLEET, run, SCHEDULED)}) < limits.STATE
    with pytest.raises(RequestInvalid):
        map_input(FLEET, limits.run_of(len(run.selected) + 100, letters), SCHEDULED)
    run = limits.run_of(limits.clusters_in(LARGEST_RECORD, letters, state=False), letters)
    assert size_in_bytes(encode(run)) <= LARGEST_RECORD < limits.ITEM
    assert size_in_bytes(encode(limits.run_of(len(run.selected) + 100, letters))) > LARGEST_RECORD


def test_each_limit_says_when_it_binds_what_happens_then_and_who_says_so() -> None:
    rows = [line.strip("| ").split(" | ") for line in section("limits", TEXT).splitlines()]
    assert all(len(row) == len(rows[0]) and all(row) for row in rows)


def test_what_stays_after_the_removal_is_what_the_template_retains() -> None:
    kept = {name for name, one in TEMPLATE["Resources"].items() if one.get("DeletionPolicy") == "Retain"}
    assert set(re.findall(r"^\| `(\w+)` \| \*\*stays\*\*", REMOVAL, re.MULTILINE)) == kept
    assert TEMPLATE["Resources"]["Table"]["Properties"]["DeletionProtectionEnabled"]
    assert "`ExistingTableName`" in REMOVAL
    assert "--no-deletion-protection-enabled" in REMOVAL


def test_what_the_deployment_names_is_there() -> None:
    for name in re.findall(r"`((?:[A-Z][a-z0-9]+){2,})`", TEXT):
        known = set(TEMPLATE["Parameters"]) | set(TEMPLATE["Outputs"]) | set(TEMPLATE["Resources"])
        short = {one.removesuffix("Function") for one in TEMPLATE["Resources"]}
        runbook = f"`{name}`" in (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
        fits = name in known | short | {"ByMonth", "DescribeSecret", "TimeoutSeconds"}
        assert fits or runbook or name.startswith("StepFunctions"), name
    for service, command in re.findall(r"aws ([a-z]+) ([a-z-]+)", TEXT):
        client = boto3.client(service, region_name="eu-central-1")
        assert command.replace("-", "_") in client.meta.method_to_api_mapping


def test_no_block_of_the_deployment_is_one_that_nobody_runs() -> None:
    """`.ci/readme.py` runs every ``sh`` block of the documents it is given, and these are not among them."""
    assert "```sh" not in TEXT + IAM.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["deploy.md", "iam.md", "security.md"])
def test_deploying_permissions_and_security_are_found_from_both_first_pages(page: str) -> None:
    assert f"](docs/{page})" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({page})" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", ["README.md", "docs/runbook.md", "docs/deploy.md"])
def test_the_dashboard_is_found(document: str) -> None:
    assert TEMPLATE["Outputs"]["DashboardName"]["Value"] == {"!Ref": "Dashboard"}
    assert "`DashboardName`" in (ROOT / document).read_text(encoding="utf-8")

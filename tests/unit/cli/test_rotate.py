"""``element-rekey rotate``: what it starts, how it is followed, and which exit code says how it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from element_rekey.outcomes import Outcome
from element_rekey.records import (
    ClusterResult,
    Execution,
    Failure,
    FleetRequest,
    FleetRun,
    NotSelected,
    Request,
    Rotation,
    Selected,
)
from element_rekey.rules.closing import fleet_failure
from element_rekey_cli.following import CLOSED_SECONDS, OFTEN, OFTEN_LOOKS, ROWS, SELDOM, FleetTable
from tests.fakes import NOW
from tests.unit.cli.golden import assert_is
from tests.unit.cli.harness import FLEET, USER, FakeSts, arn
from tests.unit.cli.scenario import remembered, well
from tests.unit.cli.schemas import assert_valid
from tests.unit.samples import DAY, MINUTE, UUID, change, following, intent, key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.harness import Harness

OLD, NEW = key("key-0", NOW - 100 * DAY), key("key-1", NOW + MINUTE)
STEPS = (
    ("StartRekey", {"status": "running", "polls": 0, "detail": "Replacing key key-0."}),
    ("CheckStatus", {"status": "running", "polls": 1, "detail": "RewrapDataEncryptionKeys"}),
    ("CheckStatus", {"status": "ended", "polls": 2, "detail": "Key key-0 was replaced by key-1."}),
)


def record(execution: str, given: dict[str, Any], **changes: Any) -> Rotation:  # noqa: ANN401 - members
    plain = Rotation(
        Execution(execution, NOW),
        given["cluster"],
        Request(given["cluster"], reason=given.get("reason", ""), requested_by=given["requestedBy"]),
        cluster_uuid=UUID,
        cluster_name="production",
        current_key=NEW,
        intent=intent(baseline_key=OLD),
        following=following(),
        change=change(old_key=OLD, new_key=NEW, key_to_decommission=OLD),
        polls=2,
        detail="Key key-0 was replaced by key-1.",
        outcome=Outcome.ROTATED,
        ended_at=NOW + 4 * MINUTE,
    )
    return replace(plain, **changes)


def ends(harness: Harness, **changes: Any) -> None:  # noqa: ANN401 - members
    """Let each rotation that is started take two looks, and end so."""

    def begin(execution: str, given: dict[str, Any]) -> None:
        at = NOW
        harness.steps.happened(execution, "ExecutionStarted", at)
        for state, rotation in STEPS:
            at += timedelta(seconds=30)
            details = {"name": state, "input": "{}"}
            harness.steps.happened(execution, "TaskStateEntered", at, stateEnteredEventDetails=details)
            output = json.dumps({"Payload": {"rotation": rotation}})
            harness.steps.happened(execution, "TaskSucceeded", at, taskSucceededEventDetails={"output": output})

        def end() -> None:
            if harness.steps.executions[execution]["status"] == "RUNNING":
                harness.ledger.save(record(execution, given, **changes))
                harness.steps.executions[execution]["status"] = "SUCCEEDED"

        harness.on_pause = end

    harness.steps.on_start = begin


def started(harness: Harness) -> dict[str, Any]:
    """The input of the only execution."""
    (one,) = harness.steps.executions.values()
    found: dict[str, Any] = json.loads(one["input"])
    return found


def test_without_waiting_it_starts_one_and_says_how_to_see_it(harness: Harness) -> None:
    harness.register("prod-a")
    ran = harness.run("rotate", "prod-a", "--reason", "quarterly")
    name = "prod-a-2026-11-23-030000-000"
    assert ran.out == f"Started {arn(name)}\nSee it with: element-rekey show {name}\n"
    assert started(harness) == {"cluster": "prod-a", "reason": "quarterly", "requestedBy": USER}
    assert ran.code == 0


def test_started_as_a_document(harness: Harness) -> None:
    harness.register("prod-a")
    ran = harness.run("rotate", "prod-a", "--json")
    assert_valid("command-started.v1", ran.document)
    assert ran.document["clusters"] == ["prod-a"]


def test_waiting_shows_each_step_and_ends_with_the_proof(harness: Harness) -> None:
    harness.register("prod-a")
    harness.terminal = False
    ends(harness)
    ran = harness.run("rotate", "prod-a", "--wait", "--reason", "quarterly")
    assert_is("rotate-wait.txt", ran.out)
    assert ran.code == 0
    assert harness.pauses == [OFTEN]


def test_waiting_on_a_terminal_leaves_the_same_lines(harness: Harness) -> None:
    harness.register("prod-a")
    ends(harness)
    ran = harness.run("rotate", "prod-a", "--wait")
    for words in ("poll 1: RewrapDataEncryptionKeys", "What the outcome rests on", "Rotated: master key replaced"):
        assert words in ran.out
    assert ran.code == 0


def test_the_document_of_a_rotation_is_its_notification(harness: Harness) -> None:
    harness.register("prod-a")
    harness.terminal = False
    ends(harness)
    ran = harness.run("rotate", "prod-a", "--wait", "--json")
    assert_valid("rotation-outcome.v1", ran.document)
    assert "poll 1: RewrapDataEncryptionKeys" in ran.err
    assert ran.code == 0


LOST = Failure("RekeyOutcomeUnknown", "A rekey was sent.", "Start again.")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"outcome": Outcome.FOLLOWED}, 0),
        ({"outcome": Outcome.NOT_DUE, "change": None}, 0),
        ({"outcome": Outcome.FAILED, "failure": Failure("RekeyFailed", "No.", "Mend."), "change": None}, 1),
        ({"outcome": Outcome.WOULD_BE_REFUSED, "failure": Failure("UpgradePending", "No.", "Wait.")}, 5),
        ({"outcome": Outcome.OUTCOME_UNKNOWN, "failure": LOST, "change": None}, 6),
        ({"outcome": Outcome.OVERDUE, "failure": LOST, "change": None}, 7),
        ({"outcome": Outcome.ROTATED_WITH_ERROR, "failure": LOST}, 8),
    ],
)
def test_the_exit_code_is_by_outcome(harness: Harness, changes: dict[str, Any], code: int) -> None:
    harness.register("prod-a")
    ends(harness, **changes)
    ran = harness.run("rotate", "prod-a", "--wait")
    assert ran.code == code
    assert ("Next: element-rekey again prod-a" in ran.out) is (code in (6, 7))


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("--dry-run",), {"dryRun": True}),
        (("--external", "15"), {"keyManagementType": "External", "keyProviderID": 15}),
        (("--internal",), {"keyManagementType": "Internal"}),
        (
            ("--ignore-fault", "nodeOffline", "--ignore-fault", "diskFailure"),
            {"ignoreFaults": ["nodeOffline", "diskFailure"]},
        ),
        (("--accept-cluster-uuid", "u"), {"acceptClusterUUID": "u"}),
    ],
)
def test_options_are_members_of_the_request(harness: Harness, options: tuple[str, ...], asked: dict[str, Any]) -> None:
    harness.register("prod-a")
    ends(harness)
    assert harness.run("rotate", "prod-a", *options).code == 0
    assert started(harness) == {"cluster": "prod-a", "requestedBy": USER, **asked}


def test_a_dry_run_waits_for_its_answer(harness: Harness) -> None:
    harness.register("prod-a")
    ends(harness, outcome=Outcome.PLANNED, request=Request("prod-a", dry_run=True), change=None)
    assert "Planned: dry run, would rotate" in harness.run("rotate", "prod-a", "--dry-run").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "Name the clusters, or say --all-due."),
        (("prod-a", "--all-due"), 2, "Name the clusters, or say --all-due."),
        (("prod-a", "--external", "1", "--internal"), 2, "--external and --internal exclude each other."),
        (("prod-a", "prod-b", "--accept-cluster-uuid", "u"), 2, "--accept-cluster-uuid is for one cluster."),
        (("prod-a", "--reason", "x" * 513), 2, "reason: expected at most 512 characters, not 513."),
        (("prod-a", "--ignore-fault", "?"), 2, "ignoreFaults: expected cluster fault codes, such as nodeOffline."),
        (("prod-a", "prod-y", "prod-x"), 4, "No cluster is registered as prod-y, prod-x; nothing was started."),
    ],
)
def test_what_is_wrong_starts_nothing(harness: Harness, arguments: tuple[str, ...], code: int, words: str) -> None:
    harness.register("prod-a")
    harness.register("prod-b")
    ran = harness.run("rotate", *arguments)
    assert (ran.code, ran.err) == (code, f"element-rekey: {words}\n")
    assert harness.steps.executions == {}


def interrupted() -> None:
    raise KeyboardInterrupt


def test_ctrl_c_stops_the_watching_and_not_the_rotation(harness: Harness) -> None:
    harness.register("prod-a")
    harness.on_pause = interrupted
    ran = harness.run("rotate", "prod-a", "--wait")
    name = "prod-a-2026-11-23-030000-000"
    assert ran.code == 130
    assert ran.err == (
        f"element-rekey: Stopped watching. The execution goes on: {arn(name)} See it with: element-rekey show {name}\n"
    )
    assert harness.steps.executions[arn(name)]["status"] == "RUNNING"


def test_ctrl_c_before_the_answer_says_that_it_may_have_been_started(harness: Harness) -> None:
    harness.register("prod-a")
    harness.steps.on_start = lambda _arn, _input: interrupted()
    ran = harness.run("rotate", "prod-a", "--wait")
    assert ran.code == 130
    assert "it may have been started: element-rekey show arn:aws:states:" in ran.err


def test_an_execution_that_was_stopped_is_waited_for_until_it_is_closed(harness: Harness) -> None:
    harness.register("prod-a")

    def stop(execution: str, given: dict[str, Any]) -> None:
        harness.steps.executions[execution]["status"] = "ABORTED"

        def close() -> None:
            if len(harness.pauses) == 3:
                failure = Failure("ExecutionAborted", "Stopped by hand.", "Start again.")
                harness.ledger.save(record(execution, given, outcome=Outcome.FAILED, failure=failure, change=None))

        harness.on_pause = close

    harness.steps.on_start = stop
    ran = harness.run("rotate", "prod-a", "--wait")
    assert (ran.code, harness.pauses) == (1, [OFTEN] * 3)
    assert "ExecutionAborted" in ran.out


def test_an_execution_that_nobody_closes_is_not_known(harness: Harness) -> None:
    harness.register("prod-a")

    def stop(execution: str, _given: dict[str, Any]) -> None:
        harness.steps.executions[execution]["status"] = "ABORTED"

    harness.steps.on_start = stop
    ran = harness.run("rotate", "prod-a", "--wait")
    assert (ran.code, len(harness.pauses)) == (6, CLOSED_SECONDS)
    assert "was not closed within 60 s" in ran.err


def test_a_long_rotation_is_looked_at_less_often(harness: Harness) -> None:
    harness.register("prod-a")
    looks: list[Callable[[], None]] = []
    ends(harness)
    begin = harness.steps.on_start

    def slowly(execution: str, given: dict[str, Any]) -> None:
        begin(execution, given)
        end = harness.on_pause
        harness.on_pause = lambda: end() if len(harness.pauses) > OFTEN_LOOKS else looks.append(end)

    harness.steps.on_start = slowly
    harness.run("rotate", "prod-a", "--wait")
    assert harness.pauses == [OFTEN] * OFTEN_LOOKS + [SELDOM]


# --- several ---


def fleet_ends(harness: Harness, *, bad: bool = False, dry: bool = False) -> None:
    """Let the fleet run rotate the one cluster after the other."""

    def begin(execution: str, given: dict[str, Any]) -> None:
        names = given["clusters"]
        selected = tuple(Selected(one, f"{one}-x", NOW) for one in names)
        refused = (NotSelected("prod-z", "ClusterNotRegistered", "No secret."),) if bad else ()
        request = FleetRequest(clusters=tuple(names), dry_run=dry)
        run = FleetRun(Execution(execution, NOW), request, selected=selected, not_selected=refused)

        def go_on() -> None:
            if harness.steps.executions[execution]["status"] != "RUNNING":
                return
            nonlocal run
            if len(harness.pauses) == 1:
                run = harness.ledger.save_fleet_run(run)
                return
            for one in selected[: len(harness.pauses) - 2]:
                known = harness.ledger.rotations([arn(one.execution_name)]).get(arn(one.execution_name))
                ended = record(arn(one.execution_name), {"cluster": one.cluster, "requestedBy": USER})
                if known is None:
                    harness.ledger.save(replace(ended, outcome=None, change=None, detail="CreateNewMasterKey"))
                elif known.outcome is None:
                    harness.ledger.save(replace(ended, version=known.version))
            if len(harness.pauses) == len(selected) + 4:
                failure = fleet_failure(run, ()) if bad else None
                harness.ledger.save_fleet_run(replace(run, ended_at=NOW + MINUTE, failure=failure))
                harness.steps.executions[execution]["status"] = "FAILED" if bad else "SUCCEEDED"

        harness.on_pause = go_on

    harness.steps.on_start = begin


def fleet(harness: Harness) -> None:
    harness.register("prod-a")
    harness.register("prod-b")


def test_several_go_through_the_fleet_machine(harness: Harness) -> None:
    fleet(harness)
    ran = harness.run("rotate", "prod-b", "prod-a", "prod-b")
    (execution,) = harness.steps.executions
    assert execution == arn("2-clusters-2026-11-23-030000-000", FLEET)
    assert started(harness) == {"clusters": ["prod-a", "prod-b"], "requestedBy": USER}
    assert f"element-rekey show {execution}" in ran.out


def test_several_are_followed_line_by_line_in_a_pipe(harness: Harness) -> None:
    fleet(harness)
    fleet_ends(harness)
    harness.terminal = False
    ran = harness.run("rotate", "prod-a", "prod-b", "--wait")
    assert_is("rotate-fleet.txt", ran.out)
    assert ran.code == 0


def test_several_are_a_live_table_on_a_terminal(harness: Harness) -> None:
    fleet(harness)
    fleet_ends(harness)
    ran = harness.run("rotate", "prod-a", "prod-b", "--wait")
    assert "Fleet: 2 clusters, 2 rotated, all well." in ran.out
    assert ran.code == 0


def test_a_fleet_run_that_fell_short_is_open(harness: Harness) -> None:
    fleet(harness)
    fleet_ends(harness, bad=True)
    harness.terminal = False
    ran = harness.run("rotate", "prod-a", "prod-b", "--wait", "--json")
    assert_valid("fleet-summary.v1", ran.document)
    assert "prod-z  Refused  ClusterNotRegistered" in ran.err
    assert ran.code == 1


def test_a_dry_run_of_several_says_what_would_be_refused(harness: Harness) -> None:
    fleet(harness)
    fleet_ends(harness, bad=True, dry=True)
    begin = harness.steps.on_start

    def as_dry(execution: str, given: dict[str, Any]) -> None:
        assert given["dryRun"] is True
        begin(execution, given)

    harness.steps.on_start = as_dry
    assert harness.run("rotate", "prod-a", "prod-b", "--dry-run").code == 5


def test_all_that_is_due_is_asked_for_with_the_age_it_may_have(harness: Harness) -> None:
    well(harness)  # not due
    for cluster, days, tags in (("lab-a", 40, {"max_key_age_days": "30"}), ("lab-b", 92, {}), ("lab-c", 95, {})):
        harness.register(cluster, **tags)
        remembered(harness, cluster, f"key-{cluster}", NOW - days * DAY)
    running = harness.steps.add("busy", NOW, cluster="lab-c")
    harness.steps.happened(running, "TaskStateEntered", NOW, stateEnteredEventDetails={"name": "StartRekey"})
    assert harness.run("rotate", "--all-due", "--reason", "late").code == 0
    (_, fleet_run) = harness.steps.executions.values()
    assert json.loads(fleet_run["input"]) == {
        "clusters": ["lab-a", "lab-b"],
        "reason": "late",
        "requestedBy": USER,
        "keyCreatedAfter": "2026-10-24T03:00:00.000Z",
    }


def test_where_nothing_is_due_nothing_is_started(harness: Harness) -> None:
    well(harness)
    ran = harness.run("rotate", "--all-due")
    assert (ran.code, ran.out, harness.steps.executions) == (0, "Nothing is due.\n", {})


def test_a_caller_nobody_knows_is_not_named(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.register("prod-a")

    def silent(_self: FakeSts) -> dict[str, str]:
        raise EndpointConnectionError(endpoint_url="https://sts.amazonaws.com")

    monkeypatch.setattr(FakeSts, "get_caller_identity", silent)
    harness.run("rotate", "prod-a")
    assert started(harness) == {"cluster": "prod-a"}


def test_more_clusters_than_fit_are_counted(harness: Harness) -> None:
    console = harness.console()
    table = FleetTable(console)
    table.take(None, ())
    names = [f"prod-{number:02}" for number in range(ROWS + 4)]
    table.take(FleetRun(Execution("x", NOW)), tuple(ClusterResult(Selected(name, name, NOW), None) for name in names))
    console.print(table.render())
    shown = harness.said.getvalue()
    assert "4 more" in shown
    assert names[ROWS - 1] in shown
    assert names[ROWS] not in shown

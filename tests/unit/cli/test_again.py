"""``element-rekey again``: three lines, the same demand once more, and a verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.notifications import build_notification
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import Execution, Failure, Request, Rotation
from element_rekey_cli.commands.again import input_again, verdict_on
from element_rekey_cli.following import DRY_RUN_SECONDS
from tests.fakes import NOW
from tests.unit.cli.golden import assert_is
from tests.unit.cli.harness import USER
from tests.unit.cli.scenario import failure, recorded, remembered, well
from tests.unit.cli.schemas import assert_valid
from tests.unit.samples import BROKEN, HOUR, MINUTE, change, following, intent, key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.harness import Harness

OLD, NEW = key("key-0"), key("key-1", NOW - 50 * MINUTE)
UNKNOWN = failure("RekeyOutcomeUnknown", "A rekey was sent, and its answer was lost.")


def lost(harness: Harness, **changes: Any) -> Rotation:  # noqa: ANN401 - members
    """A rotation whose answer was lost."""
    harness.register("prod-a")
    remembered(harness, "prod-a", "key-0", NOW - HOUR)
    plain = {
        "request": Request("prod-a", trigger=Trigger.ALARM, reason="the SIEM saw it"),
        "current_key": OLD,
        "intent": intent(baseline_key=OLD, sent_at=NOW - 59 * MINUTE),
        "following": following(),
        "outcome": Outcome.OUTCOME_UNKNOWN,
        "failure": UNKNOWN,
    }
    return recorded(harness, "prod-a", NOW - HOUR, **{**plain, **changes})


def ends(harness: Harness, dry: dict[str, Any] | None, **changes: Any) -> None:  # noqa: ANN401 - members
    """Let the dry run, and then the rotation, end so; None: the dry run comes to no end."""

    def begin(execution: str, given: dict[str, Any]) -> None:
        plain = Rotation(
            Execution(execution, NOW),
            given["cluster"],
            Request(given["cluster"], dry_run=bool(given.get("dryRun"))),
            ended_at=NOW,
        )
        if not given.get("dryRun"):
            harness.ledger.save(replace(plain, **changes))
        elif dry is not None:
            harness.on_pause = once(lambda: harness.ledger.save(replace(plain, **dry)))
        if dry is not None or not given.get("dryRun"):
            harness.steps.executions[execution]["status"] = "SUCCEEDED"

    harness.steps.on_start = begin


def once(do: Callable[[], object]) -> Callable[[], None]:
    done: list[object] = []
    return lambda: None if done else done.append(do())


def inputs(harness: Harness) -> list[dict[str, Any]]:
    return [json.loads(one["input"]) for one in harness.steps.executions.values()]


FOUND = {"outcome": Outcome.NOT_DUE, "current_key": NEW, "detail": "The current key was made at 02:10."}


def test_what_went_through_after_all_is_found_and_nothing_is_sent_again(harness: Harness) -> None:
    lost(harness)
    ends(harness, FOUND, outcome=Outcome.NOT_DUE, current_key=NEW, detail="The current key was made at 02:10.")
    harness.terminal = False
    ran = harness.run("again", "prod-a")
    assert_is("again.txt", ran.out)
    assert ran.code == 0
    members = {"cluster": "prod-a", "reason": "the SIEM saw it", "trigger": "alarm"}
    expected = {**members, "keyCreatedAfter": "2026-11-23T02:00:00.000Z"}
    assert inputs(harness) == [{**expected, "dryRun": True}, expected]
    assert USER not in json.dumps(inputs(harness))  # who asked is who asked first


def test_the_input_is_the_one_that_the_notification_names(harness: Harness) -> None:
    record = lost(harness)
    assert input_again(record) == build_notification(record).start_again_with
    stated = replace(record, request=replace(record.request or Request("x"), key_created_after=NOW - 2 * HOUR))
    assert input_again(stated) == build_notification(stated).start_again_with
    failed = replace(record, outcome=Outcome.FAILED)
    assert build_notification(failed).start_again_with is None
    assert input_again(failed) == input_again(record)


def test_a_cluster_that_does_not_answer_the_dry_run_is_started_all_the_same(harness: Harness) -> None:
    lost(harness)
    ends(harness, None, outcome=Outcome.OUTCOME_UNKNOWN, failure=UNKNOWN)
    ran = harness.run("again", "prod-a")
    assert "Key now        not known: the dry run came to no end within 60 s" in ran.out
    assert "Not known again: do not send a rekey by hand" in ran.out
    assert ran.code == 6
    assert len(harness.pauses) == DRY_RUN_SECONDS


STAGED = failure("UpgradePending", "Staged.")


@pytest.mark.parametrize(
    ("dry", "words"),
    [
        (
            {"outcome": Outcome.PLANNED, "current_key": OLD, "detail": "Would replace."},
            "key-0 (Internal, made 2025-10-19 03:00:00 UTC): the same",
        ),
        ({"outcome": Outcome.WOULD_BE_REFUSED, "failure": STAGED}, "not known: UpgradePending: Staged."),
        ({"outcome": Outcome.WOULD_BE_REFUSED}, "not known"),
    ],
)
def test_the_key_now_is_what_the_dry_run_saw(harness: Harness, dry: dict[str, Any], words: str) -> None:
    lost(harness, intent=None, following=None, current_key=None, outcome=Outcome.FAILED)
    ends(harness, dry, outcome=Outcome.ROTATED, change=change(old_key=OLD, new_key=NEW), current_key=NEW)
    harness.terminal = False
    ran = harness.run("again", "prod-a")
    lines = ran.out.splitlines()
    assert lines[1] == "Key then       not seen"
    assert lines[2] == f"Key now        {words}"
    assert lines[3].startswith("Job            none was sent")
    assert ran.code == 0


def test_as_a_document_it_is_the_notification(harness: Harness) -> None:
    lost(harness)
    ends(harness, FOUND, outcome=Outcome.ROTATED, change=change(), current_key=NEW, cluster_uuid="u", cluster_name="n")
    ran = harness.run("again", "prod-a", "--json")
    assert_valid("rotation-outcome.v1", ran.document)
    assert "Key then" in ran.err


def test_where_all_went_well_nothing_is_started(harness: Harness) -> None:
    well(harness)
    harness.register("prod-new")
    ran = harness.run("again", "prod-a")
    said = "There is nothing to start again on prod-a; its last rotation ended as Rotated.\n"
    assert (ran.code, ran.out) == (0, said)
    assert harness.run("again", "prod-new").out == "There is nothing to start again on prod-new.\n"
    assert harness.steps.executions == {}


def test_while_a_rotation_runs_nothing_is_started(harness: Harness) -> None:
    lost(harness)
    running = harness.steps.add("one", NOW, cluster="prod-a")
    harness.steps.happened(running, "TaskStateEntered", NOW, stateEnteredEventDetails={"name": "StartRekey"})
    ran = harness.run("again", "prod-a")
    assert ran.code == 1
    assert ran.err == "element-rekey: A rotation of prod-a runs already: element-rekey show one\n"


def test_an_input_that_was_none_cannot_be_started_again(harness: Harness) -> None:
    lost(harness, request=None)
    ran = harness.run("again", "prod-a")
    assert (ran.code, "was not a valid request: element-rekey rotate prod-a" in ran.err) == (2, True)


def test_a_cluster_nobody_registered_is_not_found(harness: Harness) -> None:
    assert harness.run("again", "nobody").code == 4


SENT, UNSENT = Rotation(Execution("x", NOW), intent=intent()), Rotation(Execution("x", NOW))


@pytest.mark.parametrize(
    ("last", "outcome", "words"),
    [
        (SENT, Outcome.NOT_DUE, "went through after all"),
        (UNSENT, Outcome.NOT_DUE, "replaced since: nothing was sent"),
        (SENT, Outcome.FOLLOWED, "followed to its end"),
        (SENT, Outcome.ROTATED, "had not taken effect: one was sent now"),
        (UNSENT, Outcome.ROTATED, "had sent nothing: a rekey was sent now"),
        (SENT, Outcome.OUTCOME_UNKNOWN, "explain RekeyOutcomeUnknown"),
        (SENT, Outcome.OVERDUE, "Overdue again: element-rekey explain RekeyFailed"),
        (SENT, Outcome.FAILED, "Failed again: element-rekey explain RekeyFailed"),
    ],
)
def test_the_verdict_is_on_both(last: Rotation, outcome: Outcome, words: str) -> None:
    failed = Failure("RekeyFailed", BROKEN.message, "Mend.") if not outcome.succeeded else None
    assert words in verdict_on(last, Rotation(Execution("y", NOW), outcome=outcome, failure=failed))


def test_without_an_outcome_and_an_error_the_verdict_says_so() -> None:
    assert verdict_on(SENT, Rotation(Execution("y", NOW))) == "Not known again"

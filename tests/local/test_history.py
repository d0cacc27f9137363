"""What ``python -m local history`` shows of the records, whatever they came to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from element_rekey.codec import encode
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    Asked,
    Failure,
    FleetRequest,
    FleetRun,
    NotSelected,
    OutsideChange,
    Request,
    Rotation,
    Selected,
    Settled,
)
from local.history import TITLES, rows
from tests.fakes import NOW
from tests.unit.samples import ARN, HOUR, MINUTE, OTHER_ARN, change, execution, failed, key, rotated, rotation

ASKED = Request("prod-a", reason="yearly", requested_by="jane", trigger=Trigger.ALARM)
BEGAN = "2026-11-23 03:00:00"


def shown(record: Rotation | FleetRun) -> list[tuple[str, ...]]:
    kind = "FLEET" if isinstance(record, FleetRun) else "ROTATION"
    top = {"pk": f"{kind}#{record.execution.id}", "startedAt": encode(record.execution.started_at)}
    item: dict[str, Any] = json.loads(json.dumps(top | encode(record)))
    return list(rows(item))


def came_to(record: Rotation) -> str:
    return shown(record)[0][TITLES.index("what it came to")]


def test_a_change_says_who_asked_and_which_key_replaced_which() -> None:
    assert shown(rotated(request=ASKED)) == [
        (BEGAN, "prod-a", "Rotated", "key replaced", "alarm", "jane, yearly", "key-0", "key-1", "")
    ]


def test_what_was_no_change_is_told_apart_from_one() -> None:
    assert came_to(rotated(outcome=Outcome.FOLLOWED, change=change(ours=False))) == "key replaced by others"
    assert came_to(rotated(outcome=Outcome.NOT_DUE, change=None)) == "nothing to do"
    assert came_to(rotated(outcome=Outcome.COOLING_DOWN, change=None)) == "nothing to do"
    dry = Request("prod-a", dry_run=True)
    assert came_to(rotated(outcome=Outcome.PLANNED, change=None, request=dry)) == "dry run, nothing was changed"
    assert came_to(rotated(outcome=Outcome.NOT_DUE, change=None, request=dry)) == "dry run, nothing was changed"
    assert came_to(failed(outcome=Outcome.OUTCOME_UNKNOWN)) == "not known"
    assert came_to(failed(outcome=Outcome.OVERDUE)) == "not known"
    assert came_to(failed()) == "rekey failed, key as before"
    assert came_to(rotation()) == ""


def test_a_run_that_was_refused_has_its_trigger_its_requester_and_its_error() -> None:
    asked = Asked(Trigger.SCHEDULE, "maximum key age", "jane")
    refused = replace(failed("RequestInvalid", intent=None), request=None, asked=asked)
    assert shown(refused) == [
        (
            *(BEGAN, "prod-a", "Failed", "refused, key as before", "schedule", "jane, maximum key age"),
            *("", "", "RequestInvalid"),
        )
    ]


def test_an_input_of_which_nothing_could_be_read_has_its_error() -> None:
    (line,) = shown(replace(failed("RequestInvalid", intent=None), request=None, cluster=""))
    assert (line[1], line[4:6], line[8]) == ("", ("", ""), "RequestInvalid")


def test_a_settled_story_is_shown_by_both_of_its_executions() -> None:
    first = failed(outcome=Outcome.OUTCOME_UNKNOWN)
    first = replace(first, change=change(), settled_by=execution(NOW + HOUR, OTHER_ARN))
    (line,) = shown(first)
    assert line[2:4] == ("OutcomeUnknown", "key replaced, settled by other")
    assert line[6:8] == ("key-0", "key-1")
    story = Settled(execution(), Asked(Trigger.MANUAL), change())
    second = rotated(execution=execution(NOW + HOUR, OTHER_ARN), outcome=Outcome.NOT_DUE, change=None, settled=(story,))
    assert came_to(second) == "nothing to do, settles one"


def test_a_change_by_others_has_a_line_of_its_own() -> None:
    outside = OutsideChange("key-1", key("key-9", NOW), NOW - MINUTE, NOW + HOUR)
    record = rotated(outcome=Outcome.NOT_DUE, change=None, outside=(outside, replace(outside, old_key_seen_at=None)))
    _, *others = shown(record)
    assert others == [
        (
            *("2026-11-23 04:00:00", "prod-a", "KeyChangedOutside", "key replaced by others", ""),
            *(who, "key-1", "key-9", ""),
        )
        for who in ("nobody we know, after 2026-11-23 02:59:00", "nobody we know")
    ]


FLEET = FleetRun(
    execution(arn=ARN.replace("RotateMasterKey", "RotateFleet")),
    FleetRequest(trigger=Trigger.SCHEDULE, reason="maximum key age"),
    selected=tuple(Selected(name, name, NOW) for name in ("a", "b", "c")),
    ended_at=NOW + HOUR,
)


def test_a_fleet_run_is_shown_with_its_trigger_and_its_error() -> None:
    assert shown(FLEET) == [
        (BEGAN, "a, b, c", "FleetSummary", "fleet run, all well", "schedule", "maximum key age", "", "", "")
    ]
    bad = replace(
        FLEET,
        request=None,
        asked=Asked(Trigger.ALARM, "alarm x", "jane", dry_run=True),
        not_selected=(NotSelected("d", "ClusterNotRegistered", "No secret."),),
        failure=Failure("FleetIncomplete", "Not as they should be: d.", "Look."),
    )
    assert shown(bad) == [
        (
            *(BEGAN, "a, b, c and 1 more", "FleetSummary", "fleet run, dry run, needs ATTENTION"),
            *("alarm", "jane, alarm x", "", "", "FleetIncomplete"),
        )
    ]
    assert shown(replace(FLEET, selected=(), ended_at=None))[0][1:4] == ("(none)", "under way", "fleet run")

from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from element_rekey.cluster import ElementError, KeyManagementType, MasterKey, Unfamiliar
from element_rekey.codec import encode, json_name
from element_rekey.errors import (
    ElementRekeyError,
    ExecutionAborted,
    ExecutionBroken,
    ExecutionTimedOut,
    RekeyOutcomeUnknown,
    RotationOverdue,
)
from element_rekey.inputs import parse_request
from element_rekey.notifications import SCHEMA, Notification, build_notification, plain_words, subject_line, subject_of
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import CLUSTER_NAME, Asked, OutsideChange, Request, Rotation, Settled
from element_rekey.rules.demand import demand_of
from element_rekey.text import is_plain
from tests.fakes import NOW
from tests.unit.samples import (
    ARN,
    HOUR,
    MINUTE,
    OTHER_ARN,
    UUID,
    change,
    execution,
    external,
    failed,
    key,
    rotated,
    rotation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = json.loads((Path(__file__).parents[2] / "schemas" / "rotation-outcome.v1.schema.json").read_text())
VALIDATOR = Draft202012Validator(DOCUMENT, format_checker=Draft202012Validator.FORMAT_CHECKER)
BROKEN = ElementError("xAssumed", "Out of entropy.")

ENDED = NOW + 4 * MINUTE
SETTLED = Settled(execution(NOW - HOUR, OTHER_ARN), Asked(Trigger.ALARM, "alarm x", "jane"), change())
OUTSIDE = OutsideChange("key-0", key("key-9", NOW), NOW - HOUR, NOW, rekey_async_result_id=4)
EXAMPLES: dict[str, Rotation] = {
    "Rotated": rotated(),
    "Followed": rotated(outcome=Outcome.FOLLOWED, intent=None, detail="Somebody else's rekey made the current key."),
    "NotDue": rotated(outcome=Outcome.NOT_DUE, change=None, polls=0, detail="The current key is recent enough."),
    "CoolingDown": rotated(outcome=Outcome.COOLING_DOWN, change=None, polls=0, detail="The key is too new."),
    "Planned": rotated(outcome=Outcome.PLANNED, change=None, polls=0, request=Request("prod-a", dry_run=True)),
    "WouldBeRefused": replace(
        failed("UpgradePending", Outcome.WOULD_BE_REFUSED), request=Request("prod-a", dry_run=True), change=None
    ),
    "Failed": failed(),
    "RotatedWithError": replace(
        failed("RekeyEndedWithError", Outcome.ROTATED_WITH_ERROR), change=change(job_error=BROKEN), current_key=None
    ),
    "Overdue": failed("RotationOverdue", Outcome.OVERDUE),
    "OutcomeUnknown": failed("RekeyOutcomeUnknown", Outcome.OUTCOME_UNKNOWN),
}
UNUSUAL = {
    "an input that named nothing": replace(failed("RequestInvalid"), cluster="", request=None, cluster_uuid=""),
    "external keys": rotated(change=change(old_key=key(), new_key=external("key-1"), key_to_decommission=None)),
    "keys without times": rotated(change=change(old_key=key(made=None), new_key=key("key-1", None))),
    "a result read away": rotated(change=change(job_result_read=False, key_to_decommission=None, job_seconds=None)),
    "nothing seen": rotated(outcome=Outcome.PLANNED, change=None, detail=""),
    "a rekey of an earlier execution settled": rotated(
        outcome=Outcome.NOT_DUE, change=None, settled=(SETTLED, replace(SETTLED, change=change(ours=False)))
    ),
    "keys changed by others": rotated(outside=(OUTSIDE, replace(OUTSIDE, old_key_seen_at=None, published_at=NOW))),
    "a closed record without an outcome": rotated(outcome=None, failure=failed().failure),
}
ALL = EXAMPLES | UNUSUAL


def words(record: Rotation) -> str:
    return plain_words(build_notification(record))


def test_a_dry_run_that_failed_is_not_told_as_a_rotation_that_failed() -> None:
    record = replace(failed("ExecutionAborted"), request=Request("prod-a", dry_run=True))
    assert build_notification(record).headline == "dry run FAILED, nothing was changed"
    assert build_notification(failed(intent=None)).headline == "rotation FAILED, this run changed nothing"
    assert build_notification(failed()).headline == "rotation FAILED, the old key is still current"


def test_who_asked_and_why_is_told_of_an_input_that_was_refused() -> None:
    asked = Asked(Trigger.SCHEDULE, "maximum key age", "jane", dry_run=True)
    told = build_notification(replace(failed("RequestInvalid"), request=None, asked=asked))
    assert (told.trigger, told.reason, told.requested_by) == (Trigger.SCHEDULE, "maximum key age", "jane")
    assert told.dry_run
    assert told.headline == "dry run FAILED, nothing was changed"


def test_a_dry_run_that_would_be_refused_says_so_and_what_to_mend() -> None:
    text = words(EXAMPLES["WouldBeRefused"])
    assert text.startswith("Cluster prod-a: dry run, would be refused.\n\nWhat happened: UpgradePending. ")
    assert "\nWhat to do:    " in text
    assert subject_of(build_notification(EXAMPLES["WouldBeRefused"])) == (
        "[WouldBeRefused] prod-a: dry run, would be refused"
    )


# --- the contract with machines ---


def test_the_schema_itself_is_a_valid_one() -> None:
    Draft202012Validator.check_schema(DOCUMENT)


def test_every_outcome_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(Outcome)


@pytest.mark.parametrize("name", ALL)
def test_a_notification_keeps_its_schema(name: str) -> None:
    notification = json.loads(json.dumps(encode(build_notification(ALL[name]))))
    VALIDATOR.validate(notification)
    assert notification["schema"] == SCHEMA == DOCUMENT["$id"]


@pytest.mark.parametrize(
    ("changed", "to"),
    [
        ("schema", "element-rekey.rotation-outcome.v2"),
        ("outcome", "Done"),
        ("trigger", "wish"),
        ("succeeded", "true"),
        ("polls", -1),
        ("newKey", {"keyManagementType": "Internal"}),
        ("unfamiliar", [{"member": "GetAsyncResult.result"}]),
        ("notificationID", ""),
        ("succeeded", False),
        ("startedAt", 3),
    ],
)
def test_the_schema_notices_a_wrong_member(changed: str, to: object) -> None:
    notification = encode(build_notification(rotated())) | {changed: to}
    with pytest.raises(ValidationError):
        VALIDATOR.validate(notification)


@pytest.mark.parametrize("name", DOCUMENT["required"])
def test_the_schema_notices_a_missing_member(name: str) -> None:
    notification = encode(build_notification(rotated()))
    del notification[name]
    with pytest.raises(ValidationError):
        VALIDATOR.validate(notification)


def members(cls: Any) -> set[str]:  # noqa: ANN401 - a dataclass
    return {json_name(field.name) for field in fields(cls)}


def test_the_schema_and_the_notification_have_the_same_members() -> None:
    assert set(DOCUMENT["properties"]) == members(Notification)
    assert set(DOCUMENT["$defs"]["masterKey"]["properties"]) == members(MasterKey)
    assert set(DOCUMENT["properties"]["jobError"]["properties"]) == members(ElementError)
    assert set(DOCUMENT["properties"]["startAgainWith"]["properties"]) == members(Request)
    assert set(DOCUMENT["properties"]["unfamiliar"]["items"]["properties"]) == members(Unfamiliar)
    assert set(DOCUMENT["properties"]["settled"]["items"]["properties"]) == members(Settled)
    assert set(DOCUMENT["properties"]["keyChangedOutside"]["items"]["properties"]) == members(OutsideChange)
    # A member that is None is left out, so what may be None cannot be required.
    optional = {json_name(field.name) for field in fields(Notification) if "None" in str(field.type)}
    assert set(DOCUMENT["required"]) == members(Notification) - optional


def test_the_schema_and_the_model_have_the_same_words_for_the_management_of_keys() -> None:
    assert DOCUMENT["$defs"]["masterKey"]["properties"]["keyManagementType"]["enum"] == list(KeyManagementType)
    asked = DOCUMENT["properties"]["startAgainWith"]["properties"]
    assert asked["keyManagementType"]["enum"] == list(KeyManagementType)


def test_every_member_of_the_schema_is_described_and_every_object_may_grow() -> None:
    def objects(value: object) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "properties" in value and value.get("type") == "object":
                yield value
            for member in value.values():
                yield from objects(member)

    found = list(objects(DOCUMENT))
    assert len(found) == 9
    for one in found:
        assert one["additionalProperties"] is True
        for name, member in cast("dict[str, dict[str, Any]]", one["properties"]).items():
            assert member.get("description", "").endswith("."), name


def test_the_schema_notices_an_input_to_start_again_with_that_protects_nobody() -> None:
    notification = encode(build_notification(UNKNOWN))
    VALIDATOR.validate(notification)
    for member in ("cluster", "keyCreatedAfter"):
        without = {name: value for name, value in notification["startAgainWith"].items() if name != member}
        with pytest.raises(ValidationError):
            VALIDATOR.validate(notification | {"startAgainWith": without})
    with pytest.raises(ValidationError):
        VALIDATOR.validate(encode(build_notification(rotated())) | {"startAgainWith": notification["startAgainWith"]})


def test_what_was_not_understood_is_told_with_the_outcome() -> None:
    odd = (Unfamiliar("GetAsyncResult.result", '"Done."'), Unfamiliar("GetAsyncResult.resultType", '"SearRekey"'))
    rotation = rotated(
        unfamiliar=odd, current_key=MasterKey("key-1", None), change=change(new_key=MasterKey("key-1", None))
    )
    notification = build_notification(rotation)
    document = encode(notification)
    VALIDATOR.validate(document)
    assert document["unfamiliar"] == [
        {"member": "GetAsyncResult.result", "value": '"Done."'},
        {"member": "GetAsyncResult.resultType", "value": '"SearRekey"'},
    ]
    assert 'Not understood:       GetAsyncResult.result is "Done."\n' in plain_words(notification)
    assert "key-1 (management not known)" in plain_words(notification)
    assert "unfamiliar" not in encode(build_notification(rotated()))


def test_a_later_version_may_add_a_member() -> None:
    VALIDATOR.validate(encode(build_notification(rotated())) | {"later": 1})


# --- what is published ---


def test_what_was_asked_and_by_whom_is_reported() -> None:
    request = Request("prod-a", reason="audit", requested_by="j.doe", trigger=Trigger.ALARM, dry_run=True)
    notification = build_notification(rotated(request=request))
    assert (notification.reason, notification.requested_by, notification.trigger, notification.dry_run) == (
        "audit",
        "j.doe",
        Trigger.ALARM,
        True,
    )


def test_a_repeated_delivery_has_the_same_id() -> None:
    assert (
        build_notification(rotated()).notification_id
        == build_notification(rotated(notified_at=ENDED)).notification_id
        == ARN
    )


def test_keys_times_and_proof_of_a_rotation_are_reported() -> None:
    notification = build_notification(rotated())
    assert (notification.old_key, notification.new_key, notification.key_to_decommission) == (
        key(),
        key("key-1", NOW + MINUTE),
        key(),
    )
    assert (notification.started_at, notification.ended_at, notification.duration_seconds) == (NOW, ENDED, 240)
    assert (notification.rekey_seconds, notification.job_result_read, notification.polls) == (120, True, 3)
    assert (notification.error, notification.cause, notification.next_step) == (None, None, None)
    assert notification.succeeded


def test_cause_and_next_step_of_a_failure_are_reported() -> None:
    notification = build_notification(failed())
    assert not notification.succeeded
    assert (notification.error, notification.next_step) == ("RekeyFailed", "Mend it, then start again.")
    assert notification.current_key == key()
    assert (notification.old_key, notification.new_key, notification.job_result_read) == (None, None, None)


def test_a_record_that_is_not_closed_has_no_end_and_claims_nothing() -> None:
    notification = build_notification(rotation())
    assert (notification.ended_at, notification.duration_seconds, notification.outcome) == (
        None,
        0,
        Outcome.OUTCOME_UNKNOWN,
    )


# --- what to start again with ---

UNKNOWN = failed("RekeyOutcomeUnknown", Outcome.OUTCOME_UNKNOWN)
OVERDUE = failed("RotationOverdue", Outcome.OVERDUE)
ASKED = Request(
    "prod-a",
    reason='alarm "element-key-compromise-prod-a"',
    requested_by="j.doe",
    trigger=Trigger.ALARM,
    key_management_type=KeyManagementType.EXTERNAL,
    key_provider_id=0,
    key_created_after=NOW - MINUTE,
    cool_down_seconds=3600,
    force=True,
    ignore_faults=("nodeOffline",),
    accept_cluster_uuid=UUID,
)


@pytest.mark.parametrize("name", ALL)
def test_an_input_to_start_again_with_is_given_exactly_where_a_rekey_may_still_go_through(name: str) -> None:
    notification = build_notification(ALL[name])
    may_go_on = notification.outcome in {Outcome.OUTCOME_UNKNOWN, Outcome.OVERDUE}
    assert (notification.start_again_with is not None) is may_go_on
    assert ("startAgainWith" in encode(notification)) is may_go_on
    assert ("Start again:" in plain_words(notification)) is may_go_on


@pytest.mark.parametrize("record", [UNKNOWN, OVERDUE], ids=["OutcomeUnknown", "Overdue"])
def test_started_again_a_key_made_since_the_execution_began_is_enough(record: Rotation) -> None:
    assert build_notification(record).start_again_with == Request("prod-a", key_created_after=NOW)


def test_started_again_the_moment_that_was_asked_for_stays() -> None:
    assert build_notification(replace(UNKNOWN, request=ASKED)).start_again_with == ASKED


def test_a_wrong_input_is_not_to_be_started_again_with() -> None:
    assert build_notification(replace(UNKNOWN, request=None)).start_again_with is None


def by_mail(record: Rotation) -> Any:  # noqa: ANN401 - JSON
    (line,) = [line for line in words(record).splitlines() if line.startswith("Start again:   ")]
    *command, given = shlex.split(line.removeprefix("Start again:   "))
    assert command == [
        *("aws", "stepfunctions", "start-execution", "--region", "eu-central-1", "--state-machine-arn"),
        *("arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey", "--input"),
    ]
    return json.loads(given)


@pytest.mark.parametrize("request_", [Request("prod-a"), ASKED], ids=["plain", "everything asked for"])
def test_mail_and_document_give_an_input_that_is_accepted_and_asks_for_the_same(request_: Request) -> None:
    record = replace(UNKNOWN, request=request_)
    expected = replace(request_, key_created_after=request_.key_created_after or NOW)
    assert parse_request(json.loads(json.dumps(encode(build_notification(record))))["startAgainWith"]) == expected
    assert parse_request(by_mail(record)) == expected
    assert demand_of(expected, NOW).made_after == expected.key_created_after


def test_the_mail_leaves_out_what_says_nothing() -> None:
    assert by_mail(UNKNOWN) == {
        "cluster": "prod-a",
        "trigger": "manual",
        "keyCreatedAfter": "2026-11-23T03:00:00.000Z",
        "coolDownSeconds": 0,
    }


VISIBLE = partial(st.text, st.characters().filter(is_plain))


@given(
    st.builds(
        Request,
        st.from_regex(CLUSTER_NAME, fullmatch=True),
        reason=VISIBLE(max_size=512),
        requested_by=VISIBLE(max_size=512),
        trigger=st.sampled_from([one for one in Trigger if not one.looks_only]),
        key_created_after=st.none() | st.timedeltas(timedelta(), timedelta(days=9)).map(lambda ago: NOW - ago),
        cool_down_seconds=st.integers(0, 2**31 - 1),
        ignore_faults=st.lists(st.sampled_from(["upgrade", "nodeOffline"])).map(tuple),
        accept_cluster_uuid=VISIBLE(max_size=200),
    )
)
def test_whatever_was_asked_the_mail_holds_an_input_on_one_line_that_is_accepted(request_: Request) -> None:
    again = parse_request(by_mail(replace(UNKNOWN, request=request_)))
    assert again.key_created_after
    assert replace(again, key_created_after=None) == replace(request_, key_created_after=None)
    assert again == parse_request(encode(build_notification(replace(UNKNOWN, request=request_)).start_again_with))


# --- the contract with people ---


@pytest.mark.parametrize("name", ALL)
def test_no_mail_says_none_or_leaves_a_line_unfinished(name: str) -> None:
    text = words(ALL[name])
    assert "None" not in text
    assert "  \n" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert ARN in text


@pytest.mark.parametrize("name", ALL)
def test_every_mail_and_subject_says_in_its_first_line_how_it_ended(name: str) -> None:
    notification = build_notification(ALL[name])
    assert plain_words(notification).splitlines()[0].endswith(f": {notification.headline}.")
    assert subject_of(notification).startswith(f"[{notification.outcome}] ")


def test_a_mail_that_needs_a_person_says_what_to_do_before_anything_else() -> None:
    for name, record in ALL.items():
        third = words(record).splitlines()[2:4]
        asks = third[0].startswith("What happened: ") and third[1].startswith("What to do: ")
        assert asks is bool(build_notification(record).error), name


def test_the_mail_of_a_rotation() -> None:
    record = rotated(request=Request("prod-a", reason="quarterly rotation", requested_by="j.doe@example.com"))
    assert words(record) == (
        "Cluster prod-a: master key replaced and verified.\n"
        "\n"
        "Key key-0 was replaced by key-1.\n"
        "\n"
        "Old key:              key-0 (Internal, made 2025-10-19 03:00:00 UTC)\n"
        "New key:              key-1 (Internal, made 2026-11-23 03:01:00 UTC)\n"
        "To be decommissioned: key-0 (Internal, made 2025-10-19 03:00:00 UTC)\n"
        "Asked by:             manual (j.doe@example.com and quarterly rotation)\n"
        "Began:                2026-11-23 03:00:00 UTC\n"
        "Took:                 240 s, 3 polls\n"
        f"Cluster uuid:         {UUID} (production)\n"
        f"Execution:            {ARN}\n"
    )


def test_a_mail_tells_whose_rekey_is_settled_and_what_others_changed() -> None:
    text = words(ALL["a rekey of an earlier execution settled"])
    assert (
        f"Settled now:          execution {OTHER_ARN} (alarm, jane, alarm x): its rekey replaced key key-0 by key-1.\n"
    ) in text
    assert "(alarm, jane, alarm x): somebody else's rekey, which it followed, replaced key key-0 by key-1.\n" in text
    text = words(ALL["keys changed by others"])
    assert (
        "Changed by others:    key key-0 was replaced by key-9 after 2026-11-23 02:00:00 UTC and before "
        "2026-11-23 03:00:00 UTC.\n"
        "Changed by others:    key key-0 was replaced by key-9 before 2026-11-23 03:00:00 UTC.\n"
    ) in text


def test_the_mail_of_a_failure() -> None:
    assert words(replace(failed(), detail="RewrapDataEncryptionKeys")) == (
        "Cluster prod-a: rotation FAILED, the old key is still current.\n"
        "\n"
        "What happened: RekeyFailed. The rekey ended with xAssumed: out of entropy\n"
        "What to do:    Mend it, then start again.\n"
        "Last seen:     RewrapDataEncryptionKeys\n"
        "\n"
        "Current key:          key-0 (Internal, made 2025-10-19 03:00:00 UTC)\n"
        "Asked by:             manual\n"
        "Began:                2026-11-23 03:00:00 UTC\n"
        "Took:                 240 s, 3 polls\n"
        f"Cluster uuid:         {UUID} (production)\n"
        f"Execution:            {ARN}\n"
    )


def test_the_mail_of_an_unknown_outcome() -> None:
    request = Request("prod-a", reason="quarterly rotation", requested_by="j.doe@example.com")
    assert words(replace(UNKNOWN, request=request, detail="Replacing key key-0.")) == (
        "Cluster prod-a: rotation outcome UNKNOWN, the cluster must be looked at.\n"
        "\n"
        "What happened: RekeyOutcomeUnknown. The rekey ended with xAssumed: out of entropy\n"
        "What to do:    Mend it, then start again.\n"
        "Start again:   aws stepfunctions start-execution --region eu-central-1 --state-machine-arn "
        "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey --input "
        '\'{"cluster": "prod-a", "reason": "quarterly rotation", "requestedBy": "j.doe@example.com", '
        '"trigger": "manual", "keyCreatedAfter": "2026-11-23T03:00:00.000Z", "coolDownSeconds": 0}\'\n'
        "Last seen:     Replacing key key-0.\n"
        "\n"
        "Current key:          key-0 (Internal, made 2025-10-19 03:00:00 UTC)\n"
        "Asked by:             manual (j.doe@example.com and quarterly rotation)\n"
        "Began:                2026-11-23 03:00:00 UTC\n"
        "Took:                 240 s, 3 polls\n"
        f"Cluster uuid:         {UUID} (production)\n"
        f"Execution:            {ARN}\n"
    )


@pytest.mark.parametrize(
    "error", [RekeyOutcomeUnknown, RotationOverdue, ExecutionAborted, ExecutionTimedOut, ExecutionBroken]
)
def test_what_to_do_after_an_error_that_leaves_a_rekey_open_names_the_input(error: type[ElementRekeyError]) -> None:
    assert "(startAgainWith)" in error.next_step


def test_the_mail_of_a_failure_without_a_last_sight() -> None:
    assert "Last seen" not in words(failed())


def test_the_mail_of_an_input_that_named_nothing() -> None:
    record = Rotation(execution(), outcome=Outcome.FAILED, failure=failed("RequestInvalid").failure, ended_at=NOW)
    assert words(record).startswith("Cluster (not named in the input): rotation FAILED")
    assert "Cluster uuid" not in words(record)
    assert "key" not in words(record).split("\n", 1)[1].replace("rekey", "").lower().split("execution")[0]


def test_the_mail_of_keys_on_a_key_server_names_the_provider() -> None:
    text = words(UNUSUAL["external keys"])
    assert "New key:              key-1 (External, provider 15, made 2025-10-19 03:00:00 UTC)\n" in text
    assert "To be decommissioned" not in text


def test_the_mail_of_keys_without_times_leaves_them_out() -> None:
    assert "Old key:              key-0 (Internal)\n" in words(UNUSUAL["keys without times"])


def test_the_mail_says_where_the_state_alone_is_the_proof() -> None:
    assert "result could not be read; the cluster's state shows the change of keys." in words(
        UNUSUAL["a result read away"]
    )


# --- the subject ---


def test_the_subject_of_a_rotation() -> None:
    assert subject_of(build_notification(rotated())) == "[Rotated] prod-a: master key replaced and verified"


@pytest.mark.parametrize("name", ALL)
def test_a_subject_is_one_line_that_sns_takes(name: str) -> None:
    record = replace(ALL[name], cluster="c" * 64)
    subject = subject_of(build_notification(record))
    assert len(subject) <= 100
    assert subject.isascii()
    assert subject.isprintable()


@given(st.text())
def test_whatever_text_there_is_the_subject_is_one_line_of_printable_ascii(text: str) -> None:
    line = subject_line(text)
    assert len(line) == min(len(text), 100)
    assert line.isascii()
    assert line.isprintable()


def test_times_are_measured_in_whole_seconds() -> None:
    assert build_notification(rotated(ended_at=NOW + timedelta(seconds=1.6))).duration_seconds == 2

"""The real template, state machine, handlers and roles, over real HTTPS, each scenario from start to notification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.scenarios import Everything

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

ROTATES = ["slow", "plain", "external", "from-external", "pinned", "answer-lost", "transient", "moved"]
FAILS = {
    "fails-creating": ("Failed", "RekeyFailed"),
    "fails-rewrapping": ("Failed", "RekeyFailed"),
    "fails-decommissioning": ("RotatedWithError", "RekeyEndedWithError"),
    "wrong-password": ("Failed", "CredentialsRefused"),
    "wrong-certificate": ("Failed", "CertificateRefused"),
    "not-encrypted": ("Failed", "EncryptionDisabled"),
    "not-registered": ("Failed", "ClusterNotRegistered"),
    "bad-request": ("Failed", "RequestInvalid"),
}

RAISED = {error for _, error in FAILS.values()} - {"RekeyEndedWithError"}  # that one is written down, not raised


@pytest.mark.parametrize("name", ROTATES)
def test_rotates_once_and_proves_it(everything: Everything, name: str) -> None:
    run = everything.runs[name]
    (told,) = run.published
    assert run.description["status"] == "SUCCEEDED"
    assert run.states[-1] == "RotationSucceeded"
    assert run.rekeys == 1
    assert told["outcome"] == "Rotated"
    assert told["succeeded"] is True
    assert told["cluster"] == name
    assert told["oldKey"]["keyID"] == told["keyToDecommission"]["keyID"] == run.key_before.key_id
    assert told["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


def test_polls_while_the_rekey_runs(everything: Everything) -> None:
    run = everything.runs["slow"]
    assert run.states.count("CheckStatus") > 1
    assert run.published[0]["polls"] == run.states.count("CheckStatus")


def test_external_key_is_where_it_was_asked_to_be(everything: Everything) -> None:
    run = everything.runs["external"]
    told = run.published[0]["newKey"]
    assert (told["keyManagementType"], told["keyProviderID"]) == ("External", 15)
    assert run.key_after.provider_id == 15


def test_internal_key_after_an_external_one(everything: Everything) -> None:
    run = everything.runs["from-external"]
    assert run.key_before.provider_id == 15
    assert run.published[0]["newKey"]["keyManagementType"] == "Internal"
    assert run.key_after.provider_id is None


def test_lost_answer_is_settled_by_observation(everything: Everything) -> None:
    run = everything.runs["answer-lost"]
    assert "RekeyOutcomeUnknown" in run.errors


def test_state_proves_what_the_job_cannot_tell_any_more(everything: Everything) -> None:
    run = everything.runs["result-gone"]
    (told,) = run.published
    assert (told["outcome"], told["jobResultRead"], run.rekeys) == ("Rotated", False, 1)
    assert told["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


def test_somebody_elses_rekey_is_followed_and_no_second_one_begun(everything: Everything) -> None:
    run = everything.runs["competitor"]
    (told,) = run.published
    assert (told["outcome"], run.rekeys) == ("Followed", 1)
    assert run.description["status"] == "SUCCEEDED"
    assert told["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


@pytest.mark.parametrize("name", ["transient", "moved"])
def test_passing_trouble_is_retried(everything: Everything, name: str) -> None:
    assert "ClusterUnavailable" in everything.runs[name].errors


def test_dry_run_changes_nothing(everything: Everything) -> None:
    run = everything.runs["dry-run"]
    (told,) = run.published
    assert (told["outcome"], told["succeeded"], told["dryRun"]) == ("Planned", True, True)
    assert run.description["status"] == "SUCCEEDED"
    assert run.key_after == run.key_before
    assert run.rekeys == 0


@pytest.mark.parametrize(("name", "outcome", "error"), [(name, *expected) for name, expected in FAILS.items()])
def test_failure_is_named_and_never_reads_succeeded(
    everything: Everything, name: str, outcome: str, error: str
) -> None:
    run = everything.runs[name]
    (told,) = run.published
    assert (told["outcome"], told["error"], told["succeeded"]) == (outcome, error, False)
    assert told["nextStep"]
    assert run.description["status"] == "FAILED"
    assert run.description["error"] == error
    assert run.errors[-1:] == ([error] if error in RAISED else [])


@pytest.mark.parametrize("name", ["fails-creating", "fails-rewrapping"])
def test_old_key_stays_when_a_rekey_fails(everything: Everything, name: str) -> None:
    run = everything.runs[name]
    assert run.published[0]["currentKey"]["keyID"] == run.key_before.key_id == run.key_after.key_id


def test_new_key_is_told_when_only_decommissioning_failed(everything: Everything) -> None:
    run = everything.runs["fails-decommissioning"]
    assert run.published[0]["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


@pytest.mark.parametrize("name", ["wrong-password", "wrong-certificate", "not-encrypted", "not-registered"])
def test_refusal_leaves_the_cluster_alone(everything: Everything, name: str) -> None:
    run = everything.runs[name]
    assert run.rekeys == 0
    assert run.key_after == run.key_before


def test_stopped_execution_is_closed_and_told_by_the_rule(everything: Everything) -> None:
    run = everything.runs["stopped"]
    (told,) = run.published
    assert run.description["status"] == "ABORTED"
    assert (told["outcome"], told["error"]) == ("OutcomeUnknown", "ExecutionAborted")


def test_every_lock_is_given_back_or_kept_for_a_reason(everything: Everything) -> None:
    table = everything.set_up.deployment.table_name
    items = everything.set_up.deployment.aws.dynamodb.scan(TableName=table)["Items"]
    locked = {item["pk"]["S"] for item in items if "owner" in item}
    assert {name for name in ROTATES if any(key.endswith(f"#{name}") for key in locked)} == set()


def test_nothing_went_to_the_dead_letter_queue(everything: Everything) -> None:
    deployment = everything.set_up.deployment
    attributes = deployment.aws.sqs.get_queue_attributes(
        QueueUrl=deployment.outputs["DeadLettersUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "0"

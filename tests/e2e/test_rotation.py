"""The real template, state machine, handlers and roles, over real HTTPS, each scenario from start to notification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.scenarios import Results

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.enable_socket]

ROTATES = ["slow", "plain", "external", "from-external", "issued", "pinned-twice", "answer-lost", "transient", "moved"]
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
def test_rotates_once_and_proves_it(results: Results, name: str) -> None:
    run = results.runs[name]
    (notification,) = run.published
    assert run.description["status"] == "SUCCEEDED"
    assert run.states[-1] == "RotationSucceeded"
    assert run.rekeys == 1
    assert notification["outcome"] == "Rotated"
    assert notification["succeeded"] is True
    assert notification["cluster"] == name
    assert notification["oldKey"]["keyID"] == notification["keyToDecommission"]["keyID"] == run.key_before.key_id
    assert notification["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


def test_polls_while_the_rekey_runs(results: Results) -> None:
    run = results.runs["slow"]
    assert run.states.count("CheckStatus") > 1
    assert run.published[0]["polls"] == run.states.count("CheckStatus")


def test_external_key_is_where_it_was_asked_to_be(results: Results) -> None:
    run = results.runs["external"]
    new_key = run.published[0]["newKey"]
    assert (new_key["keyManagementType"], new_key["keyProviderID"]) == ("External", 15)
    assert run.key_after.provider_id == 15


def test_internal_key_after_an_external_one(results: Results) -> None:
    run = results.runs["from-external"]
    assert run.key_before.provider_id == 15
    assert run.published[0]["newKey"]["keyManagementType"] == "Internal"
    assert run.key_after.provider_id is None


def test_lost_answer_is_settled_by_observation(results: Results) -> None:
    run = results.runs["answer-lost"]
    assert "RekeyOutcomeUnknown" in run.errors


def test_state_proves_what_the_job_cannot_show_any_more(results: Results) -> None:
    run = results.runs["result-gone"]
    (notification,) = run.published
    assert (notification["outcome"], notification["jobResultRead"], run.rekeys) == ("Rotated", False, 1)
    assert notification["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


def test_somebody_elses_rekey_is_followed_and_no_second_one_begun(results: Results) -> None:
    run = results.runs["competitor"]
    (notification,) = run.published
    assert (notification["outcome"], run.rekeys) == ("Followed", 1)
    assert run.description["status"] == "SUCCEEDED"
    assert notification["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


@pytest.mark.parametrize("name", ["transient", "moved"])
def test_passing_trouble_is_retried(results: Results, name: str) -> None:
    assert "ClusterUnavailable" in results.runs[name].errors


def test_dry_run_changes_nothing(results: Results) -> None:
    run = results.runs["dry-run"]
    (notification,) = run.published
    assert (notification["outcome"], notification["succeeded"], notification["dryRun"]) == ("Planned", True, True)
    assert run.description["status"] == "SUCCEEDED"
    assert run.key_after == run.key_before
    assert run.rekeys == 0


@pytest.mark.parametrize(("name", "outcome", "error"), [(name, *expected) for name, expected in FAILS.items()])
def test_failure_is_named_and_never_reads_succeeded(results: Results, name: str, outcome: str, error: str) -> None:
    run = results.runs[name]
    (notification,) = run.published
    assert (notification["outcome"], notification["error"], notification["succeeded"]) == (outcome, error, False)
    assert notification["nextStep"]
    assert run.description["status"] == "FAILED"
    assert run.description["error"] == error
    assert run.errors[-1:] == ([error] if error in RAISED else [])


@pytest.mark.parametrize("name", ["fails-creating", "fails-rewrapping"])
def test_old_key_stays_when_a_rekey_fails(results: Results, name: str) -> None:
    run = results.runs[name]
    assert run.published[0]["currentKey"]["keyID"] == run.key_before.key_id == run.key_after.key_id


def test_new_key_is_published_when_only_decommissioning_failed(results: Results) -> None:
    run = results.runs["fails-decommissioning"]
    assert run.published[0]["newKey"]["keyID"] == run.key_after.key_id != run.key_before.key_id


@pytest.mark.parametrize("name", ["wrong-password", "wrong-certificate", "not-encrypted", "not-registered"])
def test_refusal_leaves_the_cluster_alone(results: Results, name: str) -> None:
    run = results.runs[name]
    assert run.rekeys == 0
    assert run.key_after == run.key_before


def test_stopped_execution_is_closed_and_published_by_the_rule(results: Results) -> None:
    run = results.runs["stopped"]
    (notification,) = run.published
    assert run.description["status"] == "ABORTED"
    assert (notification["outcome"], notification["error"]) == ("OutcomeUnknown", "ExecutionAborted")


def test_every_lock_is_given_back_or_kept_for_a_reason(results: Results) -> None:
    table = results.stack.deployment.table_name
    items = results.stack.deployment.aws.dynamodb.scan(TableName=table)["Items"]
    locked = {item["pk"]["S"] for item in items if "owner" in item}
    assert {name for name in ROTATES if any(key.endswith(f"#{name}") for key in locked)} == set()


def test_nothing_went_to_the_dead_letter_queue(results: Results) -> None:
    deployment = results.stack.deployment
    attributes = deployment.aws.sqs.get_queue_attributes(
        QueueUrl=deployment.outputs["DeadLettersUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "0"

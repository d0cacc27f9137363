"""Inputs, registrations and clusters that are refused: each by its name, reported once, and with nothing changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from local.simulator import ClusterSpec, Fault, ProviderSpec
from tests.template import PUBLISH, START
from tests.workflow.full_harness import FullHarness, full_harness

USUAL = ClusterSpec(rekey_seconds=30.0)
EXTERNAL = {"cluster": "prod-a", "keyManagementType": "External", "keyProviderID": 15}


def assert_refused(harness: FullHarness, given: Any, error: str) -> None:  # noqa: ANN401 - JSON
    """One look, one notification, no rekey, no lock."""
    arn = harness.start(given)
    harness.clock.run()

    ended, notification = harness.execution(arn), harness.only_notification()
    assert (ended.status, ended.states[-1]) == ("FAILED", "RotationFailed")
    assert ended.error == notification["error"] == error
    assert notification["nextStep"] in ended.cause
    assert (notification["outcome"], notification["succeeded"]) == ("Failed", False)
    assert harness.calls == {START: 1, PUBLISH: 2}  # the second is the rule's, and publishes nothing
    assert harness.cluster.cluster.rekeys == ()
    assert harness.lock() is None
    assert harness.dead_letters == []


@pytest.mark.parametrize(
    "given",
    [
        None,
        "prod-a",
        ["prod-a"],
        17,
        {},
        {"cluster": ""},
        {"cluster": "../secrets"},
        {"cluster": "prod-a", "colour": "red"},
        {"cluster": "prod-a", "force": True},
        {"cluster": "prod-a", "force": "yes", "reason": "because"},
        {"cluster": "prod-a", "keyManagementType": "External"},
        {"cluster": "prod-a", "keyProviderID": 15},
        {"cluster": "prod-a", "keyManagementType": "Eternal"},
        {"cluster": "prod-a", "keyCreatedAfter": "yesterday"},
        {"cluster": "prod-a", "keyCreatedAfter": "2026-11-23T03:00:00"},
        {"cluster": "prod-a", "coolDownSeconds": -1},
        {"cluster": "prod-a", "ignoreFaults": "nodeOffline"},
    ],
    ids=str,
)
def test_an_input_that_is_no_request_is_refused(harness: FullHarness, given: object) -> None:
    assert_refused(harness, given, "RequestInvalid")


def test_a_refusal_names_the_member(harness: FullHarness) -> None:
    harness.rotate({"cluster": "prod-a", "colour": "red"})

    assert "colour: unknown member" in harness.only_notification()["cause"]
    assert harness.only_notification()["cluster"] == "prod-a"


@pytest.mark.parametrize(
    ("spec", "faults", "given", "error"),
    [
        (replace(USUAL, encryption_enabled=False), [], {}, "EncryptionDisabled"),
        (replace(USUAL, api_version="12.2"), [], {}, "ApiVersionUnsupported"),
        (replace(USUAL, pending_version="12.5.0.897"), [], {}, "UpgradePending"),
        (USUAL, [], EXTERNAL | {"keyProviderID": 16}, "KeyProviderUnusable"),
        (replace(USUAL, providers=(ProviderSpec(server_id=None),)), [], EXTERNAL, "KeyProviderUnusable"),
        (replace(USUAL, providers=(ProviderSpec(trouble="connection"),)), [], EXTERNAL, "KeyProviderUnusable"),
        (USUAL, [Fault("providerTestFails", times=None)], EXTERNAL, "KeyProviderUnusable"),
        (replace(USUAL, cluster_faults=("ensembleDegraded",)), [], {}, "ClusterFaultsBlock"),
        (replace(USUAL, cluster_faults=("nodeOffline",)), [], {}, "ClusterFaultsBlock"),
        (
            USUAL,
            [Fault("keyTimeSkew", seconds=400 * 86400.0)],
            {"keyCreatedAfter": "2026-01-01T00:00:00Z", "trigger": "schedule"},
            "KeyAgeUnknown",
        ),
        (USUAL, [Fault("passwordChanged")], {}, "CredentialsRefused"),
        (USUAL, [Fault("certificateReplaced")], {}, "CertificateRefused"),
        (USUAL, [Fault("rpcError", name="xUnknownAPIMethod", method="GetClusterInfo")], {}, "ElementApiError"),
        (USUAL, [Fault("rpcError", name="xUnrecognizedEnumString", method="GetAPI")], {}, "ElementApiError"),
        (
            USUAL,
            [Fault("rpcError", name="xRekeyNotPossible", method="RekeySoftwareEncryptionAtRestMasterKey")],
            {},
            "RekeyRefused",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cluster_that_is_not_fit_is_refused(
    spec: ClusterSpec, faults: list[Fault], given: dict[str, Any], error: str
) -> None:
    with full_harness(spec) as harness:
        harness.cluster.inject(*faults)

        assert_refused(harness, {"cluster": "prod-a", **given}, error)


@pytest.mark.parametrize(
    ("spec", "faults", "error"),
    [
        (replace(USUAL, pending_version="12.5.0.897"), [], "UpgradePending"),
        (USUAL, [Fault("passwordChanged")], "CredentialsRefused"),
    ],
    ids=["unfit", "refused"],
)
def test_a_dry_run_that_would_be_refused_has_done_its_work_and_alarms_nobody(
    spec: ClusterSpec, faults: list[Fault], error: str
) -> None:
    """What AWS/States counts as a failed execution is an alarm on a failed rotation."""
    with full_harness(spec) as harness:
        harness.cluster.inject(*faults)

        ended = harness.rotate({"cluster": "prod-a", "dryRun": True})

        notification = harness.only_notification()
        assert (ended.status, ended.output) == ("SUCCEEDED", {**notification, "cause": ended.output["cause"]})
        assert (notification["outcome"], notification["succeeded"]) == ("WouldBeRefused", True)
        assert notification["error"] == error
        assert harness.cluster.cluster.rekeys == ()


def test_a_dry_run_of_a_cluster_that_is_away_says_what_a_rotation_would_come_to() -> None:
    with full_harness(USUAL) as harness:
        harness.cluster.inject(Fault("refuseConnections", connections=1000))

        assert harness.rotate({"cluster": "prod-a", "dryRun": True}).output["error"] == "ClusterUnavailable"


def test_an_alarm_goes_ahead_where_a_routine_rotation_would_not() -> None:
    with full_harness(replace(USUAL, cluster_faults=("nodeOffline",))) as harness:
        assert harness.rotate({"cluster": "prod-a", "trigger": "alarm"}).output["outcome"] == "Rotated"


def test_a_fault_that_is_accepted_does_not_block() -> None:
    with full_harness(replace(USUAL, cluster_faults=("nodeOffline",))) as harness:
        given = {"cluster": "prod-a", "ignoreFaults": ["nodeOffline"]}

        assert harness.rotate(given).output["outcome"] == "Rotated"


def test_a_cluster_nobody_registered_is_refused(harness: FullHarness) -> None:
    assert_refused(harness, {"cluster": "prod-z"}, "ClusterNotRegistered")


@pytest.mark.parametrize(
    "registration",
    [
        {"mvip": "127.0.0.1"},
        {"mvip": "https://127.0.0.1", "username": "u", "password": "p"},
        {"mvip": "127.0.0.1", "username": "u", "password": "p", "colour": "red"},
        {"mvip": "127.0.0.1", "username": "u", "password": "p", "caBundle": "no certificate"},
        {"mvip": "127.0.0.1", "username": "u", "password": "p", "certificateFingerprint": "AA:BB"},
        {"mvip": "127.0.0.1", "username": "u", "password": "p", "apiVersion": "latest"},
    ],
    ids="-".join,
)
def test_a_registration_that_makes_no_sense_is_refused(harness: FullHarness, registration: dict[str, str]) -> None:
    harness.register("prod-a", registration)

    assert_refused(harness, {"cluster": "prod-a"}, "RegistrationInvalid")
    assert "red" not in str(harness.only_notification())


def test_another_cluster_on_the_address_is_refused_until_a_person_accepts_it(harness: FullHarness) -> None:
    harness.rotate()
    harness.cluster.inject(Fault("otherCluster"))

    refused = harness.rotate()
    accepted = harness.rotate({"cluster": "prod-a", "acceptClusterUUID": harness.cluster.cluster.uuid})

    assert refused.error == "ClusterIdentityChanged"
    assert accepted.output["outcome"] == "Rotated"
    assert harness.rotate().output["outcome"] == "Rotated"

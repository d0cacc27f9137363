"""The cluster as a state machine: keys, phases, results, providers, versions and rights, under a clock that we move."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest
from cryptography import x509

from local.simulator import (
    Assumptions,
    CallRefused,
    ClusterSpec,
    Fault,
    Phase,
    ProviderSpec,
    RpcError,
    SimulatedCluster,
)

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
INFO = "GetSoftwareEncryptionAtRestInfo"
HOUR = 3600.0


class Clock(Protocol):
    time: datetime

    def __call__(self) -> datetime: ...
    def pass_by(self, seconds: float) -> None: ...


def cluster(clock: Clock, **changes: Any) -> SimulatedCluster:  # noqa: ANN401 - members of ClusterSpec
    return SimulatedCluster(replace(ClusterSpec(rekey_seconds=100.0, clock=clock), **changes))


def ask(one: SimulatedCluster, method: str, **params: object) -> Any:  # noqa: ANN401 - whatever JSON there is
    return one.call(method, params)


def refusal(one: SimulatedCluster, method: str, /, **params: object) -> str:
    with pytest.raises(RpcError) as caught:
        one.call(method, params)
    return caught.value.name


def start(one: SimulatedCluster, **params: object) -> int:
    handle = ask(one, REKEY, **params)["asyncHandle"]
    assert isinstance(handle, int)
    return handle


def poll(one: SimulatedCluster, handle: int) -> Any:  # noqa: ANN401 - whatever JSON there is
    return ask(one, "GetAsyncResult", asyncHandle=handle, keepResult=True)


# -- the course of a rekey


def test_a_rekey_goes_through_its_phases_and_then_shows_its_result(clock: Clock) -> None:
    one = cluster(clock)
    old = ask(one, INFO)["masterKeyInfo"]
    handle = start(one)
    seen = []
    for _ in range(4):
        seen.append(poll(one, handle)["details"]["state"])
        clock.pass_by(25)
    assert seen == [Phase.CREATE, Phase.REWRAP, Phase.REWRAP, Phase.DECOMMISSION]
    done = poll(one, handle)
    assert done["status"] == "complete"
    assert "details" not in done
    new = ask(one, INFO)["masterKeyInfo"]
    assert done["result"] == {
        "keyToDecommission": {"keyID": old["keyID"], "keyManagementType": "internal"},
        "newKey": {"keyID": new["keyID"], "keyManagementType": "internal"},
        "operation": "Rekeying Master Key. Master Key management remaining with Internal Key Management.",
        "state": "Ready",
    }
    assert new["keyID"] != old["keyID"]


def test_the_new_key_lives_before_the_old_one_dies(clock: Clock) -> None:
    one = cluster(clock)
    start(one)
    held = []
    for _ in range(5):
        held.append(len(one.held_keys))
        clock.pass_by(25)
    assert held == [1, 2, 2, 2, 1]
    assert one.held_keys == {one.current_key}


@pytest.mark.parametrize(("flips", "shown"), [("afterCreate", 25), ("afterRewrap", 75), ("atCompletion", 100)])
def test_the_key_id_flips_when_the_assumption_says(clock: Clock, flips: str, shown: int) -> None:
    one = cluster(clock, assumptions=Assumptions().switched("key_flips", flips))
    old = one.current_key
    start(one)
    clock.pass_by(shown - 1)
    assert one.current_key == old
    clock.pass_by(1)
    assert one.current_key != old


@pytest.mark.parametrize("flips", ["afterCreate", "afterRewrap", "atCompletion"])
@pytest.mark.parametrize(
    ("phase", "ends", "new_is_current", "keys"),
    [(Phase.CREATE, 25, False, 1), (Phase.REWRAP, 75, False, 2), (Phase.DECOMMISSION, 100, True, 2)],
)
def test_a_failure_leaves_the_right_key_current(
    clock: Clock, flips: str, phase: Phase, ends: int, *, new_is_current: bool, keys: int
) -> None:
    one = cluster(clock, assumptions=Assumptions().switched("key_flips", flips))
    one.inject(Fault("phaseFailure", phase=phase, name="xBang", message="Bang."))
    old = one.current_key
    handle = start(one)
    clock.pass_by(ends - 1)
    assert poll(one, handle)["status"] == "running"
    clock.pass_by(1)
    failed = poll(one, handle)
    assert (failed["status"], failed["error"]) == ("complete", {"name": "xBang", "message": "Bang."})
    assert "result" not in failed
    assert (one.current_key != old) is new_is_current
    assert len(one.held_keys) == keys
    assert poll(one, start(one))["status"] == "running"


def test_the_next_rekey_after_an_injected_failure_succeeds(clock: Clock) -> None:
    one = cluster(clock, rekey_seconds=0.0)
    one.inject(Fault("phaseFailure", phase=Phase.REWRAP))
    assert "error" in poll(one, start(one))
    assert "result" in poll(one, start(one))


def test_key_and_job_times_are_the_clusters(clock: Clock) -> None:
    one = cluster(clock, key_age=timedelta(days=10), clock_skew=timedelta(hours=2))
    assert ask(one, INFO)["masterKeyInfo"]["keyCreatedTime"] == "2026-01-21T14:00:18Z"
    handle = start(one)
    clock.pass_by(60)
    running = poll(one, handle)
    assert (running["createTime"], running["lastUpdateTime"]) == ("2026-01-31T14:00:18Z", "2026-01-31T14:00:43Z")
    clock.pass_by(HOUR)
    assert ask(one, INFO)["masterKeyInfo"]["keyCreatedTime"] == "2026-01-31T14:00:43Z"
    assert poll(one, handle)["lastUpdateTime"] == "2026-01-31T14:01:58Z"


def test_times_can_have_microseconds(clock: Clock) -> None:
    one = cluster(clock, assumptions=Assumptions(time_format="microseconds"), key_age=timedelta(0))
    assert ask(one, INFO)["masterKeyInfo"]["keyCreatedTime"] == "2026-01-31T12:00:18.660275Z"


# -- what a rekey request may say


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"keyManagementType": "External"}, "xMissingParameter"),
        ({"keyManagementType": "Internal", "keyProviderID": 15}, "xInvalidParameter"),
        ({"keyProviderID": 15}, "xInvalidParameter"),
        ({"keyManagementType": "External", "keyProviderID": 99}, "xKeyProviderDoesNotExist"),
        ({"keyManagementType": "External", "keyProviderID": 16}, "xKeyProviderHasNoServer"),
        ({"keyManagementType": "Elsewhere"}, "xUnrecognizedEnumString"),
        ({"keyManagementType": 7}, "xInvalidParameterType"),
        ({"keyManagementType": "External", "keyProviderID": True}, "xInvalidParameterType"),
    ],
)
def test_a_rekey_request_that_makes_no_sense_begins_nothing(
    clock: Clock, params: dict[str, object], error: str
) -> None:
    one = cluster(clock, providers=(ProviderSpec(), ProviderSpec(16, server_id=None)))
    assert refusal(one, REKEY, **params) == error
    assert one.rekeys == ()


@pytest.mark.parametrize("kind", ["External", "external", "EXTERNAL"])
@pytest.mark.parametrize("provider", [15, "15"])
def test_management_in_any_case_and_numbers_as_text_are_taken(clock: Clock, kind: str, provider: object) -> None:
    one = cluster(clock, rekey_seconds=0.0)
    start(one, keyManagementType=kind, keyProviderID=provider)
    info = ask(one, INFO)["masterKeyInfo"]
    assert (info["keyManagementType"], info["keyProviderID"]) == ("external", 15)
    assert one.rekeys[0].params == {"keyManagementType": "external", "keyProviderID": 15}


def test_a_rekey_without_a_type_stays_with_the_current_provider(clock: Clock) -> None:
    one = cluster(clock, rekey_seconds=0.0, key_provider_id=15)
    handle = start(one)
    assert one.current_key.provider_id == 15
    assert "remaining with External Key Management with keyProviderID=15" in poll(one, handle)["result"]["operation"]
    start(one, keyManagementType="Internal")
    assert one.current_key.provider_id is None


def test_a_second_rekey_is_refused_while_one_runs(clock: Clock) -> None:
    one = cluster(clock)
    start(one)
    assert refusal(one, REKEY) == "xRekeyAlreadyInProgress"
    clock.pass_by(100)
    start(one)
    assert len(one.rekeys) == 2


def test_or_it_gets_the_handle_of_the_first(clock: Clock) -> None:
    one = cluster(clock, assumptions=Assumptions(second_rekey="sameHandle"))
    assert start(one) == start(one)
    assert len(one.rekeys) == 1


def test_a_kept_result_stands_in_the_way_of_the_next_rekey_where_that_is_assumed(clock: Clock) -> None:
    one = cluster(clock, assumptions=Assumptions().switched("kept_result", "blocks"))
    handle = start(one)
    assert refusal(one, REKEY) == "xRekeyAlreadyInProgress"
    clock.pass_by(100)
    ask(one, "GetAsyncResult", asyncHandle=handle, keepResult=True)
    assert refusal(one, REKEY) == "xRekeyResultNotRead"
    ask(one, "GetAsyncResult", asyncHandle=handle)
    start(one)
    assert len(one.rekeys) == 2


def test_a_cluster_without_encryption_has_no_key_and_takes_no_rekey(clock: Clock) -> None:
    one = cluster(clock, encryption_enabled=False)
    assert ask(one, INFO) == {"state": "disabled", "version": 0}
    assert ask(one, "GetClusterInfo")["clusterInfo"]["softwareEncryptionAtRestState"] == "disabled"
    assert refusal(one, REKEY) == "xFeatureNotEnabled"


# -- results


def test_reading_a_finished_result_removes_it_unless_it_is_kept(clock: Clock) -> None:
    one = cluster(clock)
    handle = start(one)
    assert ask(one, "GetAsyncResult", asyncHandle=handle)["status"] == "running"
    clock.pass_by(100)
    assert ask(one, INFO)["rekeyMasterKeyAsyncResultID"] == handle
    assert poll(one, handle) == ask(one, "GetAsyncResult", asyncHandle=str(handle), keepResult="false")
    assert refusal(one, "GetAsyncResult", asyncHandle=handle) == "xDBNoSuchPath"
    assert "rekeyMasterKeyAsyncResultID" not in ask(one, INFO)


def test_removing_an_older_result_keeps_the_latest_handle(clock: Clock) -> None:
    one = cluster(clock, rekey_seconds=0.0)
    first, second = start(one), start(one)
    ask(one, "GetAsyncResult", asyncHandle=first)
    assert ask(one, INFO)["rekeyMasterKeyAsyncResultID"] == second


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xDBNoSuchPath", "DBClient operation requested on a non-existent path at [/asyncresults/1]"),
        ("xAsyncHandleDoesNotExist", "Async handle 1 does not exist."),
    ],
)
def test_an_unknown_handle_is_reported_in_either_wording(clock: Clock, name: str, message: str) -> None:
    one = cluster(clock, assumptions=Assumptions().switched("unknown_handle", name))
    with pytest.raises(RpcError) as caught:
        poll(one, 1)
    assert (caught.value.name, caught.value.message) == (name, message)


def test_handles_rise_and_share_their_numbers_with_clones(clock: Clock) -> None:
    one = cluster(clock, rekey_seconds=0.0)
    clones = [entry["asyncResultID"] for entry in ask(one, "ListAsyncResults")["asyncHandles"]]
    handle = start(one)
    assert len(clones) == 3
    assert handle > max(clones)
    assert start(one) > handle
    assert poll(one, clones[0])["resultType"] == "Clone"


def test_the_list_of_results_tells_of_running_done_and_failed_rekeys(clock: Clock) -> None:
    one = cluster(clock)
    for failing in (False, True):
        if failing:
            one.inject(Fault("phaseFailure", phase=Phase.CREATE))
        start(one)
        clock.pass_by(100)
    start(one)
    entries = ask(one, "ListAsyncResults")["asyncHandles"][3:]
    assert [(one["completed"], one["success"]) for one in entries] == [(True, True), (True, False), (False, False)]


def test_the_list_can_be_filtered_but_not_for_rekeys(clock: Clock) -> None:
    one = cluster(clock)
    start(one)
    assert len(ask(one, "ListAsyncResults", asyncResultTypes=["Clone"])["asyncHandles"]) == 3
    assert ask(one, "ListAsyncResults", asyncResultTypes=REKEY) == {"asyncHandles": []}
    strict = cluster(clock, assumptions=Assumptions(unknown_result_type="xUnrecognizedEnumString"))
    assert refusal(strict, "ListAsyncResults", asyncResultTypes=[REKEY]) == "xUnrecognizedEnumString"


def test_results_may_have_a_lifetime(clock: Clock) -> None:
    one = cluster(clock, assumptions=Assumptions().switched("result_lifetime_seconds", "60"))
    handle = start(one)
    clock.pass_by(159)
    assert poll(one, handle)["status"] == "complete"
    clock.pass_by(1)
    assert refusal(one, "GetAsyncResult", asyncHandle=handle) == "xDBNoSuchPath"


def test_the_result_may_say_status_for_state(clock: Clock) -> None:
    one = cluster(clock, rekey_seconds=0.0, assumptions=Assumptions(result_state_member="status"))
    result = poll(one, start(one))["result"]
    assert result["status"] == "Ready"
    assert "state" not in result


# -- providers, faults, versions, rights


def test_a_provider_is_active_while_it_holds_keys(clock: Clock) -> None:
    one = cluster(clock, providers=(ProviderSpec(), ProviderSpec(16, server_id=7)))

    def active() -> list[int]:
        return [
            each["keyProviderID"]
            for each in ask(one, "ListKeyProvidersKmip", keyProviderIsActive=True)["kmipKeyProviders"]
        ]

    assert active() == []
    start(one, keyManagementType="External", keyProviderID=15)
    clock.pass_by(100)
    assert active() == [15]
    start(one, keyManagementType="External", keyProviderID=16)
    clock.pass_by(50)
    assert active() == [15, 16]
    clock.pass_by(50)
    assert active() == [16]


def test_a_failed_decommission_leaves_the_old_provider_active(clock: Clock) -> None:
    one = cluster(clock, rekey_seconds=0.0, key_provider_id=15)
    one.inject(Fault("phaseFailure", phase=Phase.DECOMMISSION))
    start(one, keyManagementType="Internal")
    assert one.current_key.provider_id is None
    assert ask(one, "GetKeyProviderKmip", keyProviderID=15)["kmipKeyProvider"]["keyProviderIsActive"] is True


def test_key_servers_have_certificates_that_come_to_an_end(clock: Clock) -> None:
    def days_left(days: int) -> list[int]:
        one = cluster(clock, providers=(ProviderSpec(certificate_days=days),))
        (server,) = ask(one, "ListKeyServersKmip", keyProviderID=15)["kmipKeyServers"]
        assert server == ask(one, "ListKeyServersKmip")["kmipKeyServers"][0]
        both = (server["kmipCaCertificate"], server["kmipClientCertificate"])
        ends = [x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc for pem in both]
        return [round((end - one.cluster_time()) / timedelta(days=1)) for end in ends]

    assert days_left(20) == [3650, 20]
    assert days_left(700) == [3650, 700]


def test_servers_without_a_provider_have_nulls(clock: Clock) -> None:
    one = cluster(clock, unassigned_servers=(8,))
    spare = ask(one, "ListKeyServersKmip", kmipHasProviderAssigned=False)["kmipKeyServers"]
    assert [(each["keyServerID"], each["keyProviderID"], each["kmipAssignedProviderIsActive"]) for each in spare] == [
        (8, None, None)
    ]
    assert [each["keyServerID"] for each in ask(one, "ListKeyServersKmip", keyProviderID=15)["kmipKeyServers"]] == [6]
    assert ask(one, "TestKeyServerKmip", keyServerID=8) == {}
    assert refusal(one, "TestKeyServerKmip", keyServerID=9) == "xKeyServerDoesNotExist"


def test_providers_can_be_asked_for_a_server(clock: Clock) -> None:
    one = cluster(clock, providers=(ProviderSpec(), ProviderSpec(16, server_id=None)))
    without = ask(one, "ListKeyProvidersKmip", kmipKeyProviderHasServerAssigned=False)["kmipKeyProviders"]
    assert [(each["keyProviderID"], each["keyServerIDs"]) for each in without] == [(16, [])]
    assert refusal(one, "TestKeyProviderKmip", keyProviderID=16) == "xKeyProviderHasNoServer"


@pytest.mark.parametrize("trouble", ["connection", "authentication", "serverError"])
def test_a_provider_in_trouble_fails_its_test_its_server_and_a_rekey(clock: Clock, trouble: Any) -> None:  # noqa: ANN401
    one = cluster(clock, rekey_seconds=0.0, providers=(ProviderSpec(trouble=trouble),))
    assert refusal(one, "TestKeyProviderKmip", keyProviderID=15) == "xKmipServerError"
    assert refusal(one, "TestKeyServerKmip", keyServerID=6) == "xKmipServerError"
    old = one.current_key
    result = poll(one, start(one, keyManagementType="External", keyProviderID=15))
    assert result["error"]["name"] == "xKmipServerError"
    assert one.current_key == old
    assert ask(one, "ListClusterFaults")["faults"] == []


def test_a_provider_in_trouble_may_have_a_rekey_refused(clock: Clock) -> None:
    trouble = (ProviderSpec(trouble="connection"),)
    one = cluster(clock, providers=trouble, assumptions=Assumptions(provider_down="refuse"))
    assert refusal(one, REKEY, keyManagementType="External", keyProviderID=15) == "xKmipServerError"
    assert one.rekeys == ()


def test_an_active_provider_in_trouble_is_a_cluster_fault(clock: Clock) -> None:
    one = cluster(clock, key_provider_id=15, providers=(ProviderSpec(trouble="connection"),))
    assert [each["code"] for each in ask(one, "ListClusterFaults")["faults"]] == ["kmipServerFault"]


def test_the_fault_list_is_up_to_thirty_seconds_old(clock: Clock) -> None:
    one = cluster(clock, cluster_faults=("nodeOffline",))

    def codes(kind: str) -> list[str]:
        return [each["code"] for each in ask(one, "ListClusterFaults", faultTypes=kind)["faults"]]

    assert codes("current") == ["nodeOffline"]
    one.inject(Fault("clusterFault", code="blocksDegraded"))
    clock.pass_by(29)
    assert codes("current") == ["nodeOffline"]
    clock.pass_by(1)
    assert codes("current") == ["nodeOffline", "blocksDegraded"]
    one.clear_faults()
    clock.pass_by(30)
    assert (codes("current"), codes("resolved")) == (["nodeOffline"], ["blocksDegraded"])
    assert codes("all") == ["nodeOffline", "blocksDegraded"]
    assert [each["resolvedDate"] for each in ask(one, "ListClusterFaults")["faults"]] == ["", "2026-01-31T12:00:48Z"]
    assert refusal(one, "ListClusterFaults", faultTypes="some") == "xUnrecognizedEnumString"


def test_method_names_are_taken_in_any_case_and_parameter_names_are_not(clock: Clock) -> None:
    one = cluster(clock)
    handle = start(one)
    assert one.call("getasyncresult", {"asyncHandle": handle})["status"] == "running"
    with pytest.raises(RpcError) as caught:
        one.call("GetAsyncResult", {"asynchandle": handle})
    assert caught.value.name == "xMissingParameter"
    assert caught.value.message == "Missing member=[asyncHandle] members={asynchandle,requestAPIVersion}"
    assert one.calls == {REKEY: 1, "GetAsyncResult": 2}


def test_positional_parameters_are_refused(clock: Clock) -> None:
    one = cluster(clock)
    with pytest.raises(RpcError, match="xInvalidParameterType"):
        one.call("GetAsyncResult", [1])


@pytest.mark.parametrize(
    ("method", "version"),
    [(REKEY, "11.0"), (INFO, "12.2"), ("TestKeyProviderKmip", "11.5"), ("FlyToTheMoon", "12.3")],
)
def test_an_endpoint_knows_only_the_methods_of_its_time(clock: Clock, method: str, version: str) -> None:
    with pytest.raises(RpcError) as caught:
        cluster(clock).call(method, {}, version)
    assert caught.value.name == "xUnknownAPIMethod"


def test_versions_are_pairs_of_numbers(clock: Clock) -> None:
    one = cluster(clock, api_version="12.10")
    api = ask(one, "GetAPI")
    assert (api["currentVersion"], api["supportedVersions"][-2:]) == ("12.10", ["12.9", "12.10"])
    assert REKEY in api["12.10"]
    assert REKEY not in one.call("GetAPI", {}, "12.2")["12.2"]  # type: ignore[operator]
    old = cluster(clock, api_version="11.0")
    with pytest.raises(CallRefused, match="404"):
        old.call("GetAPI", {}, "12.3")


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("administrator", {REKEY, "GetAsyncResult", "GetClusterInfo", "GetAPI"}),
        ("reporting", {"GetClusterInfo", "GetAPI"}),
        ("read", {"GetAsyncResult", "GetAPI"}),
        ("write", {"GetAsyncResult", "GetAPI"}),
        ("volumes", {"GetAPI"}),
    ],
)
def test_a_role_may_call_what_its_access_type_holds(clock: Clock, role: str, allowed: set[str]) -> None:
    one = cluster(clock, role=role)
    for method in (REKEY, "GetAsyncResult", "GetClusterInfo", "GetAPI"):
        # A handle nobody has: the error for it comes after the question of rights.
        outcome = _outcome(one, method, {"asyncHandle": 1} if method == "GetAsyncResult" else {})
        assert (outcome != "xPermissionDenied") is (method in allowed), method


def _outcome(one: SimulatedCluster, method: str, params: dict[str, object]) -> str:
    try:
        one.call(method, params)
    except RpcError as error:
        return error.name
    return "result"


def test_the_seed_makes_ids_repeatable(clock: Clock) -> None:
    def ids(seed: int) -> tuple[str, str, int]:
        one = cluster(clock, seed=seed)
        return one.uuid, one.current_key.key_id, start(one)

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_passwords_are_random_unless_given(clock: Clock) -> None:
    assert cluster(clock).password != cluster(clock).password
    assert cluster(clock, password="given").password == "given"
    assert "given" not in repr(cluster(clock, password="given").spec)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"name": "no spaces"}, "name"),
        ({"api_version": "12"}, "12"),
        ({"rekey_seconds": -1.0}, "rekey_seconds"),
        ({"rekey_seconds": float("nan")}, "rekey_seconds"),
        ({"key_age": timedelta(days=-1)}, "key_age"),
        ({"key_provider_id": 3}, "key_provider_id"),
        ({"role": "admin"}, "role is one of accounts, administrator, .* not 'admin'"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        replace(ClusterSpec(), **changes)


@pytest.mark.parametrize("switch", [("nothing", "x"), ("key_flips", "never"), ("result_lifetime_seconds", "long")])
def test_an_assumption_is_switched_only_to_what_it_can_be(switch: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"{switch[0]}|{switch[1]}"):
        Assumptions().switched(*switch)

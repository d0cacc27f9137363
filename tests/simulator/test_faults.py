"""Fault rules: their vocabulary, which calls they hit, and what state and answer faults do to the cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest

from local.simulator import (
    FAULTS,
    METHODS,
    AnswerLost,
    CallRefused,
    ClusterSpec,
    Fault,
    FaultGroup,
    FaultName,
    Phase,
    RpcError,
    SimulatedCluster,
    SimulatorError,
    parse_rules,
)
from local.simulator.names import MethodName

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
INFO = "GetSoftwareEncryptionAtRestInfo"
NEEDED: dict[FaultName, dict[str, Any]] = {
    FaultName.RPC_ERROR: {"name": "xDBConnectionLoss"},
    FaultName.PHASE_FAILURE: {"phase": "CreateNewMasterKey"},
    FaultName.CLUSTER_FAULT: {"code": "nodeOffline"},
}


class Clock(Protocol):
    time: datetime

    def __call__(self) -> datetime: ...
    def pass_by(self, seconds: float) -> None: ...


@pytest.fixture
def one(clock: Clock) -> SimulatedCluster:
    return SimulatedCluster(ClusterSpec(rekey_seconds=100.0, clock=clock))


def outcome(one: SimulatedCluster, method: str, **params: object) -> str:
    """A call in a word: "result", the name of the error, the HTTP status, or the fault that took the answer."""
    try:
        one.call(method, params)
    except RpcError as error:
        return error.name
    except CallRefused as error:
        return str(error.status)
    except AnswerLost as lost:
        return f"{lost.fault} {'applied' if lost.applied else 'not applied'}"
    return "result"


# -- the vocabulary


def test_every_fault_can_be_written_as_json_and_read_back() -> None:
    assert set(FAULTS) == set(FaultName)
    for name in FaultName:
        rule = Fault(name, **NEEDED.get(name, {}))
        again = Fault.from_json(json.loads(json.dumps(rule.to_json())))
        assert again == rule or name is FaultName.PASSWORD_CHANGED
        assert again.fault == name


def test_every_method_a_fault_is_bound_to_exists() -> None:
    names = {method.name for method in METHODS.values()}
    assert names == set(MethodName)
    assert {hit for kind in FAULTS.values() for hit in kind.hits} <= names


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "not JSON"),
        ("3", "3"),
        ('{"method": "GetAPI"}', "'fault'"),
        ('{"fault": "fire"}', "'fire'"),
        ('{"fault": "html502", "colour": 1}', "'colour'"),
        ('{"fault": "html502", "seconds": 1}', "'seconds'"),
        ('{"fault": "html502", "method": "FlyToTheMoon"}', "'FlyToTheMoon'"),
        ('{"fault": "handleNotYetVisible", "method": "GetAPI"}', "GetAPI"),
        ('{"fault": "rpcError"}', "'name'"),
        ('{"fault": "phaseFailure"}', "'phase'"),
        ('{"fault": "phaseFailure", "phase": "Ready"}', "'Ready'"),
        ('{"fault": "html502", "phase": "Lunch"}', "'Lunch'"),
        ('{"fault": "html502", "times": 0}', "'times'"),
        ('{"fault": "html502", "times": "1"}', "'times'"),
        ('{"fault": "html502", "times": true}', "'times'"),
        ('{"fault": "html502", "skip": -1}', "'skip'"),
        ('{"fault": "stall", "seconds": -1}', "'seconds'"),
        ('{"fault": "stall", "seconds": NaN}', "'seconds'"),
        ('{"fault": "clockSkew", "seconds": -1e12}', "'seconds'"),
        ('{"fault": "stall", "applied": 1}', "'applied'"),
        ('{"fault": "rpcError", "name": 5}', "'name'"),
        ('{"fault": "resetAfterProcessing", "applied": false}', "'applied'"),
    ],
)
def test_a_wrong_rule_is_refused_naming_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(SimulatorError) as caught:
        parse_rules(text)
    assert word in str(caught.value)


def test_a_password_in_a_rule_is_not_shown() -> None:
    rule = Fault("passwordChanged", password="hush")
    assert "hush" not in repr(rule) + json.dumps(rule.to_json())


# -- which calls a rule hits


def test_a_rule_hits_its_method_after_those_to_skip_and_so_many_times(one: SimulatedCluster) -> None:
    one.inject(Fault("rpcError", method="getclusterinfo", name="xDBClosing", skip=1, times=2))
    assert outcome(one, "GetAPI") == "result"
    assert [outcome(one, "GetClusterInfo") for _ in range(4)] == ["result", "xDBClosing", "xDBClosing", "result"]
    assert one.fault_report() == [
        {
            "rule": {
                "fault": "rpcError",
                "method": "GetClusterInfo",
                "times": 2,
                "skip": 1,
                "name": "xDBClosing",
                "message": "",
                "applied": False,
            },
            "seen": 3,
            "used": 2,
        }
    ]


def test_a_rule_can_hold_for_ever_until_it_is_cleared(one: SimulatedCluster) -> None:
    one.inject(Fault("rpcError", name="xDBClosing", times=None))
    assert {outcome(one, "GetAPI") for _ in range(5)} == {"xDBClosing"}
    one.clear_faults()
    assert outcome(one, "GetAPI") == "result"


def test_clearing_does_not_recall_what_was_sent_begun_or_lost(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("applyDelay", method=REKEY, seconds=10))
    outcome(one, REKEY)
    one.clear_faults()
    clock.pass_by(10)
    (late,) = one.rekeys
    assert late.begun == clock.time

    one.inject(Fault("handleVanished", method=INFO))
    one.call(INFO)
    one.clear_faults()
    assert "rekeyMasterKeyAsyncResultID" not in one.call(INFO)
    clock.pass_by(100)
    assert one.current_key == late.new

    one.inject(Fault("competingRekey"))
    one.inject(Fault("masterMove"))
    one.clear_faults()
    assert one.call("GetClusterMasterNodeID") == {"nodeID": 2}
    clock.pass_by(100)
    assert len(one.rekeys) == 2


def test_rules_for_one_call_take_turns(one: SimulatedCluster) -> None:
    one.inject(Fault("resetBeforeProcessing"))
    one.inject(Fault("rpcError", name="xDBClosing"))
    assert [outcome(one, "GetAPI") for _ in range(3)] == [
        "resetBeforeProcessing not applied",
        "xDBClosing",
        "result",
    ]


def test_a_rule_can_wait_for_a_phase(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("rpcError", name="xDBClosing", phase=Phase.REWRAP, times=None))
    assert outcome(one, "GetAPI") == "result"
    one.call(REKEY)
    assert outcome(one, "GetAPI") == "result"
    clock.pass_by(30)
    assert outcome(one, "GetAPI") == "xDBClosing"
    clock.pass_by(50)
    assert outcome(one, "GetAPI") == "result"


def test_every_wire_fault_takes_the_answer_and_applies_the_call_or_not(clock: Clock) -> None:
    applied = {}
    for name in FaultName:
        if FAULTS[name].group is not FaultGroup.WIRE:
            continue
        one = SimulatedCluster(ClusterSpec(clock=clock))
        one.inject(Fault(name, method=REKEY))
        with pytest.raises(AnswerLost) as caught:
            one.call(REKEY)
        assert caught.value.fault == name
        assert caught.value.applied is bool(one.rekeys)
        applied[name.value] = bool(one.rekeys)
    assert {name for name, was in applied.items() if was} == {
        "resetAfterProcessing",
        "drip",
        "truncatedBody",
        "nullResult",
    }


@pytest.mark.parametrize("name", ["stall", "nullResult", "nullBody", "emptyBody", "html502", "html503", "rpcError"])
@pytest.mark.parametrize("applied", [False, True])
def test_a_rule_may_choose_whether_the_call_is_applied(one: SimulatedCluster, name: str, *, applied: bool) -> None:
    one.inject(Fault(name, method=REKEY, applied=applied, name="xDBConnectionLoss" if name == "rpcError" else None))
    assert outcome(one, REKEY) != "result"
    assert bool(one.rekeys) is applied


def test_a_wrong_password_is_not_applied_whatever_the_rule_says(one: SimulatedCluster) -> None:
    one.inject(Fault("rpcError", name="xDBClosing", applied=True, method=REKEY))
    with pytest.raises(CallRefused, match="401"):
        one.call(REKEY, username="nobody")
    assert one.rekeys == ()


# -- answer faults


@pytest.mark.parametrize(
    "name", ["xDBVersionMismatch", "xDBConnectionLoss", "xDBNoSuchPath", "xPermissionDenied", "xNotPrimary"]
)
def test_any_error_can_be_answered(one: SimulatedCluster, name: str) -> None:
    one.inject(Fault("rpcError", name=name, message="It is said."))
    with pytest.raises(RpcError) as caught:
        one.call("GetAPI")
    assert (caught.value.name, caught.value.message) == (name, "It is said.")


def test_a_handle_may_not_be_visible_yet(one: SimulatedCluster) -> None:
    one.inject(Fault("handleNotYetVisible", times=2))
    handle = one.call(REKEY)["asyncHandle"]
    polls = [outcome(one, "GetAsyncResult", asyncHandle=handle) for _ in range(3)]
    assert polls == ["xDBNoSuchPath", "xDBNoSuchPath", "result"]


@pytest.mark.parametrize(
    ("method", "params"), [("TestKeyProviderKmip", {"keyProviderID": 15}), ("TestKeyServerKmip", {"keyServerID": 6})]
)
def test_a_provider_test_can_fail(one: SimulatedCluster, method: str, params: dict[str, object]) -> None:
    one.inject(Fault("providerTestFails"))
    assert [outcome(one, method, **params) for _ in range(2)] == ["xKmipServerError", "result"]


# -- state faults


def test_a_handle_vanishes_once_there_is_one_and_the_rekey_goes_on(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("handleVanished"))
    assert outcome(one, "GetAPI") == "result"
    old = one.current_key
    handle = one.call(REKEY)["asyncHandle"]
    assert outcome(one, "GetAsyncResult", asyncHandle=handle) == "xDBNoSuchPath"
    assert "rekeyMasterKeyAsyncResultID" not in one.call(INFO)
    assert outcome(one, REKEY) == "xRekeyAlreadyInProgress"
    clock.pass_by(100)
    assert one.current_key != old


def test_a_competing_rekey_can_come_first(one: SimulatedCluster) -> None:
    one.inject(Fault("competingRekey", method=REKEY))
    assert outcome(one, REKEY) == "xRekeyAlreadyInProgress"
    assert [(each.own, each.by) for each in one.rekeys] == [(False, "another-admin")]


def test_a_competing_rekey_can_be_over_before_anyone_looks(one: SimulatedCluster) -> None:
    old = one.current_key
    one.inject(Fault("competingRekey", seconds=0))
    assert one.current_key != old
    assert outcome(one, REKEY) == "result"
    assert [each.own for each in one.rekeys] == [False, True]


def test_a_competing_rekey_can_move_the_key(one: SimulatedCluster) -> None:
    before = one.current_key
    for management, provider_id in (("external", 15), ("internal", None)):
        one.inject(Fault("competingRekey", seconds=0, management=management))
        assert (one.current_key.management, one.current_key.provider_id) == (management, provider_id)
    assert one.current_key != before
    with pytest.raises(SimulatorError, match="There is no management 'shared'; it is internal or external"):
        Fault("competingRekey", management="shared")


def test_a_failing_phase_is_meant_for_our_rekey_not_the_competitors(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("phaseFailure", phase=Phase.CREATE))
    one.inject(Fault("competingRekey", method=REKEY, seconds=0))
    handle = one.call(REKEY)["asyncHandle"]
    clock.pass_by(100)
    assert "error" in one.call("GetAsyncResult", {"asyncHandle": handle})
    assert [each.fails_in for each in one.rekeys] == [None, Phase.CREATE]


def test_a_lost_request_can_be_applied_late(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("applyDelay", seconds=20))
    with pytest.raises(AnswerLost):
        one.call(REKEY, {"keyManagementType": "External", "keyProviderID": 15})
    clock.pass_by(19)
    assert list(one.rekeys) == []
    clock.pass_by(41)
    late = one.rekeys[0]
    assert (late.begun, late.own, late.new.provider_id) == (clock.time - timedelta(seconds=40), True, 15)
    assert one.phase == Phase.REWRAP


def test_a_late_request_that_meets_another_rekey_comes_to_nothing(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("applyDelay", seconds=20))
    with pytest.raises(AnswerLost):
        one.call(REKEY)
    one.call(REKEY)
    clock.pass_by(200)
    assert len(one.rekeys) == 1


def test_a_late_request_that_would_be_refused_comes_to_nothing(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("applyDelay", seconds=20))
    with pytest.raises(AnswerLost):
        one.call(REKEY, {"keyManagementType": "Elsewhere"})
    clock.pass_by(200)
    assert one.rekeys == ()


def test_a_late_request_comes_after_a_rekey_that_ended_in_time(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("applyDelay", seconds=150))
    with pytest.raises(AnswerLost):
        one.call(REKEY)
    one.call(REKEY)
    clock.pass_by(300)
    first, second = tuple(one.rekeys)
    assert (first.begun, second.begun) == (clock.time - timedelta(seconds=300), clock.time - timedelta(seconds=150))
    assert second.old == first.new
    assert one.current_key == second.new


def test_a_wrong_clock_tells_wrong_times_everywhere(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("clockSkew", seconds=-7200))
    assert one.cluster_time() == clock.time - timedelta(hours=2)
    one.call(REKEY)
    clock.pass_by(100)
    info = one.call(INFO)["masterKeyInfo"]
    assert isinstance(info, dict)
    assert info["keyCreatedTime"] == "2026-01-31T10:00:43Z"
    one.clear_faults()
    assert one.cluster_time() == clock.time


def test_the_key_time_alone_can_be_wrong(one: SimulatedCluster, clock: Clock) -> None:
    one.call(REKEY)
    clock.pass_by(100)
    one.inject(Fault("keyTimeSkew", seconds=3600))
    info = one.call(INFO)["masterKeyInfo"]
    assert isinstance(info, dict)
    assert info["keyCreatedTime"] == "2026-01-31T13:00:43Z"
    assert one.cluster_time() == clock.time


def test_an_upgrade_can_be_pending(one: SimulatedCluster) -> None:
    assert "pendingClusterVersion" not in one.call("GetClusterVersionInfo")
    one.inject(Fault("upgradePending", method="GetClusterVersionInfo", version="12.7.0.1"))
    assert one.call("GetClusterVersionInfo")["pendingClusterVersion"] == "12.7.0.1"
    one.clear_faults()
    assert "pendingClusterVersion" not in one.call("GetClusterVersionInfo")


def test_the_password_can_change_before_a_certain_call(one: SimulatedCluster) -> None:
    first = one.password
    one.inject(Fault("passwordChanged", method="GetAPI", skip=1, password="next"))
    assert outcome(one, "GetAPI") == "result"
    assert one.password == first
    # `call` reads the password before the call goes out, as a client would.
    assert outcome(one, "GetAPI") == "401"
    assert one.password == "next"
    assert outcome(one, "GetAPI") == "result"


def test_another_cluster_can_answer(one: SimulatedCluster) -> None:
    one.call(REKEY)
    uuid, key = one.uuid, one.current_key
    one.inject(Fault("otherCluster"))
    assert one.uuid != uuid
    assert one.current_key != key
    assert "rekeyMasterKeyAsyncResultID" not in one.call(INFO)
    # The same handle may well exist there, as a result of something else.
    handles = one.call("ListAsyncResults")["asyncHandles"]
    assert isinstance(handles, list)
    assert {entry["resultType"] for entry in handles} == {"Clone"}
    one.call(REKEY)
    assert [each.cluster_uuid for each in one.rekeys] == [uuid, one.uuid]


def test_the_master_moves_and_its_connections_are_refused_for_a_time(one: SimulatedCluster, clock: Clock) -> None:
    one.inject(Fault("masterMove", method="GetClusterMasterNodeID", connections=2, seconds=10))
    assert outcome(one, "GetClusterMasterNodeID") == "masterMove not applied"
    assert one.call("GetClusterMasterNodeID") == {"nodeID": 2}
    assert [one.refuses_connection() for _ in range(3)] == [True, True, True]
    clock.pass_by(10)
    assert one.refuses_connection() is False


def test_a_master_may_move_after_it_did_the_work(one: SimulatedCluster) -> None:
    one.inject(Fault("masterMove", method=REKEY, applied=True))
    assert outcome(one, REKEY) == "masterMove applied"
    assert len(one.rekeys) == 1


def test_connections_are_refused_by_number(one: SimulatedCluster) -> None:
    one.inject(Fault("refuseConnections", connections=2))
    assert [one.refuses_connection() for _ in range(3)] == [True, True, False]
    one.inject(Fault("refuseConnections", connections=2))
    one.clear_faults()
    assert one.refuses_connection() is False


def test_faults_can_be_part_of_the_specification(clock: Clock) -> None:
    spec = replace(ClusterSpec(clock=clock), faults=(Fault("upgradePending"), Fault("html502", method="GetAPI")))
    one = SimulatedCluster(spec)
    assert one.call("GetClusterVersionInfo")["pendingClusterVersion"] == "12.5.0.897"
    assert outcome(one, "GetAPI") == "html502 not applied"


def test_the_log_tells_every_call_and_what_became_of_it(one: SimulatedCluster) -> None:
    one.inject(Fault("resetAfterProcessing", method=REKEY))
    one.inject(Fault("resetBeforeProcessing", method="GetAPI"))
    for method in (REKEY, "GetAPI", "FlyToTheMoon", "getclusterinfo"):
        outcome(one, method)
    assert [(each.method, each.fault, each.outcome) for each in one.requests] == [
        (REKEY, "resetAfterProcessing", "result"),
        ("GetAPI", "resetBeforeProcessing", "not carried out"),
        ("FlyToTheMoon", None, "xUnknownAPIMethod"),
        ("GetClusterInfo", None, "result"),
    ]
    assert one.password not in repr(one.requests)

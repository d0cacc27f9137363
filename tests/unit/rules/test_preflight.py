from __future__ import annotations

from dataclasses import replace

import pytest

from element_rekey.cluster import ClusterFault, KeyManagementType, KeyProvider
from element_rekey.errors import ClusterFaultsBlock
from element_rekey.rules.decisions import Observation, ProviderCheck, Refuse, Start
from element_rekey.rules.plan import plan
from element_rekey.rules.preflight import FAULTS_BLOCKING_ALWAYS, FAULTS_BLOCKING_EXTERNAL, FAULTS_BLOCKING_ROUTINE
from tests.unit.samples import OLD, demand, error_of, external, seen


def test_a_usable_provider_is_used() -> None:
    asked = demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    state = seen(OLD, provider=ProviderCheck(15, KeyProvider(15, (1,))))
    assert plan(asked, state) == Start(OLD, KeyManagementType.EXTERNAL, 15)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ALWAYS | FAULTS_BLOCKING_ROUTINE))
@pytest.mark.parametrize("urgent", [False, True])
def test_an_alarm_goes_ahead_in_spite_of_what_stops_a_routine_rekey_and_says_so(code: str, *, urgent: bool) -> None:
    decision = plan(demand(urgent=urgent), seen(OLD, faults=(ClusterFault(code),)))
    if urgent and code in FAULTS_BLOCKING_ROUTINE:
        assert decision == Start(OLD, None, None, warnings=(code,))
    else:
        assert isinstance(error_of(decision), ClusterFaultsBlock)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_EXTERNAL))
@pytest.mark.parametrize(
    ("state", "blocks"),
    [
        (seen(OLD), False),
        (seen(external()), True),
        (seen(OLD, provider=ProviderCheck(15, KeyProvider(15, (1,)))), True),
    ],
    ids=["internal to internal", "external in use", "external asked for"],
)
def test_faults_of_key_servers_block_only_where_an_external_key_is_replaced_or_made(
    code: str, state: Observation, *, blocks: bool
) -> None:
    decision = plan(demand(), replace(state, faults=(ClusterFault(code),)))
    if blocks:
        assert isinstance(error_of(decision), ClusterFaultsBlock)
    else:
        assert isinstance(decision, Start)
        assert decision.warnings == (code,)


USABLE = ProviderCheck(15, KeyProvider(15, (1,)))


@pytest.mark.parametrize(
    ("code", "state", "warns"),
    [
        ("kmipCertificateFault", seen(external(), provider=USABLE), True),
        ("kmipServerFault", seen(external(), provider=USABLE), False),
        ("kmipCertificateFault", seen(external()), False),
    ],
    ids=["the provider passes its test", "a key server is in trouble", "nobody tested the provider"],
)
def test_an_alarm_goes_ahead_under_a_certificate_near_its_end_where_the_provider_passes_its_test(
    code: str, state: Observation, *, warns: bool
) -> None:
    faulty = replace(state, faults=(ClusterFault(code),))
    decision = plan(demand(urgent=True), faulty)
    assert isinstance(decision, Start if warns else Refuse)
    if isinstance(decision, Start):
        assert decision.warnings == (code,)
    assert isinstance(error_of(plan(demand(), faulty)), ClusterFaultsBlock), "what can wait waits"


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ROUTINE | FAULTS_BLOCKING_EXTERNAL))
def test_a_fault_that_is_a_warning_to_the_cluster_is_one_to_us(code: str) -> None:
    warning, error = ClusterFault(code, only_warns=True), ClusterFault(code)
    decision = plan(demand(), seen(external(), faults=(warning,)))
    assert isinstance(decision, Start)
    assert decision.warnings == (code,)
    assert isinstance(error_of(plan(demand(), seen(external(), faults=(warning, error)))), ClusterFaultsBlock)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ALWAYS))
def test_what_always_blocks_blocks_as_a_warning_too(code: str) -> None:
    decision = plan(demand(urgent=True), seen(OLD, faults=(ClusterFault(code, only_warns=True),)))
    assert isinstance(error_of(decision), ClusterFaultsBlock)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ROUTINE | FAULTS_BLOCKING_EXTERNAL))
def test_a_fault_a_person_ignores_becomes_a_warning(code: str) -> None:
    state = seen(external(), faults=(ClusterFault(code),))
    decision = plan(demand(ignore_faults=frozenset({code})), state)
    assert isinstance(decision, Start)
    assert decision.warnings == (code,)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ALWAYS))
@pytest.mark.parametrize("urgent", [False, True])
def test_nobody_can_ignore_that_the_clusters_own_database_is_not_safe_to_write_to(code: str, *, urgent: bool) -> None:
    state = seen(OLD, faults=(ClusterFault(code),))
    refusal = error_of(plan(demand(ignore_faults=frozenset({code}), urgent=urgent), state))
    assert refusal.what == f"Current faults stand against a rekey: {code}. ignoreFaults does not override {code}."


def test_ignoring_one_fault_does_not_ignore_another_and_each_is_named_once() -> None:
    faults = tuple(ClusterFault(code) for code in ("upgrade", "nodeOffline", "upgrade", "exception"))
    refusal = error_of(plan(demand(ignore_faults=frozenset({"nodeOffline"})), seen(OLD, faults=faults)))
    assert refusal.what == "Current faults stand against a rekey: exception, upgrade."


def test_a_fault_that_has_no_bearing_is_not_even_a_warning() -> None:
    assert plan(demand(), seen(OLD, faults=(ClusterFault("driveWearFault"),))) == Start(OLD, None, None)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ALWAYS))
def test_what_always_blocks_blocks_where_the_key_is_an_external_one(code: str) -> None:
    decision = plan(demand(urgent=True), seen(external(), faults=(ClusterFault(code),)))
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, ClusterFaultsBlock)
    assert code in decision.error.what

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.cluster import ClusterFault, EncryptionState, KeyManagementType, KeyProvider, MasterKey, Unfamiliar
from element_rekey.errors import (
    AnswerNotUnderstood,
    ClusterFaultsBlock,
    ClusterIdentityChanged,
    ElementRekeyError,
    EncryptionDisabled,
    KeyAgeUnknown,
    KeyProviderUnusable,
    UpgradePending,
)
from element_rekey.outcomes import Trigger
from element_rekey.records import ClusterMemory, Request
from element_rekey.rules.decisions import (
    CoolingDown,
    Follow,
    Observation,
    ProviderCheck,
    Refuse,
    Satisfied,
    SatisfiedWithError,
    Start,
)
from element_rekey.rules.demand import Demand, demand_of
from element_rekey.rules.memory import age_of, updated_memory
from element_rekey.rules.plan import memory_after, plan
from tests.fakes import NOW
from tests.unit.samples import (
    BROKEN,
    DAY,
    MINUTE,
    OLD,
    SECOND,
    UUID,
    YOUNG,
    demand,
    done,
    error_of,
    key,
    rotation,
    running,
    seen,
)
from tests.unit.strategies import demands, states

# --- plan ---


LONG_DONE = replace(done(OLD, key("key-x")), create_time=NOW - 400 * DAY)
PLANS: list[tuple[str, Demand, Observation, object]] = [
    ("old key", demand(), seen(OLD), Start(OLD, None, None)),
    ("young key", demand(), seen(YOUNG), Satisfied(NOW - DAY)),
    ("exactly as old as demanded is too old", demand(made_after=NOW - DAY), seen(YOUNG), Start(YOUNG, None, None)),
    (
        "a kind that is not asked for is replaced however young",
        demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15),
        seen(YOUNG),
        Start(YOUNG, KeyManagementType.EXTERNAL, 15),
    ),
    ("a running job is followed", demand(), seen(OLD, handle=7, job=running()), "follow"),
    ("a running job is followed though the key is young", demand(), seen(YOUNG, handle=7, job=running()), "follow"),
    ("an unreadable job is followed", demand(), seen(OLD, handle=7), "follow"),
    ("a finished job is not", demand(), seen(OLD, handle=7, job=LONG_DONE), Start(OLD, None, None)),
    ("an unknown age counts as old by hand", demand(needs_age=False), seen(key(made=None)), "start"),
    ("cooling down", demand(made_after=NOW, cool_down=2 * DAY), seen(YOUNG), CoolingDown(NOW + DAY)),
    ("cooled down", demand(made_after=NOW, cool_down=DAY), seen(YOUNG), Start(YOUNG, None, None)),
    (
        "an alarm does not move a young key either",
        demand(made_after=NOW, cool_down=2 * DAY, urgent=True, key_management_type=KeyManagementType.EXTERNAL),
        seen(YOUNG),
        CoolingDown(NOW + DAY),
    ),
    (
        "an alarm moves a key that has cooled down",
        demand(made_after=NOW, cool_down=DAY, urgent=True, key_management_type=KeyManagementType.EXTERNAL),
        seen(YOUNG),
        Start(YOUNG, KeyManagementType.EXTERNAL, None),
    ),
    (
        "an alarm moves a key of unknown age",
        demand(made_after=NOW, cool_down=DAY, urgent=True, key_management_type=KeyManagementType.EXTERNAL),
        seen(key(made=None)),
        Start(key(made=None), KeyManagementType.EXTERNAL, None),
    ),
    (
        "a person moves a key however young",
        demand(made_after=NOW, cool_down=2 * DAY, key_management_type=KeyManagementType.EXTERNAL),
        seen(YOUNG),
        Start(YOUNG, KeyManagementType.EXTERNAL, None),
    ),
    ("met goes before cooling down", demand(cool_down=2 * DAY), seen(YOUNG), Satisfied(NOW - DAY)),
    ("a remembered cluster", demand(), seen(OLD, memory=ClusterMemory(UUID)), Start(OLD, None, None)),
    (
        "a replaced cluster that a person accepted",
        demand(accept_cluster_uuid=UUID),
        seen(OLD, memory=ClusterMemory("another")),
        Start(OLD, None, None),
    ),
]


@pytest.mark.parametrize(("asked", "state", "expected"), [case[1:] for case in PLANS], ids=[case[0] for case in PLANS])
def test_plan(asked: Demand, state: Observation, expected: object) -> None:
    decision = plan(asked, state)
    if expected == "follow":
        assert isinstance(decision, Follow)
        assert (decision.following.async_handle, decision.following.ours) == (7, False)
        assert decision.following.since == NOW
        assert decision.following.baseline_key == state.encryption.master_key
    elif expected == "start":
        assert isinstance(decision, Start)
    else:
        assert decision == expected


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (seen(memory=ClusterMemory("another")), ClusterIdentityChanged, f"as cluster {UUID}; remembered is another"),
        (seen(enabled=False), EncryptionDisabled, "not enabled"),
        (seen(key(made=None)), KeyAgeUnknown, "key-0"),
        (seen(pending="12.9.1"), UpgradePending, "12.9.1"),
        (seen(provider=ProviderCheck(15)), KeyProviderUnusable, "no KMIP key provider with keyProviderID 15"),
        (seen(provider=ProviderCheck(15, KeyProvider(15))), KeyProviderUnusable, "has no key server"),
        (
            seen(provider=ProviderCheck(15, KeyProvider(15, (1,)), BROKEN)),
            KeyProviderUnusable,
            "fails its test with xAssumed: Out of entropy.",
        ),
        (seen(faults=(ClusterFault("ensembleDegraded"),)), ClusterFaultsBlock, "ensembleDegraded"),
    ],
)
def test_an_unfit_cluster_is_refused_with_what_to_mend(
    state: Observation, error: type[ElementRekeyError], said: str
) -> None:
    refusal = error_of(plan(demand(), state))
    assert type(refusal) is error
    assert said in refusal.what
    assert ".." not in refusal.what


def test_encryption_without_a_master_key_is_refused() -> None:
    state = replace(seen(), encryption=EncryptionState(enabled=True))
    refusal = error_of(plan(demand(), state))
    assert isinstance(refusal, AnswerNotUnderstood)
    assert refusal.what == "The cluster does not say which master key it has."


ODD = (Unfamiliar("GetSoftwareEncryptionAtRestInfo.state", '"enabling"'),)


@pytest.mark.parametrize(
    ("encryption", "asked", "said"),
    [
        (EncryptionState(None, OLD, unfamiliar=ODD), {}, "whether software encryption at rest is enabled"),
        (EncryptionState(True, OLD, handle_unclear=True, unfamiliar=ODD), {}, "whether a rekey runs"),  # noqa: FBT003
        (
            EncryptionState(True, MasterKey("key-0", None), unfamiliar=ODD),  # noqa: FBT003
            {"key_management_type": KeyManagementType.INTERNAL},
            "how its master key is managed",
        ),
    ],
)
def test_no_rekey_is_sent_while_what_has_to_be_known_cannot_be_read(
    encryption: EncryptionState, asked: dict[str, Any], said: str
) -> None:
    refusal = error_of(plan(demand(**asked), replace(seen(), encryption=encryption)))
    assert isinstance(refusal, AnswerNotUnderstood)
    assert refusal.what == f'The cluster does not say {said}; GetSoftwareEncryptionAtRestInfo.state is "enabling".'
    assert refusal.cluster == "prod-a"


def test_a_key_of_unknown_management_can_be_replaced_by_one_of_the_same() -> None:
    state = replace(seen(), encryption=EncryptionState(True, MasterKey("key-0", None, None, OLD.key_created_time)))  # noqa: FBT003
    assert isinstance(plan(demand(), state), Start)


def test_while_a_rekey_may_run_a_look_is_no_last_sight_of_the_key() -> None:
    state = replace(seen(), encryption=EncryptionState(True, OLD, handle_unclear=True))  # noqa: FBT003
    remembered = memory_after(rotation(), state, "")
    assert remembered
    assert remembered.key_seen_at is None


def test_a_satisfied_demand_does_not_care_whether_the_cluster_is_fit_for_a_rekey() -> None:
    assert isinstance(plan(demand(), seen(YOUNG, pending="12.9.1")), Satisfied)


def test_a_handle_that_never_shows_its_job_can_be_disregarded_but_no_other() -> None:
    assert isinstance(plan(demand(), seen(OLD, handle=7), 7), Start)
    assert isinstance(plan(demand(), seen(OLD, handle=8), 7), Follow)


def test_another_cluster_is_refused_by_both_names() -> None:
    decision = plan(demand(), seen(uuid="uuid-of-prod-b", memory=ClusterMemory(UUID)))
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, ClusterIdentityChanged)
    assert decision.error.what == f"The address answers as cluster uuid-of-prod-b; remembered is {UUID}."


def test_disabled_encryption_is_refused_in_words() -> None:
    decision = plan(demand(), seen(enabled=False))
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, EncryptionDisabled)
    assert decision.error.what == "Software encryption at rest is not enabled."


# --- a key whose rekey ended with an error ---


FAILED_JOB = done(None, None, error=BROKEN)  # begun a minute before NOW
MADE_WITH_ERROR = key("key-1", NOW - MINUTE)


def test_the_error_of_the_rekey_that_made_the_key_is_reported_with_a_demand_that_is_met() -> None:
    decision = plan(demand(), seen(MADE_WITH_ERROR, handle=7, job=FAILED_JOB))
    assert isinstance(decision, SatisfiedWithError)
    assert decision.error.what == (
        "Key key-1 is current, but the rekey that made it ended with xAssumed: Out of entropy."
    )


@pytest.mark.parametrize(
    ("state", "reported"),
    [
        (seen(MADE_WITH_ERROR, handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID)), True),
        (
            seen(MADE_WITH_ERROR, handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID, "key-1", reported_error_of=6)),
            True,
        ),
        (
            seen(MADE_WITH_ERROR, handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID, "key-1", reported_error_of=7)),
            False,
        ),
        (seen(MADE_WITH_ERROR, handle=7, job=done(MADE_WITH_ERROR, OLD)), False),
        (seen(key("key-1", NOW - MINUTE - 3 * SECOND), handle=7, job=FAILED_JOB), False),
        (seen(key("key-1", NOW - MINUTE - 2 * SECOND), handle=7, job=FAILED_JOB), True),
        (seen(key("key-1", NOW - SECOND), handle=7, job=FAILED_JOB), True),
        (seen(MADE_WITH_ERROR, handle=7, job=replace(FAILED_JOB, create_time=None)), False),
        (
            seen(key("key-1", None), handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID, "key-1", NOW - MINUTE)),
            False,
        ),
        (seen(MADE_WITH_ERROR), False),
    ],
    ids=[
        "never published",
        "an earlier one was published",
        "this one was published",
        "no error",
        "the job failed before it made a key",
        "the key was made as the job began, by times in whole seconds",
        "the key was made in its course",
        "a job without a time",
        "a key without a time",
        "no job",
    ],
)
def test_an_error_is_reported_once_and_only_of_the_rekey_that_made_the_key(
    state: Observation, *, reported: bool
) -> None:
    assert isinstance(plan(demand(), state), SatisfiedWithError if reported else Satisfied)


def test_what_was_reported_of_a_cluster_that_was_replaced_since_says_nothing_of_the_new_one() -> None:
    state = seen(MADE_WITH_ERROR, handle=7, job=FAILED_JOB, memory=ClusterMemory("another", reported_error_of=7))
    assert isinstance(plan(demand(accept_cluster_uuid=UUID), state), SatisfiedWithError)


def test_a_key_that_cools_down_is_reported_as_that_and_not_as_made_for_the_demand() -> None:
    state = seen(MADE_WITH_ERROR, handle=7, job=FAILED_JOB)
    assert isinstance(plan(demand(made_after=NOW, cool_down=timedelta(days=1)), state), CoolingDown)


def test_a_key_that_does_not_meet_the_demand_is_replaced_whatever_its_rekey_ended_with() -> None:
    assert isinstance(plan(demand(made_after=NOW), seen(MADE_WITH_ERROR, handle=7, job=FAILED_JOB)), Start)


# --- what holds always ---


@given(demands, states)
def test_nothing_is_started_while_a_rekey_runs(asked: Demand, state: Observation) -> None:
    if state.encryption.rekey_async_result_id and not (state.job and state.job.complete):
        assert not isinstance(plan(asked, state), Start)


@given(demands, states)
def test_nothing_is_started_onto_a_key_that_meets_the_demand(asked: Demand, state: Observation) -> None:
    decision = plan(asked, state)
    if isinstance(decision, Start):
        current = state.encryption.master_key
        assert current == decision.baseline_key
        made = age_of(current, state).made
        assert not asked.of_kind(current) or made is None or made <= asked.made_after


@given(demands, states)
def test_nothing_is_started_on_another_cluster_without_encryption_or_during_an_upgrade(
    asked: Demand, state: Observation
) -> None:
    if isinstance(plan(asked, state), Start):
        assert state.encryption.enabled
        assert not state.version.pending_cluster_version
        assert state.memory is None or UUID in (state.memory.uuid, asked.accept_cluster_uuid)


@given(demands, states)
def test_what_satisfies_is_of_the_kind_and_age_demanded(asked: Demand, state: Observation) -> None:
    decision = plan(asked, state)
    if isinstance(decision, Satisfied):
        assert decision.made > asked.made_after
        assert state.encryption.master_key
        assert asked.of_kind(state.encryption.master_key)


@given(demands, states)
def test_a_key_made_with_an_error_meets_the_demand_and_its_error_was_not_reported(
    asked: Demand, state: Observation
) -> None:
    decision = plan(asked, state)
    if isinstance(decision, SatisfiedWithError):
        current = state.encryption.master_key
        assert current
        made = age_of(current, state).made
        assert made
        assert made > asked.made_after
        assert asked.of_kind(current)
        assert state.job
        assert state.job.error
        memory = updated_memory(state, current, rekey_runs=False)
        assert memory.reported_error_of != state.job.async_handle
        later = replace(memory, reported_error_of=state.job.async_handle)
        assert isinstance(plan(asked, replace(state, memory=later)), Satisfied)


@given(
    st.sampled_from(list(Trigger)),
    st.timedeltas(timedelta(), 100 * DAY),
    st.none() | st.timedeltas(-DAY, DAY),
    st.timedeltas(SECOND, DAY),
)
def test_a_demand_delivered_twice_is_satisfied_the_second_time_whatever_the_clusters_clock_says(
    trigger: Trigger, before: timedelta, skew: timedelta | None, later: timedelta
) -> None:
    """One reason, two executions: the first rotates at NOW, the second one begins ``later``."""
    request = Request("prod-a", trigger=trigger, key_created_after=NOW - before)
    first = demand_of(request, NOW)
    second = demand_of(request, NOW + later)
    sent = NOW + SECOND
    stamped = None if skew is None else sent + skew
    made = key("key-1", stamped)
    memory = ClusterMemory(UUID, "key-1", sent)
    assert isinstance(plan(first, seen(OLD)), Start) or before > 90 * DAY
    assert isinstance(plan(second, seen(made, at=NOW + later + SECOND, memory=memory)), Satisfied)

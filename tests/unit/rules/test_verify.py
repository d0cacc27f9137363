from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.cluster import EncryptionState, KeyManagementType, MasterKey, RekeyJob
from element_rekey.errors import ClusterIdentityChanged, RekeyFailed, RekeyOutcomeUnknown, RotationNotProven
from element_rekey.outcomes import Outcome
from element_rekey.rules.decisions import (
    AnswerStillUnknown,
    Conclude,
    Fail,
    Follow,
    KeyChanged,
    Observation,
    StartAgain,
    StillRunning,
    Superseded,
)
from element_rekey.rules.plan import rekey_runs
from element_rekey.rules.verify import ATTEMPTS, decide_after_check, error_of_change, resolve_lost_answer, verify
from tests.fakes import NOW, SETTINGS
from tests.unit.samples import (
    BROKEN,
    DAY,
    HOUR,
    MINUTE,
    OLD,
    SECOND,
    SETTLING,
    change,
    demand,
    done,
    error_of,
    external,
    following,
    intent,
    key,
    looked,
    rotation,
    running,
    seen,
)
from tests.unit.strategies import demands, intents, jobs, keys, moments, states

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.rules.demand import Demand

# --- resolving a lost answer ---


@pytest.mark.parametrize(
    ("state", "sent", "expected"),
    [
        (seen(OLD, handle=7), intent(), "follow 7"),
        (seen(OLD, handle=7), intent(baseline_async_result_id=6), "follow 7"),
        (seen(key("key-1"), handle=6), intent(baseline_async_result_id=6), "follow None"),
        (seen(key("key-1")), intent(), "follow None"),
        (seen(OLD, handle=6), intent(baseline_async_result_id=6), "unknown"),
        (seen(OLD), intent(), "unknown"),
        (seen(OLD), intent(sent_at=NOW - SETTLING + SECOND), "unknown"),
        (seen(OLD), intent(sent_at=NOW - SETTLING), "anew"),
        (seen(OLD), intent(sent_at=NOW - DAY, attempts=ATTEMPTS), "unknown"),
        (seen(OLD, handle=7), intent(sent_at=NOW - DAY, attempts=ATTEMPTS), "follow 7"),
    ],
)
def test_what_became_of_a_rekey_whose_answer_was_lost(state: Observation, sent: Any, expected: str) -> None:  # noqa: ANN401 - an Intent
    found = resolve_lost_answer(sent, state, SETTLING, "prod-a")
    if expected.startswith("follow"):
        assert isinstance(found, Follow)
        assert str(found.following.async_handle) == expected.removeprefix("follow ")
        assert found.following.ours
        assert found.following.since == sent.sent_at
        assert found.following.baseline_key == sent.baseline_key
    else:
        assert found == (AnswerStillUnknown() if expected == "unknown" else None)


def test_another_cluster_resolves_no_lost_answer() -> None:
    assert isinstance(
        error_of(resolve_lost_answer(intent(), seen(uuid="another"), SETTLING, "prod-a")), ClusterIdentityChanged
    )


def test_a_cluster_without_a_key_resolves_no_lost_answer() -> None:
    state = replace(seen(), encryption=EncryptionState(enabled=True))
    assert resolve_lost_answer(intent(), state, SETTLING, "prod-a") == AnswerStillUnknown()


@given(intents, states)
def test_a_lost_answer_leads_to_planning_anew_only_after_settling_on_an_unchanged_cluster_and_once(
    sent: Any,  # noqa: ANN401 - an Intent
    state: Observation,
) -> None:
    if resolve_lost_answer(sent, state, SETTLING, "prod-a") is None:
        assert state.at >= sent.sent_at + SETTLING
        assert sent.attempts < ATTEMPTS
        assert state.encryption.master_key is None or state.encryption.master_key.key_id == sent.baseline_key.key_id
        assert state.encryption.rekey_async_result_id in (None, sent.baseline_async_result_id)


# --- verifying a followed rekey ---


NEW = key("key-1", NOW)


def verified(
    job: RekeyJob | None,
    current: MasterKey | None = NEW,
    listed: int | None = 7,
    *,
    asked: Demand | None = None,
    **changes: Any,  # noqa: ANN401 - members of Following
) -> StillRunning | KeyChanged | Superseded | Fail:
    state = EncryptionState(enabled=True, master_key=current, rekey_async_result_id=listed)
    return verify(following(**changes), looked(NOW, job, state), asked or demand(), SETTLING)


def test_a_running_job_is_waited_for() -> None:
    assert verified(running(), OLD) == StillRunning()


def test_a_completed_job_that_the_state_agrees_with_is_the_proof() -> None:
    decision = verified(done(NEW, OLD))
    assert isinstance(decision, KeyChanged)
    assert (decision.change.old_key, decision.change.new_key) == (OLD, NEW)
    assert decision.change.key_to_decommission == OLD
    assert decision.change.ours
    assert decision.change.job_result_read
    assert decision.change.finished_at == NOW - 10 * SECOND
    assert decision.change.detected_at == NOW
    assert decision.change.job_seconds == 50
    assert decision.change.job_error is None


def test_a_job_without_times_is_measured_by_our_own() -> None:
    decision = verified(replace(done(NEW, OLD), create_time=None, last_update_time=None))
    assert isinstance(decision, KeyChanged)
    assert (decision.change.finished_at, decision.change.job_seconds) == (NOW, 60)


def test_a_job_whose_times_run_backwards_took_no_time() -> None:
    decision = verified(replace(done(NEW, OLD), last_update_time=NOW - HOUR))
    assert isinstance(decision, KeyChanged)
    assert decision.change.job_seconds == 0


def test_the_proof_holds_where_the_next_rekey_is_listed_already() -> None:
    assert isinstance(verified(done(NEW, OLD), listed=8), KeyChanged)


@pytest.mark.parametrize(
    ("job", "current", "asked", "said"),
    [
        (done(None, OLD), OLD, None, "key key-0 was current before it, too"),
        (done(None, None), OLD, None, "key key-0 was current before it, too"),
        (done(None, key("key-x")), NEW, None, "it retires key-x and not key-0"),
        (done(key("key-2"), OLD), NEW, None, "it made key key-2 and current is key-1"),
        (done(OLD, OLD), OLD, None, "key key-0 was current before it, too"),
        (done(NEW, key("key-x")), NEW, None, "it retires key-x and not key-0"),
        (
            done(NEW, OLD),
            NEW,
            demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15),
            "the key's management is Internal, provider None, not as asked",
        ),
    ],
)
def test_a_completed_job_that_the_state_contradicts_proves_nothing(
    job: RekeyJob, current: MasterKey, asked: Demand | None, said: str
) -> None:
    refusal = error_of(verified(job, current, asked=asked))
    assert isinstance(refusal, RotationNotProven)
    assert said in refusal.what


@pytest.mark.parametrize("read", [None, OLD])
@pytest.mark.parametrize("current", [NEW, MasterKey("key-1", None), external("key-1")])
def test_a_change_that_the_state_shows_is_proven_however_little_its_result_says(
    read: MasterKey | None, current: MasterKey
) -> None:
    decision = verified(done(None, read), current)
    assert isinstance(decision, KeyChanged)
    assert (decision.change.old_key, decision.change.new_key) == (OLD, current)
    assert (decision.change.job_result_read, decision.change.key_to_decommission) == (False, read)
    assert decision.change.job_seconds == 50
    decision = verified(done(NEW, None), NEW)
    assert isinstance(decision, KeyChanged)
    assert decision.change.job_result_read


def test_a_key_whose_management_cannot_be_read_does_not_contradict_what_was_asked() -> None:
    asked = demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    assert isinstance(verified(done(NEW, OLD), MasterKey("key-1", None), asked=asked), KeyChanged)


def test_a_result_without_its_key_proves_nothing_where_another_rekey_is_listed() -> None:
    error = error_of(verified(done(None, OLD), NEW, listed=8))
    assert isinstance(error, RotationNotProven)
    assert "does not name the key it made, and another rekey is listed" in error.what


def test_somebody_elses_rekey_that_is_over_and_says_nothing_is_looked_at_anew() -> None:
    assert isinstance(verified(done(None, None), OLD, ours=False), Superseded)
    assert isinstance(verified(done(None, None), NEW, ours=False), KeyChanged)


MUTE = RekeyJob(7, complete=False, understood=False)


@pytest.mark.parametrize("job", [None, MUTE])
def test_a_rekey_that_may_be_the_one_listed_is_waited_for(job: RekeyJob | None) -> None:
    state = EncryptionState(enabled=True, master_key=NEW, handle_unclear=True)
    assert verify(following(), looked(NOW, job, state), demand(), SETTLING) == StillRunning(shown=False)
    assert verified(job, NEW, listed=7) == StillRunning(shown=False)
    assert isinstance(verified(job, NEW, listed=None), KeyChanged)


@pytest.mark.parametrize("job", [None, MUTE])
def test_at_the_deadline_the_keys_alone_show_the_change(job: RekeyJob | None) -> None:
    late = NOW + SETTINGS.deadline
    begun, followed = rotation(following=following()), following()

    def decided(current: MasterKey | None, at: datetime, seen_job: RekeyJob | None = job) -> object:
        state = EncryptionState(enabled=True, master_key=current, rekey_async_result_id=7)
        return decide_after_check(begun, followed, looked(at, seen_job, state), demand(), SETTINGS)

    concluded = decided(NEW, late)
    assert isinstance(concluded, Conclude)
    assert concluded.outcome is Outcome.ROTATED
    assert concluded.change
    assert not concluded.change.job_result_read
    assert concluded.detail.endswith("Its result could not be read; the cluster's own state shows the change.")
    assert isinstance(decided(NEW, late - SECOND), Follow)
    for overdue in (decided(OLD, late), decided(None, late, running()), decided(NEW, late, running())):
        assert isinstance(overdue, Follow)
        assert overdue.overdue


def test_a_rekey_of_somebody_else_that_is_over_is_not_followed_again_by_who_cannot_read_it() -> None:
    theirs = following(ours=False)
    state = EncryptionState(enabled=True, master_key=NEW, rekey_async_result_id=7)
    again = decide_after_check(rotation(), theirs, looked(NOW, done(NEW, OLD), state), demand(), SETTINGS)
    assert isinstance(again, StartAgain)
    assert again.disregarded_handle == 7
    assert not rekey_runs(looked(NOW, MUTE, state), again.disregarded_handle)


def test_a_contradiction_is_explained_by_a_rekey_that_came_after_and_what_ours_did_is_kept() -> None:
    decision = verified(done(NEW, OLD), key("key-2"), listed=8)
    assert isinstance(decision, Superseded)
    assert decision.change
    assert (decision.change.old_key, decision.change.new_key, decision.change.ours) == (OLD, NEW, True)
    assert decision.change.key_to_decommission == OLD
    assert decision.change.job_result_read


@pytest.mark.parametrize(
    "job",
    [done(None, OLD), done(NEW, None), done(NEW, key("key-x"))],
    ids=["without the new key", "without the old key", "of another key"],
)
def test_a_rekey_that_may_not_have_been_ours_proves_nothing_once_another_came_after(job: RekeyJob) -> None:
    assert isinstance(error_of(verified(job, key("key-2"), listed=8)), RotationNotProven)


def test_somebody_elses_rekey_is_nobodys_once_another_came_after() -> None:
    decision = verified(done(NEW, OLD), key("key-2"), listed=8, ours=False)
    assert isinstance(decision, Superseded)
    assert decision.change is None


@pytest.mark.parametrize("job", [None, done(NEW, OLD), done(NEW, OLD, error=BROKEN), done(key("key-x"), OLD)])
def test_a_rekey_taken_for_ours_is_not_verified_while_ours_may_still_come(job: RekeyJob | None) -> None:
    listed = None if job is None else 7
    early, late = NOW - SETTLING + SECOND, NOW - SETTLING
    assert verified(job, NEW, listed=listed, presumed_ours=True, since=early) == StillRunning()
    assert verified(job, NEW, listed=listed, presumed_ours=True, since=late) != StillRunning()
    assert verified(job, NEW, listed=listed, since=early) != StillRunning()


@pytest.mark.parametrize("job", [None, running(), done(NEW, OLD), done(NEW, OLD, error=BROKEN)])
@pytest.mark.parametrize("handle", [7, None])
def test_what_came_after_a_rekey_taken_for_ours_may_be_ours(job: RekeyJob | None, handle: int | None) -> None:
    since = NOW - SETTLING
    decision = verified(job, NEW, listed=8, presumed_ours=True, since=since, async_handle=handle)
    assert isinstance(error_of(decision), RekeyOutcomeUnknown)
    assert error_of(decision).what == "Another rekey came after the one that was taken for ours."


@pytest.mark.parametrize(("seconds", "known"), [(3, False), (2, True), (0, True)])
def test_a_key_older_than_the_rekey_that_failed_is_not_its_work(*, seconds: int, known: bool) -> None:
    job = done(None, None, error=BROKEN)
    assert job.create_time
    decision = verified(job, key("key-1", job.create_time - seconds * SECOND))
    if known:
        assert isinstance(decision, KeyChanged)
    else:
        assert isinstance(error_of(decision), RekeyOutcomeUnknown)
        assert "the current key key-1 was made before it" in error_of(decision).what
    for untimed in (replace(job, create_time=None), job):
        assert isinstance(verified(untimed, key("key-1", None)), KeyChanged)
    assert isinstance(verified(job, key("key-1", job.create_time - seconds * SECOND), ours=False), KeyChanged)


@pytest.mark.parametrize(
    ("current", "asked", "left"),
    [
        (OLD, demand(), ""),
        (OLD, demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15), "provider 15"),
        (external("key-0", 16), demand(), "provider 16"),
        (external("key-0", 16), demand(key_management_type=KeyManagementType.INTERNAL), ""),
    ],
)
def test_what_a_failed_rekey_may_leave_on_a_key_server_is_said(current: MasterKey, asked: Demand, left: str) -> None:
    what = error_of(verified(done(None, None, error=BROKEN), current, asked=asked)).what
    assert what.startswith("The rekey ended with xAssumed: Out of entropy.")
    assert ("may hold a key that was made for this and is not in use" in what, left in what) == (bool(left), True)


def test_a_failed_rekey_that_is_taken_for_ours_is_called_so() -> None:
    job = done(None, None, error=BROKEN)
    assert error_of(verified(job, OLD, presumed_ours=True, since=NOW - SETTLING)).what.startswith(
        "The rekey taken for ours ended with xAssumed"
    )
    assert error_of(verified(job, OLD)).what.startswith("The rekey ended with xAssumed")


def test_a_lost_rekey_is_only_taken_for_ours() -> None:
    by_handle, by_key = seen(NEW, handle=7), seen(NEW)
    for state in (by_handle, by_key):
        found = resolve_lost_answer(intent(), state, SETTLING, "prod-a")
        assert isinstance(found, Follow)
        assert found.following.presumed_ours


def test_a_foreign_job_followed_from_its_middle_may_have_its_new_key_current_already() -> None:
    decision = verified(done(NEW, OLD), NEW, ours=False, baseline_key=NEW)
    assert isinstance(decision, KeyChanged)
    assert decision.change.old_key == OLD
    assert not decision.change.ours


def test_a_foreign_job_that_made_another_key_proves_nothing() -> None:
    assert isinstance(error_of(verified(done(key("key-2"), OLD), NEW, ours=False)), RotationNotProven)


def test_no_master_key_proves_nothing() -> None:
    for job in (None, MUTE, done(NEW, OLD)):
        assert isinstance(error_of(verified(job, None)), RotationNotProven)
    assert verified(running(), None) == StillRunning()


def test_our_job_that_failed_before_the_change_of_keys_failed() -> None:
    refusal = error_of(verified(done(None, None, error=BROKEN), OLD))
    assert isinstance(refusal, RekeyFailed)
    assert "xAssumed: Out of entropy." in refusal.what


def test_a_job_that_failed_after_the_change_of_keys_is_reported_with_both() -> None:
    decision = verified(done(None, None, error=BROKEN), NEW)
    assert isinstance(decision, KeyChanged)
    assert decision.change.job_error == BROKEN
    assert (decision.change.old_key, decision.change.new_key) == (OLD, NEW)


def test_somebody_elses_failure_is_no_failure_of_ours() -> None:
    decision = verified(done(None, None, error=BROKEN), OLD, ours=False)
    assert isinstance(decision, Superseded)
    assert "xAssumed" in decision.why


def test_a_failure_of_somebody_elses_followed_by_another_rekey_is_looked_at_anew() -> None:
    assert isinstance(verified(done(None, None, error=BROKEN), NEW, listed=8, ours=False), Superseded)


def test_what_a_failure_of_ours_left_is_unknown_once_another_rekey_came_after() -> None:
    error = error_of(verified(done(None, None, error=BROKEN), NEW, listed=8))
    assert isinstance(error, RekeyOutcomeUnknown)
    assert BROKEN.name in error.what
    assert "another rekey came after it" in error.what


@pytest.mark.parametrize(
    ("current", "listed", "changes", "expected"),
    [
        (OLD, 7, {}, StillRunning(shown=False)),
        (NEW, 7, {}, StillRunning(shown=False)),
        (NEW, None, {}, "ended"),
        (NEW, None, {"async_handle": None}, "ended"),
        (OLD, None, {}, StillRunning(shown=False)),
        (OLD, None, {"since": NOW - SETTLING + SECOND}, StillRunning(shown=False)),
        (OLD, None, {"since": NOW - SETTLING}, "unknown"),
        (OLD, None, {"since": NOW - SETTLING, "ours": False}, "replan"),
    ],
)
def test_without_a_readable_job_the_state_decides(
    current: MasterKey, listed: int | None, changes: dict[str, Any], expected: object
) -> None:
    decision = verified(None, current, listed, **changes)
    match expected:
        case "ended":
            assert isinstance(decision, KeyChanged)
            assert not decision.change.job_result_read
            assert decision.change.finished_at == NOW
            assert decision.change.job_seconds == 60
        case "unknown":
            assert isinstance(error_of(decision), RekeyOutcomeUnknown)
        case "replan":
            assert isinstance(decision, Superseded)
        case _:
            assert decision == expected


def test_a_change_that_ended_well_has_no_error() -> None:
    assert error_of_change("prod-a", change()) is None


def test_a_change_that_ended_badly_names_the_key_and_the_clusters_own_error() -> None:
    error = error_of_change("prod-a", change(job_error=BROKEN))
    assert error
    assert error.what == "Key key-1 is current, but the rekey that made it ended with xAssumed: Out of entropy."


@given(st.booleans(), st.none() | jobs, keys, st.sampled_from([None, 7, 8]), demands, moments)
def test_our_rekey_never_counts_as_ended_without_a_change_of_keys(
    seen_handle: bool,  # noqa: FBT001 - hypothesis gives it by position
    job: RekeyJob | None,
    current: MasterKey,
    listed: int | None,
    asked: Demand,
    now: datetime,
) -> None:
    followed = following(async_handle=7 if seen_handle else None)
    state = EncryptionState(enabled=True, master_key=current, rekey_async_result_id=listed)
    decision = verify(followed, looked(now, job, state), asked, SETTLING)
    if isinstance(decision, KeyChanged):
        assert decision.change.new_key == current
        assert current.key_id != followed.baseline_key.key_id
        assert decision.change.job_seconds is not None
        assert decision.change.job_seconds >= 0
        if job and not job.error:
            assert job.complete
            assert job.new_key is None or job.new_key.key_id == current.key_id
            assert job.new_key or listed in (None, followed.async_handle)
            assert asked.of_kind(current)


def test_a_job_is_measured_by_its_own_times_and_not_by_when_we_met_it() -> None:
    new = key("key-1", NOW - 2 * MINUTE)
    job = replace(done(new, key()), create_time=NOW - 10 * MINUTE, last_update_time=NOW - MINUTE)
    met = following(since=NOW - 5 * MINUTE)
    decision = verify(met, looked(NOW, job, EncryptionState(enabled=True, master_key=new)), demand(), SETTLING)
    assert isinstance(decision, KeyChanged)
    assert decision.change.job_seconds == 9 * 60


@pytest.mark.parametrize(
    ("job", "state"),
    [
        (None, EncryptionState(enabled=True, master_key=key())),
        (done(None, None, error=BROKEN), EncryptionState(enabled=True, master_key=key())),
        (done(None, None, error=BROKEN), EncryptionState(enabled=True, master_key=key(), rekey_async_result_id=8)),
    ],
    ids=["its result is gone", "it failed", "it failed and another one runs"],
)
def test_whoever_looks_again_says_why(job: RekeyJob | None, state: EncryptionState) -> None:
    stale = following(ours=False, since=NOW - DAY)
    decision = verify(stale, looked(NOW, job, state), demand(), SETTLING)
    assert isinstance(decision, Superseded)
    expected = "The rekey's result is gone and the old key is still current"
    assert decision.why.startswith("The rekey ended with xAssumed: Out of entropy." if job else expected)

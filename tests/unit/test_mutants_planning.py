"""What changes to the planning code went unnoticed by the tests of its rules: docs/mutation.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from element_rekey.cluster import ClusterFault, ElementError, EncryptionState, RekeyJob
from element_rekey.errors import ClusterFaultsBlock, ClusterIdentityChanged, EncryptionDisabled
from element_rekey.records import ClusterMemory
from element_rekey.rules.decisions import KeyChanged, Refuse, Superseded
from element_rekey.rules.plan import plan
from element_rekey.rules.preflight import FAULTS_BLOCKING_ALWAYS
from element_rekey.rules.verify import StatusSeen, verify
from tests.fakes import NOW
from tests.unit.samples import DAY, MINUTE, UUID, demand, done, external, following, key, seen

SETTLING = timedelta(minutes=2)
FAILED = ElementError("xAssumed", "Out of entropy.")


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ALWAYS))
def test_what_always_blocks_blocks_where_the_key_is_an_external_one(code: str) -> None:
    verdict = plan(demand(urgent=True), seen(external(), faults=(ClusterFault(code),)))
    assert isinstance(verdict, Refuse)
    assert isinstance(verdict.error, ClusterFaultsBlock)
    assert code in verdict.error.what


def test_a_stranger_is_refused_by_both_names() -> None:
    verdict = plan(demand(), seen(uuid="uuid-of-prod-b", memory=ClusterMemory(UUID)))
    assert isinstance(verdict, Refuse)
    assert isinstance(verdict.error, ClusterIdentityChanged)
    assert verdict.error.what == f"The address answers as cluster uuid-of-prod-b; remembered is {UUID}."


def test_disabled_encryption_is_refused_in_words() -> None:
    verdict = plan(demand(), seen(enabled=False))
    assert isinstance(verdict, Refuse)
    assert isinstance(verdict.error, EncryptionDisabled)
    assert verdict.error.what == "Software encryption at rest is not enabled."


def test_a_job_is_measured_by_its_own_times_and_not_by_when_we_met_it() -> None:
    new = key("key-1", NOW - 2 * MINUTE)
    job = replace(done(new, key()), create_time=NOW - 10 * MINUTE, last_update_time=NOW - MINUTE)
    met = following(since=NOW - 5 * MINUTE)
    verdict = verify(met, StatusSeen(NOW, job, EncryptionState(enabled=True, master_key=new)), demand(), SETTLING)
    assert isinstance(verdict, KeyChanged)
    assert verdict.change.job_seconds == 9 * 60


@pytest.mark.parametrize(
    ("job", "state"),
    [
        (None, EncryptionState(enabled=True, master_key=key())),
        (done(None, None, error=FAILED), EncryptionState(enabled=True, master_key=key())),
        (done(None, None, error=FAILED), EncryptionState(enabled=True, master_key=key(), rekey_async_result_id=8)),
    ],
    ids=["its result is gone", "it failed", "it failed and another one runs"],
)
def test_whoever_looks_again_says_why(job: RekeyJob | None, state: EncryptionState) -> None:
    stale = following(ours=False, since=NOW - DAY)
    verdict = verify(stale, StatusSeen(NOW, job, state), demand(), SETTLING)
    assert isinstance(verdict, Superseded)
    expected = "The rekey's result is gone and the old key is still current"
    assert verdict.why.startswith("The rekey ended with xAssumed: Out of entropy." if job else expected)

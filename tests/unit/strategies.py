from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from element_rekey.cluster import ClusterFault, EncryptionState, KeyManagementType, RekeyJob
from element_rekey.records import ClusterMemory, EarlierKey
from element_rekey.rules.demand import Demand
from tests.fakes import NOW
from tests.unit.samples import BROKEN, DAY, UUID, intent, key, seen

spans = st.timedeltas(-30 * DAY, 30 * DAY)
moments = spans.map(lambda span: NOW + span)
ids = st.sampled_from(["key-0", "key-1", "key-2"])
kinds = st.sampled_from([(KeyManagementType.INTERNAL, None), (KeyManagementType.EXTERNAL, 15)])
keys = st.builds(lambda key_id, kind, made: key(key_id, made, kind[0], kind[1]), ids, kinds, st.none() | moments)
jobs = st.builds(
    RekeyJob,
    st.just(7),
    complete=st.booleans(),
    create_time=st.none() | moments,
    last_update_time=st.none() | moments,
    phase=st.just(""),
    new_key=st.none() | keys,
    key_to_decommission=st.none() | keys,
    error=st.none() | st.just(BROKEN),
)


memories = st.none() | st.builds(
    ClusterMemory,
    st.sampled_from([UUID, "another"]),
    ids,
    st.none() | moments,
    st.none() | moments,
    st.none() | moments,
    st.none() | moments,
    earlier_keys=st.lists(st.builds(EarlierKey, ids, st.none() | moments, st.none() | moments), max_size=2).map(tuple),
    reported_error_of=st.none() | st.sampled_from([6, 7]),
)


states = st.builds(
    lambda current, enabled, handle, job, memory, pending, codes: replace(
        seen(enabled=enabled, handle=handle, job=job if handle else None, memory=memory, pending=pending),
        encryption=EncryptionState(enabled, current, handle),
        faults=tuple(ClusterFault(code) for code in codes),
    ),
    st.none() | keys,
    st.sampled_from([True, True, True, False]),
    st.none() | st.just(7),
    st.none() | jobs,
    memories,
    st.sampled_from(["", "", "12.9.1"]),
    st.lists(st.sampled_from(["upgrade", "nodeOffline", "driveWearFault"]), max_size=2),
)


demands = st.builds(
    lambda kind, **members: Demand(
        cluster="prod-a",
        key_management_type=kind[0] if kind else None,
        key_provider_id=kind[1] if kind else None,
        **members,
    ),
    st.none() | kinds,
    made_after=moments,
    needs_age=st.booleans(),
    cool_down=st.timedeltas(timedelta(), 10 * DAY),
    urgent=st.booleans(),
    ignore_faults=st.sets(st.sampled_from(["upgrade", "nodeOffline"])).map(frozenset),
    accept_cluster_uuid=st.sampled_from(["", UUID]),
)


intents = st.builds(
    lambda handle, sent, attempts: intent(baseline_async_result_id=handle, sent_at=sent, attempts=attempts),
    st.none() | st.sampled_from([6, 7]),
    moments,
    st.integers(1, 3),
)

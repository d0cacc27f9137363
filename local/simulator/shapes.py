"""The JSON shapes of Element answers, made from the state of a cluster (NetApp Element API reference)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from local.simulator.certificates import of_key_server
from local.simulator.rekey import PHASE_ENDS, Rekey
from local.simulator.spec import version_pair

if TYPE_CHECKING:
    from datetime import datetime

    from local.simulator.assumptions import Assumptions, ResultShape
    from local.simulator.rekey import MasterKey
    from local.simulator.spec import ProviderSpec
    from local.simulator.state import CloneResult, ClusterFault, ClusterState

# fmt: off
_RELEASES: Final = (
    "1.0", "2.0", "3.0", "4.0", "5.0", "5.1", "6.0", "7.0", "7.1", "7.2", "7.3", "7.4", "8.0", "8.1", "8.2", "8.3",
    "8.4", "8.5", "8.6", "8.7", "9.0", "9.1", "9.2", "9.3", "9.4", "9.5", "9.6", "10.0", "10.1", "10.2", "10.3",
    "10.4", "10.5", "10.6", "11.0", "11.1", "11.3", "11.5", "11.7", "11.8", "12.0", "12.2", "12.3", "12.5", "12.7",
    "12.8", "12.9",
)
# fmt: on

_NODE_FAULTS: Final = frozenset(
    {"nodeOffline", "nodeMaintenanceMode", "clockSkewExceedsFaultThreshold", "duplicateClusterMasterCandidates"}
)
_SERVICE_FAULTS: Final = frozenset({"serviceNotRunning", "unresponsiveService", "exception"})
_WARNINGS: Final = frozenset(
    {"sslCertificateExpiration", "authenticationServiceFault", "ntpServerUnreachable", "ntpTimeNotInSync", "upgrade"}
)


def supported_versions(api_version: str) -> list[str]:
    """The endpoint versions of a cluster of this API version, its own last."""
    own = version_pair(api_version)
    return [one for one in _RELEASES if version_pair(one) < own] + [api_version]


def api(state: ClusterState, endpoint: str, names: list[str]) -> dict[str, object]:
    """GetAPI: the methods of the endpoint asked, and the versions there are, as strings."""
    version = state.spec.api_version
    odd = ["12", "12.3.1", 12.3] if state.assumptions.served_versions == "odd" else []
    return {endpoint: names, "currentVersion": version, "supportedVersions": [*supported_versions(version), *odd]}


def cluster_info(state: ClusterState) -> dict[str, object]:
    """GetClusterInfo."""
    spec = state.spec
    info = {
        "attributes": {},
        "defaultProtectionScheme": "doubleHelix",
        "enabledProtectionSchemes": ["doubleHelix"],
        "encryptionAtRestState": "disabled",
        "ensemble": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
        "mvip": spec.host,
        "mvipInterface": "MVIP",
        "mvipNodeID": state.mvip_node_id,
        "mvipVlanTag": "0",
        "name": spec.name,
        "repCount": 2,
        "softwareEncryptionAtRestState": _enabled(state),
        "supportedProtectionSchemes": ["doubleHelix"],
        "svip": "10.0.1.1",
        "svipInterface": "SVIP",
        "svipNodeID": state.mvip_node_id,
        "svipVlanTag": "0",
        "uniqueID": state.unique_id,
        "uuid": state.uuid,
    }
    return {"clusterInfo": info}


def version_info(state: ClusterState) -> dict[str, object]:
    """GetClusterVersionInfo; pendingClusterVersion only while an upgrade is staged or running."""
    release = f"{state.spec.api_version}.0.958"
    pending = state.pending_version
    node = {"nodeInternalRevision": "BuildType=Release", "nodeVersion": release}
    answer: dict[str, object] = {
        "clusterAPIVersion": state.spec.api_version,
        "clusterVersion": release,
        "clusterVersionInfo": [{"nodeID": number} | node for number in (1, 2, 3, 4)],
        "softwareVersionInfo": {
            "currentVersion": release,
            "nodeID": 0,
            "packageName": f"solidfire-rtfi-{pending}" if pending else "",
            "pendingVersion": pending or release,
            "startTime": "",
        },
    }
    if pending:
        answer["pendingClusterVersion"] = pending
    return answer


def software_encryption(state: ClusterState) -> dict[str, object]:
    """GetSoftwareEncryptionAtRestInfo; rekeyMasterKeyAsyncResultID until the latest rekey's result is removed."""
    answer: dict[str, object] = {"state": _enabled(state), "version": state.version}
    if not state.spec.encryption_enabled:
        return answer
    key = state.current_key()
    created = state.timestamp(key.created + state.key_time_skew)
    answer["masterKeyInfo"] = _key(state, key) | {"keyCreatedTime": created}
    if state.latest_handle is not None or state.assumptions.no_rekey != "absent":
        none = 0 if state.assumptions.no_rekey == "zero" else None
        answer["rekeyMasterKeyAsyncResultID"] = none if state.latest_handle is None else state.latest_handle
    return answer


def _key(state: ClusterState, key: MasterKey) -> dict[str, object]:
    """A key as answers show it."""
    return key.reference() | {"keyManagementType": key.management.spelt(state.assumptions.management_case)}


def _enabled(state: ClusterState) -> str:
    return "enabled" if state.spec.encryption_enabled else "disabled"


def async_result(state: ClusterState, result: CloneResult | Rekey) -> dict[str, object]:
    """GetAsyncResult: `details` while running, then either `result` or `error` (which has no code here)."""
    if not isinstance(result, Rekey):
        return {
            "createTime": state.timestamp(result.finished - timedelta(seconds=5)),
            "lastUpdateTime": state.timestamp(result.finished),
            "result": {"cloneID": result.handle, "message": "Clone complete.", "volumeID": result.volume_id},
            "resultType": "Clone",
            "status": "complete",
        }
    now = state.now()
    answer: dict[str, object] = {
        "createTime": state.timestamp(result.begun),
        "lastUpdateTime": state.timestamp(_last_update(state, result)),
        "resultType": state.assumptions.result_type,
    }
    if not result.finished(now):
        return answer | {"status": "running", "details": {"state": result.phase(now).value}}
    if result.fails_in is not None:
        return answer | {"status": "complete", "error": {"name": result.error_name, "message": result.error_message}}
    outcome = {
        "keyToDecommission": _key(state, result.old),
        "newKey": _key(state, result.new),
        "operation": result.operation(state.assumptions.same_type_operation),
        state.assumptions.result_state_member: result.phase(now).value,
    }
    shapes: dict[ResultShape, object] = {
        "object": outcome,
        "text": json.dumps(outcome),
        "words": "The master key was replaced.",
        "empty": {},
    }
    shape = state.assumptions.result_shape
    return answer | {"status": "complete"} | ({"result": shapes[shape]} if shape in shapes else {})


def async_handle(state: ClusterState, result: CloneResult | Rekey) -> dict[str, object]:
    """One entry of ListAsyncResults."""
    if not isinstance(result, Rekey):
        return {
            "asyncResultID": result.handle,
            "completed": True,
            "createTime": state.timestamp(result.finished - timedelta(seconds=5)),
            "data": {"cloneID": result.handle, "message": "Clone complete.", "volumeID": result.volume_id},
            "lastUpdateTime": state.timestamp(result.finished),
            "resultType": "Clone",
            "success": True,
        }
    finished = result.finished(state.now())
    return {
        "asyncResultID": result.handle,
        "completed": finished,
        "createTime": state.timestamp(result.begun),
        "data": {},
        "lastUpdateTime": state.timestamp(_last_update(state, result)),
        "resultType": state.assumptions.result_type,
        "success": finished and result.fails_in is None,
    }


def _last_update(state: ClusterState, rekey: Rekey) -> datetime:
    """When the rekey last moved on: its begin, the end of a phase, or its end."""
    now = min(state.now(), rekey.ends)
    steps = [rekey.begun + timedelta(seconds=rekey.seconds * share) for share in PHASE_ENDS.values()]
    return max([rekey.begun, *(step for step in steps if step <= now)])


def cluster_fault(state: ClusterState, fault: ClusterFault) -> dict[str, object]:
    """One fault of ListClusterFaults; resolvedDate is an empty text while it is open."""
    kind = "node" if fault.code in _NODE_FAULTS else "service" if fault.code in _SERVICE_FAULTS else "cluster"
    return {
        "blocksUpgrade": False,
        "clusterFaultID": fault.fault_id,
        "code": fault.code,
        "data": None,
        "date": state.timestamp(fault.since),
        "details": f"Simulated fault {fault.code}.",
        "driveID": 0,
        "driveIDs": [],
        "externalSource": "",
        "networkInterface": "",
        "nodeHardwareFaultID": 0,
        "nodeID": 2 if kind == "node" else 0,
        "resolved": fault.resolved is not None,
        "resolvedDate": state.timestamp(fault.resolved) if fault.resolved else "",
        "serviceID": 7 if kind == "service" else 0,
        "severity": "warning" if fault.code in _WARNINGS else "error",
        "type": kind,
    }


def provider(state: ClusterState, one: ProviderSpec) -> dict[str, object]:
    """One keyProviderKmip: active while keys made through it are outstanding."""
    return {
        "keyProviderID": one.provider_id,
        "keyProviderIsActive": state.provider_is_active(one.provider_id),
        "keyProviderName": one.name,
        "keyServerIDs": [] if one.server_id is None else [one.server_id],
        "kmipCapabilities": "SSL",
    }


def servers(state: ClusterState) -> list[dict[str, object]]:
    """All keyServerKmip; one that no provider has bears nulls."""
    assigned = [
        _server(state, one.server_id, one.hostname, one.provider_id, one.certificate_days)
        for one in state.spec.providers
        if one.server_id is not None
    ]
    spare = [_server(state, number, f"kms-{number}.example.com", None, 365) for number in state.spec.unassigned_servers]
    return assigned + spare


def _server(
    state: ClusterState, server_id: int, hostname: str, provider_id: int | None, days: int
) -> dict[str, object]:
    return {
        "keyProviderID": provider_id,
        "keyServerID": server_id,
        "kmipAssignedProviderIsActive": None if provider_id is None else state.provider_is_active(provider_id),
        "kmipCaCertificate": of_key_server(f"authority of {hostname}", state.begun, 3650),
        "kmipClientCertificate": of_key_server(f"{state.spec.name} at {hostname}", state.begun, days),
        "kmipKeyServerHostnames": [hostname],
        "kmipKeyServerName": f"key-server-{server_id}",
        "kmipKeyServerPort": 5696,
    }


def as_assumed(value: Any, assumptions: Assumptions) -> Any:  # noqa: ANN401 - JSON
    """A result with the names of its members and its numbers in the form assumed."""
    if isinstance(value, dict):
        case = assumptions.member_case
        spelt = {name: name.lower() if case == "lower" else name.upper() if case == "upper" else name for name in value}
        return {spelt[name]: as_assumed(inner, assumptions) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_assumed(inner, assumptions) for inner in value]
    number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if number and assumptions.numbers == "texts" else value

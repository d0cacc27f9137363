"""The Element API methods the simulator has: since when, for whom, with which parameters, and what they answer.

Only shapes are made here; what is true of the cluster is asked of its state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from local.simulator import shapes
from local.simulator.errors import RpcError
from local.simulator.names import MethodName
from local.simulator.parameters import Kind, Parameter, Parameters
from local.simulator.rekey import Rekey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.simulator.state import ClusterState

ANYONE: Final = frozenset({"*"})
"""Access for every cluster administrator account, whatever its access types."""

DOCUMENTED_RESULT_TYPES: Final = frozenset({"DriveAdd", "BulkVolume", "Clone", "DriveRemoval", "RtfiPendingNode"})


@dataclass(frozen=True)
class Caller:
    """Who calls, and on which endpoint version."""

    username: str
    role: str
    version: str


@dataclass(frozen=True)
class Method:
    """One method. `access` holds the access types that may call it beside administrator, who may call all."""

    name: MethodName
    since: tuple[int, int]
    access: frozenset[str]
    parameters: tuple[Parameter, ...]
    answer: Callable[[ClusterState, Caller, Parameters], dict[str, object]]

    def permits(self, role: str) -> bool:
        """Whether an account with this access type may call it."""
        return role == "administrator" or role in self.access or self.access is ANYONE


def _get_api(state: ClusterState, caller: Caller, _: Parameters) -> dict[str, object]:
    return shapes.api(state, caller.version, sorted(one.name for one in available(caller.version)))


def _get_cluster_info(state: ClusterState, _: Caller, __: Parameters) -> dict[str, object]:
    return shapes.cluster_info(state)


def _get_cluster_version_info(state: ClusterState, _: Caller, __: Parameters) -> dict[str, object]:
    return shapes.version_info(state)


def _get_master_node(state: ClusterState, _: Caller, __: Parameters) -> dict[str, object]:
    return {"nodeID": state.mvip_node_id}


def _get_current_admin(_: ClusterState, caller: Caller, __: Parameters) -> dict[str, object]:
    admin = {
        "access": [caller.role],
        "attributes": {},
        "authMethod": "Cluster",
        "clusterAdminID": 2,
        "username": caller.username,
    }
    return {"clusterAdmin": admin}


def _get_drive_encryption(_: ClusterState, __: Caller, ___: Parameters) -> dict[str, object]:
    # Encryption of the drives is another feature with another key; here it is always off.
    return {"state": "disabled"}


def _get_software_encryption(state: ClusterState, _: Caller, __: Parameters) -> dict[str, object]:
    return shapes.software_encryption(state)


def _rekey(state: ClusterState, caller: Caller, given: Parameters) -> dict[str, object]:
    handle = state.start_rekey(caller.username, given.management("keyManagementType"), given.integer("keyProviderID"))
    return {"asyncHandle": handle}


def _get_async_result(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    handle = given.required_integer("asyncHandle")
    result = state.result(handle)
    answer = shapes.async_result(state, result)
    finished = not isinstance(result, Rekey) or result.finished(state.now())
    # Reading a finished result removes it, unless asked to keep it; reading a running one removes nothing.
    if finished and not given.boolean("keepResult"):
        state.forget_result(handle)
    return answer


def _list_async_results(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    wanted = given.any("asyncResultTypes")
    types = None if wanted is None else {str(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
    if types is not None and state.assumptions.unknown_result_type == "xUnrecognizedEnumString":
        for one in sorted(types - DOCUMENTED_RESULT_TYPES):
            raise RpcError("xUnrecognizedEnumString", one)
    handles = [shapes.async_handle(state, one) for one in state.results()]
    if types is not None:
        # The rekey's type is not among the documented filter values, so no filter finds a rekey.
        handles = [one for one in handles if one["resultType"] in types & DOCUMENTED_RESULT_TYPES]
    return {"asyncHandles": handles}


def _list_cluster_faults(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    wanted = given.text("faultTypes") or "all"
    if wanted not in {"all", "current", "resolved"}:
        raise RpcError("xUnrecognizedEnumString", wanted)
    faults = [one for one in state.fault_list() if wanted == "all" or (one.resolved is None) == (wanted == "current")]
    return {"faults": [shapes.cluster_fault(state, one) for one in faults]}


def _list_providers(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    active, served = given.boolean("keyProviderIsActive"), given.boolean("kmipKeyProviderHasServerAssigned")
    found = [
        shapes.provider(state, one)
        for one in state.spec.providers
        if active in {None, state.provider_is_active(one.provider_id)} and served in {None, one.server_id is not None}
    ]
    return {"kmipKeyProviders": found}


def _get_provider(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    return {"kmipKeyProvider": shapes.provider(state, state.provider(given.required_integer("keyProviderID")))}


def _list_servers(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    provider_id, active = given.integer("keyProviderID"), given.boolean("kmipAssignedProviderIsActive")
    assigned = given.boolean("kmipHasProviderAssigned")
    found = [
        one
        for one in shapes.servers(state)
        if provider_id in {None, one["keyProviderID"]}
        and active in {None, one["kmipAssignedProviderIsActive"]}
        and assigned in {None, one["keyProviderID"] is not None}
    ]
    return {"kmipKeyServers": found}


def _test_provider(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    provider = state.provider(given.required_integer("keyProviderID"))
    if provider.server_id is None:
        raise RpcError(
            state.assumptions.provider_without_server_error, f"Key provider {provider.provider_id} has no key server."
        )
    if provider.trouble:
        raise state.provider_error(provider)
    return {}


def _test_server(state: ClusterState, _: Caller, given: Parameters) -> dict[str, object]:
    server_id = given.required_integer("keyServerID")
    if server_id in state.spec.unassigned_servers:
        return {}
    provider = next((one for one in state.spec.providers if one.server_id == server_id), None)
    if provider is None:
        raise RpcError(state.assumptions.unknown_server_error, f"Key server {server_id} does not exist.")
    if provider.trouble:
        raise state.provider_error(provider)
    return {}


_REPORTING = frozenset({"reporting"})
_MASTER_NODE = frozenset({"reporting", "clusterAdmin"})
_RESULTS = frozenset({"read", "write"})
_ADMINISTRATOR_ONLY: frozenset[str] = frozenset()
_FLAG, _INT = Kind.BOOLEAN, Kind.INTEGER
_PROVIDER_ID = Parameter("keyProviderID", _INT)
_THE_PROVIDER_ID = Parameter("keyProviderID", _INT, required=True)

_TABLE = (
    Method(MethodName.GET_API, (1, 0), ANYONE, (), _get_api),
    Method(MethodName.GET_CLUSTER_INFO, (1, 0), _REPORTING, (), _get_cluster_info),
    Method(MethodName.GET_CLUSTER_VERSION_INFO, (1, 0), ANYONE, (), _get_cluster_version_info),
    Method(MethodName.GET_CLUSTER_MASTER_NODE_ID, (1, 0), _MASTER_NODE, (), _get_master_node),
    Method(MethodName.GET_CURRENT_CLUSTER_ADMIN, (6, 0), ANYONE, (), _get_current_admin),
    Method(MethodName.GET_ENCRYPTION_AT_REST_INFO, (12, 3), _ADMINISTRATOR_ONLY, (), _get_drive_encryption),
    Method(MethodName.GET_SOFTWARE_ENCRYPTION_AT_REST_INFO, (12, 3), _ADMINISTRATOR_ONLY, (), _get_software_encryption),
    Method(
        MethodName.REKEY,
        (12, 3),
        _ADMINISTRATOR_ONLY,
        (Parameter("keyManagementType", Kind.MANAGEMENT), _PROVIDER_ID),
        _rekey,
    ),
    Method(
        MethodName.GET_ASYNC_RESULT,
        (1, 0),
        _RESULTS,
        (Parameter("asyncHandle", _INT, required=True), Parameter("keepResult", _FLAG)),
        _get_async_result,
    ),
    Method(
        MethodName.LIST_ASYNC_RESULTS,
        (9, 0),
        _ADMINISTRATOR_ONLY,
        (Parameter("asyncResultTypes", Kind.ANY),),
        _list_async_results,
    ),
    Method(
        MethodName.LIST_CLUSTER_FAULTS,
        (1, 0),
        _REPORTING,
        (Parameter("faultTypes", Kind.STRING), Parameter("bestPractices", _FLAG)),
        _list_cluster_faults,
    ),
    Method(
        MethodName.LIST_KEY_PROVIDERS,
        (11, 7),
        _ADMINISTRATOR_ONLY,
        (Parameter("keyProviderIsActive", _FLAG), Parameter("kmipKeyProviderHasServerAssigned", _FLAG)),
        _list_providers,
    ),
    Method(MethodName.GET_KEY_PROVIDER, (11, 7), _ADMINISTRATOR_ONLY, (_THE_PROVIDER_ID,), _get_provider),
    Method(MethodName.TEST_KEY_PROVIDER, (11, 7), _ADMINISTRATOR_ONLY, (_THE_PROVIDER_ID,), _test_provider),
    Method(
        MethodName.LIST_KEY_SERVERS,
        (11, 7),
        _ADMINISTRATOR_ONLY,
        (
            _PROVIDER_ID,
            Parameter("kmipAssignedProviderIsActive", _FLAG),
            Parameter("kmipHasProviderAssigned", _FLAG),
        ),
        _list_servers,
    ),
    Method(
        MethodName.TEST_KEY_SERVER,
        (11, 7),
        _ADMINISTRATOR_ONLY,
        (Parameter("keyServerID", _INT, required=True),),
        _test_server,
    ),
)

METHODS: Final[Mapping[str, Method]] = {method.name.casefold(): method for method in _TABLE}
"""By case-folded name: Element looks methods up without regard to case."""


def available(version: str) -> tuple[Method, ...]:
    """The methods an endpoint of this version has."""
    major, minor = (int(part) for part in version.split("."))
    return tuple(method for method in _TABLE if method.since <= (major, minor))

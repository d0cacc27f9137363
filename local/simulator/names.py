"""The names of the methods, below everything that needs one: what a method does stands in `methods`."""

from __future__ import annotations

from enum import StrEnum


class MethodName(StrEnum):
    """Every Element API method the simulator has."""

    GET_API = "GetAPI"
    GET_CLUSTER_INFO = "GetClusterInfo"
    GET_CLUSTER_VERSION_INFO = "GetClusterVersionInfo"
    GET_CLUSTER_MASTER_NODE_ID = "GetClusterMasterNodeID"
    GET_CURRENT_CLUSTER_ADMIN = "GetCurrentClusterAdmin"
    GET_ENCRYPTION_AT_REST_INFO = "GetEncryptionAtRestInfo"
    GET_SOFTWARE_ENCRYPTION_AT_REST_INFO = "GetSoftwareEncryptionAtRestInfo"
    REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
    GET_ASYNC_RESULT = "GetAsyncResult"
    LIST_ASYNC_RESULTS = "ListAsyncResults"
    LIST_CLUSTER_FAULTS = "ListClusterFaults"
    LIST_KEY_PROVIDERS = "ListKeyProvidersKmip"
    GET_KEY_PROVIDER = "GetKeyProviderKmip"
    TEST_KEY_PROVIDER = "TestKeyProviderKmip"
    LIST_KEY_SERVERS = "ListKeyServersKmip"
    TEST_KEY_SERVER = "TestKeyServerKmip"

    @classmethod
    def from_text(cls, text: str) -> MethodName | None:
        """The method of this name, if there is one: Element looks methods up without regard to case."""
        return next((name for name in cls if name.casefold() == text.casefold()), None)

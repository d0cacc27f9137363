from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey import errors
from element_rekey.cluster import (
    CertificateOf,
    ClusterFault,
    ClusterIdentity,
    ClusterVersion,
    ElementError,
    EncryptionState,
    KeyManagementType,
    KeyProvider,
    MasterKey,
    RekeyJob,
    Unfamiliar,
)
from element_rekey.element.client import ElementApi
from element_rekey.records import Registration
from local.simulator.certificates import of_key_server
from tests.unit.element.conftest import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.element.conftest import Connect
    from tests.unit.element.tls_server import Exchange, TlsServer


REKEY = "RekeySoftwareEncryptionAtRestMasterKey"


def answering(result: object, **members: object) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.result(result, **members)


def failing(name: str, message: str = "") -> Callable[[Exchange], None]:
    return lambda exchange: exchange.error(name, message)


OLD = {"keyID": "OLD", "keyManagementType": "Internal"}
METHODS: dict[str, Callable[[ElementApi], object]] = {
    "GetClusterInfo": ElementApi.identity,
    "GetClusterVersionInfo": ElementApi.version,
    "GetSoftwareEncryptionAtRestInfo": ElementApi.encryption,
    "ListClusterFaults": ElementApi.faults,
    "ListKeyProvidersKmip": ElementApi.key_providers,
    "TestKeyProviderKmip": lambda api: api.test_key_provider(2),
    "GetAsyncResult": lambda api: api.rekey_job(7),
    REKEY: lambda api: api.rekey(None, None),
}


def answered(text: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(text.encode())


def answering_with(result: object) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.result(result)


def refusing(name: str, message: str = "m") -> Callable[[Exchange], None]:
    return lambda exchange: exchange.error(name, message)


# --- GetAPI ---


@pytest.mark.parametrize(
    ("registered", "current"), [("12.3", "12.3"), ("12.3", "12.10"), ("12.10", "12.10"), ("12.5", "13.0")]
)
def test_api_version_is_served(server: TlsServer, connect: Connect, registered: str, current: str) -> None:
    server.script = [answering({"currentVersion": current, "supportedVersions": ["1.0", current, registered]})]
    connect(server, api_version=registered).check_api_version()
    assert server.seen[0].path == "/json-rpc/1.0"
    assert server.seen[0].body == {"method": "GetAPI", "params": {}, "id": 1}


@pytest.mark.parametrize(
    ("registered", "current", "served", "says"),
    [
        ("12.3", "11.8", ["1.0", "11.8"], "11.8, older than 12.3"),
        ("12.3", "9.10", ["9.10"], "9.10, older than 12.3"),
        ("12.2", "12.10", ["12.2", "12.10"], "apiVersion 12.2 is older than 12.3"),
        ("12.10", "12.9", ["12.1", "12.9"], "does not serve apiVersion 12.10"),
    ],
)
def test_api_version_is_not_served(
    server: TlsServer, connect: Connect, registered: str, current: str, served: list[str], says: str
) -> None:
    server.script = [answering({"currentVersion": current, "supportedVersions": served})]
    with pytest.raises(errors.ApiVersionUnsupported, match=says):
        connect(server, api_version=registered).check_api_version()


@pytest.mark.parametrize(
    "result",
    [
        {"supportedVersions": ["12.3"]},
        {"currentVersion": 12.3, "supportedVersions": ["12.3"]},
        {"currentVersion": "12", "supportedVersions": ["12.3"]},
        {"currentVersion": "12.9", "supportedVersions": ["12.3.1", "12", 12.3, None, {}, "latest", " 12.3 "]},
        {"currentVersion": "9.1", "supportedVersions": ["12.3"]},
    ],
)
def test_what_is_no_version_in_the_list_of_versions_is_passed_over(
    server: TlsServer, api: ElementApi, result: object
) -> None:
    server.script = [answering(result)]
    api.check_api_version()
    assert server.methods == ["GetAPI"]


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"currentVersion": "12.3"},
        {"currentVersion": "12.9", "supportedVersions": "all"},
        {"supportedVersions": [12]},
    ],
)
def test_a_list_of_versions_in_which_nothing_is_understood_stands_in_nobodys_way(
    server: TlsServer, api: ElementApi, result: object
) -> None:
    server.script = [answering(result)]
    api.check_api_version()
    assert server.methods == ["GetAPI"]


@pytest.mark.parametrize("result", [{"supportedVersions": ["1.0", "11.8", "?"]}, {"currentVersion": "11.8"}])
def test_an_old_cluster_is_refused_as_one_however_little_it_says(
    server: TlsServer, api: ElementApi, result: object
) -> None:
    server.script = [answering(result)]
    with pytest.raises(errors.ApiVersionUnsupported, match=r"11\.8, older than 12\.3"):
        api.check_api_version()


# --- the reads ---


def test_identity(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering({"clusterInfo": {"uuid": "u-1", "name": "A", "mvipNodeID": 3, "svip": "10.0.0.1"}})]
    assert api.identity() == ClusterIdentity("u-1", "A")
    assert server.methods == ["GetClusterInfo"]
    assert server.seen[0].path == "/json-rpc/12.3"


@pytest.mark.parametrize("name", [{}, {"name": None}, {"name": 5}, {"name": "", "mvipNodeID": "x"}])
def test_a_cluster_without_a_name_is_known_by_its_uuid(
    server: TlsServer, api: ElementApi, name: dict[str, Any]
) -> None:
    server.script = [answering({"clusterInfo": {"uuid": "u-1", **name}})]
    assert api.identity() == ClusterIdentity("u-1")


@pytest.mark.parametrize(
    ("result", "member"),
    [
        ({}, "clusterInfo"),
        ({"clusterInfo": []}, "clusterInfo"),
        ({"clusterInfo": {"name": "A"}}, "uuid"),
        ({"clusterInfo": {"uuid": "", "name": "A"}}, "uuid"),
        ({"clusterInfo": {"uuid": 5}}, "uuid"),
    ],
)
def test_an_unusable_member_is_named(server: TlsServer, api: ElementApi, result: object, member: str) -> None:
    server.script = [answering(result)]
    with pytest.raises(errors.AnswerNotUnderstood, match=f"GetClusterInfo.*: {member} is not"):
        api.identity()


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        ({}, ""),
        ({"pendingClusterVersion": None}, ""),
        ({"pendingClusterVersion": ""}, ""),
        ({"pendingClusterVersion": "13"}, "13"),
        ({"PENDINGCLUSTERVERSION": "13"}, "13"),
        ({"pendingClusterVersion": 12.5}, "12.5"),
        ({"pendingClusterVersion": {"version": "12.5"}}, '{"version": "12.5"}'),
    ],
)
def test_version(server: TlsServer, api: ElementApi, pending: dict[str, Any], expected: str) -> None:
    server.script = [answering({"clusterVersion": "12.9.0.33", "clusterAPIVersion": "12.9"} | pending)]
    assert api.version() == ClusterVersion(expected)
    assert server.methods == ["GetClusterVersionInfo"]


def test_encryption(server: TlsServer, api: ElementApi) -> None:
    key = {"keyID": "ABCD-1", "keyManagementType": "external", "keyProviderID": "15", "keyCreatedTime": "2026-01-02Z"}
    server.script = [
        answering({"state": "enabled", "version": 1, "masterKeyInfo": key, "rekeyMasterKeyAsyncResultID": 7})
    ]
    assert api.encryption() == EncryptionState(
        enabled=True,
        master_key=MasterKey("abcd-1", KeyManagementType.EXTERNAL, 15),
        rekey_async_result_id=7,
        unfamiliar=(Unfamiliar("GetSoftwareEncryptionAtRestInfo.masterKeyInfo.keyCreatedTime", '"2026-01-02Z"'),),
    )
    assert server.methods == ["GetSoftwareEncryptionAtRestInfo"]


@pytest.mark.parametrize("result", [{"state": "disabled"}, {"status": "Disabled", "masterKeyInfo": None}])
def test_encryption_disabled(server: TlsServer, api: ElementApi, result: object) -> None:
    server.script = [answering(result)]
    assert api.encryption() == EncryptionState(enabled=False)


@pytest.mark.parametrize(
    ("result", "member"),
    [
        ({"state": "enabled", "masterKeyInfo": "x"}, "masterKeyInfo"),
        ({"state": "enabled", "masterKeyInfo": {"keyManagementType": "internal"}}, "keyID"),
        ({"state": "enabled", "masterKeyInfo": {"keyID": 5}}, "keyID"),
        ({"state": "enabled", "masterKeyInfo": {"keyID": "\u200b"}}, "keyID"),
        ({"state": "enabled", "masterKeyInfo": {"KEYID": "a", "keyid": "b"}}, "keyID"),
    ],
)
def test_a_key_that_cannot_be_told_from_others_is_no_key(
    server: TlsServer, api: ElementApi, result: object, member: str
) -> None:
    server.script = [answering(result)]
    with pytest.raises(errors.AnswerNotUnderstood, match=f": {member} is not"):
        api.encryption()


INFO = "GetSoftwareEncryptionAtRestInfo"


@pytest.mark.parametrize(
    ("key", "expected", "noted"),
    [
        ({}, MasterKey("k", None), ()),
        ({"keyManagementType": "borrowed"}, MasterKey("k", None), ("keyManagementType",)),
        ({"keyManagementType": 1}, MasterKey("k", None), ("keyManagementType",)),
        ({"keyProviderID": 3}, MasterKey("k", KeyManagementType.EXTERNAL, 3), ()),
        ({"keyManagementType": "internal", "keyProviderID": 0}, MasterKey("k", KeyManagementType.INTERNAL), ()),
        ({"keyManagementType": "INTERNAL", "keyProviderID": None}, MasterKey("k", KeyManagementType.INTERNAL), ()),
        ({"keyManagementType": "external", "keyProviderID": 3.0}, MasterKey("k", KeyManagementType.EXTERNAL, 3), ()),
        (
            {"keyManagementType": "external", "keyProviderID": [3]},
            MasterKey("k", KeyManagementType.EXTERNAL),
            ("keyProviderID",),
        ),
        (
            {"keyManagementType": "internal", "keyCreatedTime": 5},
            MasterKey("k", KeyManagementType.INTERNAL),
            ("keyCreatedTime",),
        ),
    ],
)
def test_of_a_key_only_its_id_has_to_be_known(
    server: TlsServer, api: ElementApi, key: dict[str, Any], expected: MasterKey, noted: tuple[str, ...]
) -> None:
    server.script = [answering({"state": "enabled", "masterKeyInfo": {"keyID": "K"} | key})]
    seen = api.encryption()
    assert seen.master_key == expected
    assert [one.member for one in seen.unfamiliar] == [f"{INFO}.masterKeyInfo.{member}" for member in noted]


@pytest.mark.parametrize(
    ("state", "enabled", "noted"),
    [
        ({"state": "ENABLED"}, True, False),
        ({}, True, False),
        ({"state": None}, True, False),
        ({"state": 1}, True, True),
        ({"state": "enabling"}, None, True),
        ({"state": "disabled"}, False, False),
    ],
)
def test_a_cluster_with_a_key_need_not_say_that_it_encrypts(
    server: TlsServer, api: ElementApi, state: dict[str, Any], *, enabled: bool | None, noted: bool
) -> None:
    server.script = [answering(state | {"masterKeyInfo": OLD})]
    seen = api.encryption()
    assert (seen.enabled, bool(seen.unfamiliar)) == (enabled, noted)


def test_a_cluster_that_says_neither_has_no_encryption_that_we_know_of(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering({})]
    assert api.encryption() == EncryptionState(enabled=None)


@pytest.mark.parametrize(
    ("listed", "handle", "unclear"),
    [
        (None, None, False),
        ("", None, False),
        (-1, None, False),
        (0, 0, False),
        ("7", 7, False),
        (7.0, 7, False),
        (7.5, None, True),
        ("1" * 19, None, True),
        ("seven", None, True),
        ({"id": 7}, None, True),
    ],
)
def test_what_is_listed_as_the_latest_rekey_is_a_number_or_none_or_unclear(
    server: TlsServer, api: ElementApi, listed: object, handle: int | None, *, unclear: bool
) -> None:
    server.script = [answering({"state": "enabled", "masterKeyInfo": OLD, "rekeyMasterKeyAsyncResultID": listed})]
    seen = api.encryption()
    assert (seen.rekey_async_result_id, seen.handle_unclear) == (handle, unclear)
    assert (
        unclear == any(one.member == f"{INFO}.rekeyMasterKeyAsyncResultID" for one in seen.unfamiliar) or listed == -1
    )


def test_letter_case_and_type_of_members_do_not_matter(server: TlsServer, api: ElementApi) -> None:
    server.script = [
        answered('{"ID": "1", "RESULT": {"ClusterInfo": "{\\"UUID\\": \\"u-1\\"}"}}'),
        answered('{"id": "2", "result": "{\\"faults\\": \\"[]\\"}"}'),
        answered('{"id": "3", "result": null, "error": "{\\"name\\": \\"xNew\\"}"}'),
        answered('{"id": "4", "Result": {"AsyncHandle": "7"}, "error": {}}'),
    ]
    assert api.identity() == ClusterIdentity("u-1")
    assert api.faults() == ()
    with pytest.raises(errors.ElementApiError, match="xNew"):
        api.identity()
    assert api.rekey(None, None) == 7


def test_faults(server: TlsServer, api: ElementApi) -> None:
    faults = [
        {"code": "nodeOffline", "severity": "error", "details": "Node 3\nis   offline.", "resolved": False},
        {"code": "upgrade", "severity": "bestPractice"},
    ]
    server.script = [answering({"faults": faults}), answering({"faults": []})]
    assert api.faults() == (
        ClusterFault("nodeOffline"),
        ClusterFault("upgrade", only_warns=True),
    )
    assert server.seen[0].body["params"] == {"faultTypes": "current", "bestPractices": False}
    assert api.faults() == ()


@pytest.mark.parametrize(
    ("severity", "warns"),
    [
        ("warning", True),
        ("Warning", True),
        ("bestPractice", True),
        ("error", False),
        ("critical", False),
        ("grave", False),
        (1, False),
        (None, False),
    ],
)
def test_a_fault_only_warns_where_it_says_so(
    server: TlsServer, api: ElementApi, severity: object, *, warns: bool
) -> None:
    server.script = [answering({"faults": [{"code": "nodeOffline", "severity": severity}]})]
    assert api.faults() == (ClusterFault("nodeOffline", only_warns=warns),)


@pytest.mark.parametrize(
    ("running", "expected"), [("12.5.0.897", ""), ("12.3.0.958", "12.5.0.897"), (None, "12.5.0.897")]
)
def test_what_is_pending_and_runs_already_is_no_upgrade(
    server: TlsServer, api: ElementApi, running: str | None, expected: str
) -> None:
    server.script = [answering({"clusterVersion": running, "pendingClusterVersion": "12.5.0.897"})]
    assert api.version() == ClusterVersion(expected)


@pytest.mark.parametrize("faults", [None, {}, [5], [{"severity": "error"}]])
def test_missing_faults_are_not_taken_for_none(server: TlsServer, api: ElementApi, faults: object) -> None:
    server.script = [answering({"faults": faults})]
    with pytest.raises(errors.AnswerNotUnderstood):
        api.faults()


def test_key_providers(server: TlsServer, api: ElementApi) -> None:
    providers = [
        {"keyProviderID": 1, "keyProviderName": "kms", "keyServerIDs": [4, "5"], "keyProviderIsActive": True},
        {"keyProviderID": 2, "keyServerIDs": None},
    ]
    server.script = [answering({"kmipKeyProviders": providers})]
    assert api.key_providers() == (KeyProvider(1, (4, 5)), KeyProvider(2))
    assert server.methods == ["ListKeyProvidersKmip"]


def test_the_certificates_of_key_servers_are_those_of_one_provider(server: TlsServer, api: ElementApi) -> None:
    end = datetime(2027, 1, 2, tzinfo=UTC)
    client, authority = of_key_server("prod-a", end - timedelta(days=365), 365), of_key_server("ca", end, 365)
    servers = [
        {"keyServerID": "6", "kmipCaCertificate": authority + client, "kmipClientCertificate": client},
        {"keyServerID": 7, "kmipCaCertificate": "odd", "kmipClientCertificate": None},
        {"kmipClientCertificate": client},
    ]
    server.script = [answering({"kmipKeyServers": servers}), failing("xKeyProviderDoesNotExist")]
    found = api.key_server_certificates(15)
    assert server.seen[0].body["method"] == "ListKeyServersKmip"
    assert server.seen[0].body["params"] == {"keyProviderID": 15}
    assert [(one.of, one.expires, one.key_server_id) for one in found] == [
        (CertificateOf.KEY_SERVER, end + timedelta(days=365), 6),
        (CertificateOf.KEY_SERVER, end, 6),
        (CertificateOf.KEY_SERVER_CLIENT, end, 6),
        (CertificateOf.KEY_SERVER_CLIENT, end, None),
    ]
    assert found[1].fingerprint == found[2].fingerprint != found[0].fingerprint
    with pytest.raises(errors.ElementApiError):
        api.key_server_certificates(15)


def test_key_provider_test(server: TlsServer, api: ElementApi) -> None:
    server.script = [
        answering({}),
        failing("xKmipServerUnreachable", "no\troute"),
        failing("xNotPrimary"),
        failing("xPermissionDenied"),
        lambda exchange: exchange.send(b"null"),
    ]
    assert api.test_key_provider(3) is None
    assert server.seen[0].body["method"] == "TestKeyProviderKmip"
    assert server.seen[0].body["params"] == {"keyProviderID": 3}
    assert api.test_key_provider(3) == ElementError("xKmipServerUnreachable", "no route")
    for expected in (errors.ClusterUnavailable, errors.PermissionDenied, errors.ClusterUnavailable):
        with pytest.raises(expected):
            api.test_key_provider(3)


def test_a_result_is_released_by_reading_it_without_keeping_it(server: TlsServer, api: ElementApi) -> None:
    server.script = [
        answering({"status": "complete", "result": {}}),
        failing("xDBNoSuchPath"),
        failing("xAsyncHandleDoesNotExist"),
        lambda exchange: exchange.answer({"id": 4711, "result": "odd"}),
        failing("xPermissionDenied"),
        lambda exchange: exchange.reset(),
    ]
    for _ in range(4):
        api.release_result(7)
    assert server.seen[0].body["method"] == "GetAsyncResult"
    assert server.seen[0].body["params"] == {"asyncHandle": 7, "keepResult": False}
    for expected in (errors.PermissionDenied, errors.ClusterUnavailable):
        with pytest.raises(expected):
            api.release_result(7)


# --- the rekey ---


@pytest.mark.parametrize(
    ("management", "provider", "params"),
    [
        (None, None, {}),
        (KeyManagementType.INTERNAL, None, {"keyManagementType": "Internal"}),
        (KeyManagementType.EXTERNAL, 15, {"keyManagementType": "External", "keyProviderID": 15}),
    ],
)
@pytest.mark.parametrize("handle", [7, "7"])
def test_rekey(
    server: TlsServer,
    api: ElementApi,
    management: KeyManagementType | None,
    provider: int | None,
    params: object,
    handle: object,
) -> None:
    server.script = [answering({"asyncHandle": handle}, unusedParameters={})]
    assert api.rekey(management, provider) == 7
    assert server.seen[0].path == "/json-rpc/12.3"
    assert server.seen[0].body == {"method": REKEY, "params": params, "id": 1}


@pytest.mark.parametrize(("shown", "spelt"), [("internal", "external"), ("INTERNAL", "EXTERNAL"), (None, "external")])
def test_a_kind_of_management_that_the_cluster_spells_in_another_case_is_sent_once_more_as_it_spells_it(
    server: TlsServer, api: ElementApi, shown: str | None, spelt: str
) -> None:
    key = {"keyID": "k", "keyManagementType": shown}
    server.script = [
        answering({"state": "enabled", "masterKeyInfo": key}),
        failing("xUnrecognizedEnumString", "External"),
        answering({"asyncHandle": 7}),
    ]
    api.encryption()
    assert api.rekey(KeyManagementType.EXTERNAL, 15) == 7
    sent = [exchange.body["params"] for exchange in server.seen[1:]]
    assert sent == [
        {"keyManagementType": "External", "keyProviderID": 15},
        {"keyManagementType": spelt, "keyProviderID": 15},
    ]
    assert server.connections == 3


def test_a_word_that_is_refused_in_either_case_is_refused(server: TlsServer, api: ElementApi) -> None:
    server.otherwise = failing("xUnrecognizedEnumString", "External")
    with pytest.raises(errors.ElementApiError, match="xUnrecognizedEnumString"):
        api.rekey(KeyManagementType.EXTERNAL, 15)
    assert len(server.seen) == 2
    with pytest.raises(errors.ElementApiError, match="xUnrecognizedEnumString"):
        api.rekey(None, None)
    assert len(server.seen) == 3


@pytest.mark.parametrize("name", ["xInvalidParameter", "xMissingParameter", "xSomethingNew"])
def test_only_an_unknown_word_is_sent_once_more(server: TlsServer, api: ElementApi, name: str) -> None:
    server.otherwise = failing(name)
    with pytest.raises(errors.ElementApiError):
        api.rekey(KeyManagementType.EXTERNAL, 15)
    assert len(server.seen) == 1


def test_a_word_in_the_clusters_own_case_is_not_sent_again(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering({"masterKeyInfo": {"keyID": "k", "keyManagementType": "Internal"}})]
    server.otherwise = failing("xUnrecognizedEnumString", "External")
    api.encryption()
    with pytest.raises(errors.ElementApiError):
        api.rekey(KeyManagementType.EXTERNAL, 15)
    assert len(server.seen) == 2


def test_an_answer_lost_at_the_second_spelling_leaves_the_outcome_unknown(server: TlsServer, api: ElementApi) -> None:
    server.script = [failing("xUnrecognizedEnumString"), lambda exchange: exchange.reset()]
    with pytest.raises(errors.RekeyOutcomeUnknown):
        api.rekey(KeyManagementType.EXTERNAL, 15)
    assert len(server.seen) == 2


@pytest.mark.parametrize("result", [{}, {"asyncHandle": None}, {"asyncHandle": "x"}, {"asyncHandle": True}])
def test_rekey_without_a_handle(server: TlsServer, api: ElementApi, result: object) -> None:
    server.script = [answering(result)]
    with pytest.raises(errors.RekeyOutcomeUnknown, match="asyncHandle"):
        api.rekey(None, None)


def test_rekey_that_ignored_a_parameter(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering({"asyncHandle": 7}, unusedParameters={"keyProviderID": 15})]
    with pytest.raises(errors.RekeyOutcomeUnknown, match="keyProviderID"):
        api.rekey(KeyManagementType.EXTERNAL, 15)


def test_a_read_does_not_mind_an_ignored_parameter(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering({"faults": []}, unusedParameters={"bestPractices": False})]
    assert api.faults() == ()


# --- GetAsyncResult ---


NEW = {"keyID": "NEW", "keyManagementType": "external", "keyProviderID": 2}
RUNNING = {"resultType": REKEY, "status": "running", "createTime": "2026-01-02T03:04:05.5Z"}
COMPLETE = {"resultType": REKEY, "status": "complete"}


def test_job_running(server: TlsServer, api: ElementApi) -> None:
    details = {"state": "RewrapDataEncryptionKeys"}
    server.script = [answering(RUNNING | {"details": details, "lastUpdateTime": "2026-01-02T03:05:00Z"})]
    assert api.rekey_job(7) == RekeyJob(
        async_handle=7,
        complete=False,
        create_time=datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC),
        last_update_time=datetime(2026, 1, 2, 3, 5, tzinfo=UTC),
        phase="RewrapDataEncryptionKeys",
    )
    assert server.seen[0].body["method"] == "GetAsyncResult"
    assert server.seen[0].body["params"] == {"asyncHandle": 7, "keepResult": True}


@pytest.mark.parametrize(
    ("details", "noted"),
    [(None, ()), ("busy", (Unfamiliar("GetAsyncResult.details", '"busy"'),)), ({}, ()), ({"state": 5}, ())],
)
def test_job_running_without_a_phase(
    server: TlsServer, api: ElementApi, details: object, noted: tuple[Unfamiliar, ...]
) -> None:
    server.script = [answering({"resultType": REKEY, "state": "running", "details": details, "error": {"name": "x"}})]
    assert api.rekey_job(7) == RekeyJob(7, complete=False, unfamiliar=noted)


def test_job_complete(server: TlsServer, api: ElementApi) -> None:
    server.script = [
        answering(COMPLETE | {"result": {"state": "Ready", "newKey": NEW, "keyToDecommission": OLD}, "error": None})
    ]
    assert api.rekey_job(7) == RekeyJob(
        7,
        complete=True,
        new_key=MasterKey("new", KeyManagementType.EXTERNAL, 2),
        key_to_decommission=MasterKey("old", KeyManagementType.INTERNAL),
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"name": "xRekeyFailed", "message": "no\nkey", "bvID": 1}, ElementError("xRekeyFailed", "no key")),
        ({"message": "no key"}, ElementError("unnamed", "no key")),
        ("boom", ElementError("unnamed", "boom")),
        ('{"name": "xRekeyFailed"}', ElementError("xRekeyFailed")),
        (["boom"], ElementError("unnamed")),
    ],
)
def test_job_failed(server: TlsServer, api: ElementApi, error: object, expected: ElementError) -> None:
    server.script = [answering(COMPLETE | {"error": error, "result": None})]
    assert api.rekey_job(7) == RekeyJob(7, complete=True, error=expected)


@pytest.mark.parametrize("name", ["xDBNoSuchPath", "xAsyncHandleDoesNotExist"])
def test_job_unknown(server: TlsServer, api: ElementApi, name: str) -> None:
    server.script = [failing(name)]
    assert api.rekey_job(7) is None


@pytest.mark.parametrize("kind", ["Clone", "clone", "BulkVolume", "DriveAdd", "DriveRemoval", "RtfiPendingNode"])
def test_job_of_another_kind(server: TlsServer, api: ElementApi, kind: str) -> None:
    server.script = [answering({"resultType": kind, "status": "complete", "result": {"cloneID": 1}})]
    assert api.rekey_job(7) is None


@pytest.mark.parametrize("kind", ["SearRekey", "SearRekeyMasterKey", 5, None, REKEY.upper()])
def test_a_handle_is_a_rekeys_by_where_it_comes_from_and_not_by_the_name_of_its_type(
    server: TlsServer, api: ElementApi, kind: object
) -> None:
    server.script = [answering(RUNNING | {"resultType": kind})]
    job = api.rekey_job(7)
    assert job
    assert (job.async_handle, job.complete, job.understood) == (7, False, True)
    known = kind in (None, REKEY.upper())
    assert [one.member for one in job.unfamiliar] == ([] if known else ["GetAsyncResult.resultType"])


MUTE = RekeyJob(7, complete=False, understood=False)
RESULT = {"newKey": NEW, "keyToDecommission": OLD}
MADE = MasterKey("new", KeyManagementType.EXTERNAL, 2)
RETIRED = MasterKey("old", KeyManagementType.INTERNAL)
DONE = RekeyJob(7, complete=True, new_key=MADE, key_to_decommission=RETIRED)


@pytest.mark.parametrize(
    ("result", "expected", "noted"),
    [
        ({"resultType": REKEY, "result": RESULT}, DONE, ()),
        ({"status": "done", "result": RESULT}, DONE, ("status",)),
        ({"STATUS": "Complete", "Result": json.dumps(RESULT)}, DONE, ()),
        ({"status": "done", "error": {"name": "x"}}, RekeyJob(7, complete=True, error=ElementError("x")), ("status",)),
        ({"status": "complete", "error": {}, "result": RESULT}, DONE, ()),
        ({"status": "paused", "details": {"state": "Wait"}}, RekeyJob(7, complete=False, phase="Wait"), ("status",)),
        ({"status": "paused"}, MUTE, ("status",)),
        ({"status": "paused", "result": {"progress": 5}}, MUTE, ("status",)),
        ({}, MUTE, ()),
        (COMPLETE, RekeyJob(7, complete=True), ()),
        (COMPLETE | {"result": "The key was replaced."}, RekeyJob(7, complete=True), ("result",)),
        (COMPLETE | {"result": '{"newKey": '}, RekeyJob(7, complete=True), ("result",)),
        (COMPLETE | {"result": {"newKey": NEW}}, RekeyJob(7, complete=True, new_key=MADE), ()),
        (
            COMPLETE | {"result": {"newKey": "k", "keyToDecommission": OLD | {"keyID": 5}}},
            RekeyJob(7, complete=True),
            ("result.newKey", "result.keyToDecommission.keyID"),
        ),
        (
            COMPLETE | {"result": {"newKey": NEW | {"keyProviderID": "x"}}},
            RekeyJob(7, complete=True, new_key=MasterKey("new", KeyManagementType.EXTERNAL)),
            ("result.newKey.keyProviderID",),
        ),
        (RUNNING | {"createTime": 5}, RekeyJob(7, complete=False), ("createTime",)),
    ],
)
def test_what_can_be_read_of_a_job_is_used_and_the_rest_is_kept(
    server: TlsServer, api: ElementApi, result: dict[str, Any], expected: RekeyJob, noted: tuple[str, ...]
) -> None:
    server.script = [answering(result)]
    job = api.rekey_job(7)
    assert job
    assert replace(job, unfamiliar=()) == expected
    assert [one.member for one in job.unfamiliar] == [f"GetAsyncResult.{member}" for member in noted]


@pytest.mark.parametrize("name", ["xUnknownAPIMethod", "xUnknownAsyncHandle"])
def test_a_poll_that_is_refused_by_an_unfamiliar_name_leaves_the_state_to_decide(
    server: TlsServer, api: ElementApi, name: str
) -> None:
    server.script = [failing(name, "no")]
    assert api.rekey_job(7) == replace(MUTE, unfamiliar=(Unfamiliar("GetAsyncResult.error", f"{name} (no)"),))


@pytest.mark.parametrize("name", ["xPermissionDenied", "xDBConnectionLoss"])
def test_a_poll_that_can_be_repeated_is_repeated(server: TlsServer, api: ElementApi, name: str) -> None:
    server.script = [failing(name)]
    with pytest.raises((errors.PermissionDenied, errors.ClusterUnavailable)):
        api.rekey_job(7)


@pytest.mark.parametrize("answer", ['{"id": 1}', '{"id": 5, "result": {}}', '{"id": 1, "result": 5, "error": "x"}'])
def test_a_poll_answered_in_an_unfamiliar_form_leaves_the_state_to_decide(
    server: TlsServer, api: ElementApi, answer: str
) -> None:
    server.script = [answered(answer)]
    job = api.rekey_job(7)
    assert job
    assert (job.understood, job.unfamiliar[0].member) == (False, "GetAsyncResult")
    assert job.unfamiliar[0].value.startswith("GetAsyncResult was answered, but the answer ")


def test_what_is_kept_of_an_answer_is_short_and_without_our_password(server: TlsServer, api: ElementApi) -> None:
    hidden = "-" * 195 + PASSWORD
    deep: object = PASSWORD
    for _ in range(100):
        deep = {PASSWORD: [deep]}
    for odd in (hidden, [hidden] * 50, {PASSWORD: PASSWORD, "x": hidden}, {str(n): n for n in range(99)}, deep):
        server.script = [answering(COMPLETE | {"result": {"newKey": {"keyID": odd}}})]
        server.seen.clear()
        job = api.rekey_job(7)
        assert job
        if not isinstance(odd, str):
            (kept,) = job.unfamiliar
            assert kept.member == "GetAsyncResult.result.newKey.keyID"
            assert len(kept.value) <= 200
        assert PASSWORD not in repr(job)
        assert PASSWORD[:6] not in repr(job)


# --- times ---


NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)


def created(api: ElementApi) -> datetime | None:
    key = api.encryption().master_key
    assert key is not None
    return key.key_created_time


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-01-02T10:00:00Z", datetime(2026, 1, 2, 10, tzinfo=UTC)),
        ("2026-01-02T10:00:00.660275Z", datetime(2026, 1, 2, 10, 0, 0, 660_275, tzinfo=UTC)),
        ("2026-01-02T10:00:00.660275123Z", datetime(2026, 1, 2, 10, 0, 0, 660_275, tzinfo=UTC)),
        ("2026-01-02T12:30:00+02:30", datetime(2026, 1, 2, 10, tzinfo=UTC)),
        ("2026-01-02T10:00:00", datetime(2026, 1, 2, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (1767348000, None),
        (None, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("1999-12-31T23:59:59Z", None),
    ],
)
def test_time_formats(server: TlsServer, connect: Connect, stamp: object, expected: datetime | None) -> None:
    server.script = [answering({"state": "enabled", "masterKeyInfo": OLD | {"keyCreatedTime": stamp}})]
    assert created(connect(server)) == expected


@pytest.mark.parametrize(
    ("ahead", "correction"),
    [
        (timedelta(0), timedelta(0)),
        (timedelta(seconds=0.7), timedelta(0)),
        (timedelta(seconds=-0.2), timedelta(0)),
        # NOON is a quarter past the second; a header means half past it, on average.
        (timedelta(hours=1), timedelta(hours=1, seconds=0.25)),
        (timedelta(hours=-1), timedelta(hours=-1, seconds=0.25)),
    ],
)
def test_cluster_times_are_put_on_our_clock(
    server: TlsServer, connect: Connect, ahead: timedelta, correction: timedelta
) -> None:
    server.clock = lambda: NOON + ahead
    server.script = [
        answering({"state": "enabled", "masterKeyInfo": OLD | {"keyCreatedTime": "2026-01-02T11:00:00.5Z"}})
    ]
    assert (
        created(connect(server, clock=lambda: NOON)) == datetime(2026, 1, 2, 11, 0, 0, 500_000, tzinfo=UTC) - correction
    )


def test_the_last_known_offset_holds_without_a_date(server: TlsServer, connect: Connect) -> None:
    stamped = answering({"state": "enabled", "masterKeyInfo": OLD | {"keyCreatedTime": "2026-01-02T11:00:00Z"}})
    server.script = [stamped] * 3
    api = connect(server, clock=lambda: NOON)
    assert created(api) == datetime(2026, 1, 2, 11, tzinfo=UTC)
    server.clock = lambda: NOON + timedelta(hours=1)
    corrected = created(api)
    assert corrected == datetime(2026, 1, 2, 9, 59, 59, 750_000, tzinfo=UTC)
    server.clock = None
    assert created(api) == corrected


# --- every call goes to the registered version, and every refusal says which call it was ---


@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_names_the_method_that_was_sent(server: TlsServer, connect: Connect, method: str) -> None:
    server.otherwise = refusing("xPermissionDenied")
    with pytest.raises(errors.PermissionDenied) as caught:
        METHODS[method](connect(server, api_version="12.5"))
    assert caught.value.what == f"{method} was answered with xPermissionDenied (m)."
    assert caught.value.cluster == "prod-a"
    assert (server.seen[0].path, server.methods) == ("/json-rpc/12.5", [method])


def test_an_error_without_a_message_is_quoted_by_its_name_alone(server: TlsServer, api: ElementApi) -> None:
    server.otherwise = refusing("xPermissionDenied", "")
    with pytest.raises(errors.PermissionDenied, match=r"with xPermissionDenied\."):
        api.identity()


# --- every error names the cluster, and the member that made no sense ---


@pytest.mark.parametrize(
    ("call", "result", "says"),
    [
        (ElementApi.identity, {"clusterInfo": []}, "GetClusterInfo: clusterInfo is not an object, but []."),
        (ElementApi.identity, {"clusterInfo": {}}, "GetClusterInfo clusterInfo: uuid is not a text."),
        (ElementApi.faults, {}, "ListClusterFaults: faults is not a list."),
        (ElementApi.faults, {"faults": [{}]}, "ListClusterFaults faults: code is not a text."),
        (
            ElementApi.key_providers,
            {"kmipKeyProviders": [{"keyProviderID": "x"}]},
            'ListKeyProvidersKmip kmipKeyProviders: keyProviderID is not a whole number, but "x".',
        ),
        (
            ElementApi.key_providers,
            {"kmipKeyProviders": [{"keyProviderID": 1, "keyServerIDs": [None]}]},
            "ListKeyProvidersKmip kmipKeyProviders: keyServerIDs is not a list of whole numbers, but [null].",
        ),
        (
            ElementApi.encryption,
            {"masterKeyInfo": 1},
            "GetSoftwareEncryptionAtRestInfo: masterKeyInfo is not an object, but 1.",
        ),
    ],
)
def test_half_an_answer_is_reported_by_cluster_method_and_member(
    server: TlsServer, api: ElementApi, call: Callable[[ElementApi], object], result: object, says: str
) -> None:
    server.script = [answering_with(result)]
    with pytest.raises(errors.AnswerNotUnderstood) as caught:
        call(api)
    assert (caught.value.what, caught.value.cluster) == (says, "prod-a")


def test_an_unsupported_version_names_the_cluster(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering_with({"currentVersion": "11.8", "supportedVersions": ["11.8"]})]
    with pytest.raises(errors.ApiVersionUnsupported) as caught:
        api.check_api_version()
    assert caught.value.cluster == "prod-a"


def test_credentials_longer_than_anybody_has_are_refused(server: TlsServer, connect: Connect) -> None:
    for username, password in (("x" * 501, "secret"), ("admin", "x" * 501)):
        with pytest.raises(errors.RegistrationInvalid, match="must have at most 500 characters"):
            connect(server, username=username, password=password)


def test_a_wrong_registered_version_names_the_cluster(server: TlsServer, connect: Connect) -> None:
    with pytest.raises(errors.RegistrationInvalid, match=r"^Cluster prod-a: apiVersion must be"):
        connect(server, api_version="12")


def test_a_registration_changed_meanwhile_names_the_cluster(
    server: TlsServer, connect: Connect, ca_bundle: str
) -> None:
    server.otherwise = lambda exchange: exchange.send(b"", status=401)
    fresh = Registration(server.mvip, "admin", "new", ca_bundle=ca_bundle, api_version="12.5")
    with pytest.raises(errors.ClusterUnavailable, match=r"^Cluster prod-a: The registration changed"):
        connect(server, refresh=lambda: fresh).identity()


# --- odd but good answers ---


def test_zero_is_a_number_like_any_other(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering_with({"asyncHandle": 0})]
    assert api.rekey(None, None) == 0


def test_a_job_that_is_done_is_in_no_phase(server: TlsServer, api: ElementApi) -> None:
    job = {"resultType": REKEY, "status": "complete", "details": {"state": "Done"}, "error": {"name": "x"}}
    server.script = [answering_with(job)]
    done = api.rekey_job(7)
    assert done
    assert (done.complete, done.phase) == (True, "")

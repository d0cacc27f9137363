"""What changes to the client's code went unnoticed by the tests beside this one: docs/mutation.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from element_rekey import errors
from element_rekey.element.client import ElementApi
from element_rekey.records import Registration

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.element_api.conftest import Connect
    from tests.unit.element_api.tls_server import Exchange, TlsServer

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
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


def answering(result: object) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.result(result)


def answered(text: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(text.encode())


def status(number: int) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(b"", status=number)


def refusing(name: str, message: str = "m") -> Callable[[Exchange], None]:
    return lambda exchange: exchange.error(name, message)


# --- every call goes to the registered version, and every refusal says which call it was


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


# --- every error names the cluster, and the member that made no sense


@pytest.mark.parametrize(
    ("call", "result", "says"),
    [
        (ElementApi.identity, {"clusterInfo": []}, "GetClusterInfo: clusterInfo is not an object."),
        (ElementApi.identity, {"clusterInfo": {}}, "GetClusterInfo clusterInfo: uuid is not a text."),
        (ElementApi.faults, {}, "ListClusterFaults: faults is not a list."),
        (ElementApi.faults, {"faults": [{}]}, "ListClusterFaults faults: code is not a text."),
        (
            ElementApi.key_providers,
            {"kmipKeyProviders": [{"keyProviderID": "x"}]},
            "ListKeyProvidersKmip kmipKeyProviders: keyProviderID is not a whole number.",
        ),
        (
            ElementApi.key_providers,
            {"kmipKeyProviders": [{"keyProviderID": 1, "keyServerIDs": [None]}]},
            "ListKeyProvidersKmip kmipKeyProviders: keyServerIDs is not a whole number.",
        ),
        (
            ElementApi.encryption,
            {"state": "maybe"},
            "GetSoftwareEncryptionAtRestInfo: state is not disabled or enabled.",
        ),
        (ElementApi.check_api_version, {"currentVersion": 12}, "GetAPI: currentVersion is not a version."),
    ],
)
def test_half_an_answer_is_reported_by_cluster_method_and_member(
    server: TlsServer, api: ElementApi, call: Callable[[ElementApi], object], result: object, says: str
) -> None:
    server.script = [answering(result)]
    with pytest.raises(errors.ClusterUnavailable) as caught:
        call(api)
    assert (caught.value.what, caught.value.cluster) == (says, "prod-a")


def test_an_unsupported_version_names_the_cluster(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering({"currentVersion": "11.8", "supportedVersions": ["11.8"]})]
    with pytest.raises(errors.ApiVersionUnsupported) as caught:
        api.check_api_version()
    assert caught.value.cluster == "prod-a"


def test_a_wrong_registered_version_names_the_cluster(server: TlsServer, connect: Connect) -> None:
    with pytest.raises(errors.RegistrationInvalid, match=r"^Cluster prod-a: apiVersion must be"):
        connect(server, api_version="12")


def test_a_registration_changed_meanwhile_names_the_cluster(
    server: TlsServer, connect: Connect, ca_bundle: str
) -> None:
    server.otherwise = status(401)
    fresh = Registration(server.mvip, "admin", "new", ca_bundle=ca_bundle, api_version="12.5")
    with pytest.raises(errors.ClusterUnavailable, match=r"^Cluster prod-a: The registration changed"):
        connect(server, refresh=lambda: fresh).identity()


# --- why an answer is of no use


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (status(503), "the answer is HTTP 503"),
        (answered("<p>"), "the answer is no JSON"),
        (answered("[]"), "the answer is no JSON object"),
        (answered('{"id": 99, "result": {}}'), "the answer is one to another call"),
        (answered('{"id": 1}'), "the answer (HTTP 200) holds neither a result nor an error with a name"),
        (answering({}), "the answer has no asyncHandle"),
        (
            refusing("xDBConnectionLoss"),
            "the answer is xDBConnectionLoss (m), which can come after the change was made",
        ),
    ],
)
def test_an_unknown_outcome_says_why(
    server: TlsServer, api: ElementApi, behaviour: Callable[[Exchange], None], why: str
) -> None:
    server.script = [behaviour]
    with pytest.raises(errors.RekeyOutcomeUnknown) as caught:
        api.rekey(None, None)
    assert caught.value.what == f"{REKEY} was sent, but {why}."


@pytest.mark.parametrize(
    ("number", "says"),
    [(401, f"{REKEY} was answered with HTTP 401."), (404, "HTTP 404: /json-rpc/12.3 is not served there.")],
)
def test_a_call_that_was_not_looked_at_says_why(server: TlsServer, api: ElementApi, number: int, says: str) -> None:
    server.script = [status(number)]
    with pytest.raises(errors.ElementRekeyError) as caught:
        api.rekey(None, None)
    assert caught.value.what == says


# --- odd but good answers


def test_zero_is_a_number_like_any_other(server: TlsServer, api: ElementApi) -> None:
    server.script = [answering({"asyncHandle": 0})]
    assert api.rekey(None, None) == 0


def test_a_job_that_is_done_is_in_no_phase(server: TlsServer, api: ElementApi) -> None:
    job = {"resultType": REKEY, "status": "complete", "details": {"state": "Done"}, "error": {"name": "x"}}
    server.script = [answering(job)]
    done = api.rekey_job(7)
    assert done
    assert (done.complete, done.phase) == (True, "")

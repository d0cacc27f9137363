"""The Element JSON-RPC API, as far as a rotation needs it, for one cluster.

The one call that changes something is kept apart from all others: only ``rekey`` may raise RekeyOutcomeUnknown, and
whatever else it raises, short of RekeyRefused, certainly changed nothing. Nothing is sent twice in here, with two
exceptions, both after a refusal that came before anything was done: HTTP 401, with a username or password that has
changed since, and a word that the cluster knows in other letter case.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from element_rekey.cluster import (
    Certificate,
    CertificateOf,
    ClusterFault,
    ClusterIdentity,
    ClusterVersion,
    ElementError,
    EncryptionState,
    KeyManagementType,
    KeyProvider,
    RekeyJob,
    Unfamiliar,
)
from element_rekey.errors import (
    AnswerNotUnderstood,
    ApiVersionUnsupported,
    ClusterUnavailable,
    CredentialsRefused,
    ElementApiError,
    ElementRekeyError,
    KeyProviderUnusable,
    PermissionDenied,
    RegistrationInvalid,
    RekeyOutcomeUnknown,
    RekeyRefused,
)

from .answers import (
    Answer,
    AnswerUnfamiliar,
    Json,
    MethodError,
    as_object,
    describe_error,
    dotted,
    member_of,
    method_error,
    parse_answer,
    parse_version,
    says_something,
    whole_number,
)
from .certificates import expires, fingerprint, from_pem
from .redaction import Redaction
from .transport import AnswerLate, AnswerUnusable, Timeouts, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from element_rekey.records import Registration

    from .transport import HttpAnswer

_FIRST_VERSION: Final = (12, 3)  # the first with RekeySoftwareEncryptionAtRestMasterKey
_OLDEST_ENDPOINT: Final = "1.0"  # every cluster serves it; a newer one than the cluster knows is a 404
_DEFAULT_TIMEOUTS: Final = Timeouts()
_REKEY: Final = "RekeySoftwareEncryptionAtRestMasterKey"  # the method, and the resultType of its jobs
_LONGEST_CREDENTIAL: Final = 500  # characters; Element takes fewer, and each is looked for in whatever is quoted

# Passing troubles of the cluster's database and services. The vendor's guide says to retry xDBVersionMismatch; the
# others are what NetApp's OpenStack driver and test automation retry under load, master changes and upgrades.
# Some of them are known to come although the change was made (xDBConnectionLoss).
_TRANSIENT: Final = frozenset(
    {
        "xDBClosing",
        "xDBConnectionLoss",
        "xDBInvalidState",
        "xDBNoServerResponse",
        "xDBNoSuchPath",
        "xDBOperationTimeout",
        "xDBSessionExpired",
        "xDBSessionMoved",
        "xDBVersionMismatch",
        "xNoHandler",
        "xNotPrimary",
        "xNotReadyForIO",
        "xRecvTimeout",
        "xRpcTimeout",
        "xSliceNotRegistered",
    }
)
_UNKNOWN_WORD: Final = "xUnrecognizedEnumString"
# Said by the API's front, which looks at method, parameters and account before anything is done.
_NOT_DISPATCHED: Final = frozenset(
    {
        "xInvalidAPIParameter",
        "xInvalidParameter",
        "xInvalidParameterType",
        "xMissingParameter",
        "xUnknownAPIMethod",
        "xUnknownAPIVersion",
        "xUnknownRPCMethod",
        "xUnknownUsername",
        _UNKNOWN_WORD,
    }
)
_ONLY_WARNS: Final = ("warning", "bestpractice")  # severities of faults
_UNKNOWN_HANDLE: Final = frozenset({"xDBNoSuchPath", "xAsyncHandleDoesNotExist"})  # older and newer releases
# The documented types of asynchronous results (ListAsyncResults), in lower case; none of them is a rekey.
_OTHER_OPERATIONS: Final = frozenset({"bulkvolume", "clone", "driveadd", "driveremoval", "rtfipendingnode"})
_KEY_SERVER_CERTIFICATES: Final = {
    "kmipCaCertificate": CertificateOf.KEY_SERVER,
    "kmipClientCertificate": CertificateOf.KEY_SERVER_CLIENT,
}
_PERMISSION_DENIED: Final = "xPermissionDenied"


def _read_job(async_handle: int, job: Answer) -> RekeyJob:
    """What an answer says of a rekey. Without a status that we know, an error or a new key shows that it is over."""
    status = job.word(("status", "state"), ("running", "complete"))
    failed = status != "running" and job.has("error")
    outcome = job.optional_child("result") if status != "running" and not failed else None
    new_key = outcome.evident_key("newKey") if outcome else None
    complete = status == "complete" or failed or new_key is not None
    return RekeyJob(
        async_handle=async_handle,
        complete=complete,
        create_time=job.time("createTime"),
        last_update_time=job.time("lastUpdateTime"),
        phase="" if complete else job.optional_child("details").words("state"),
        new_key=new_key,
        key_to_decommission=outcome.evident_key("keyToDecommission") if outcome else None,
        error=job.error("error") if failed else None,
        understood=complete or status == "running" or job.has("details"),
        unfamiliar=tuple(job.notes),
    )


def _mute_job(async_handle: int, unfamiliar: Unfamiliar) -> RekeyJob:
    """A job of which the cluster says nothing that we understand."""
    return RekeyJob(async_handle, complete=False, understood=False, unfamiliar=(unfamiliar,))


class ElementApi:
    """One registered cluster, as ``ports.ElementCluster`` describes it."""

    def __init__(
        self,
        cluster: str,
        registration: Registration,
        *,
        refresh: Callable[[], Registration],
        clock: Callable[[], datetime],
        timeouts: Timeouts = _DEFAULT_TIMEOUTS,
    ) -> None:
        """Prepare, without connecting.

        Args:
            cluster: the registered name, for messages.
            registration: where the cluster is and how to trust it.
            refresh: reads the registration again; called after HTTP 401 only.
            clock: the current time, aware.
            timeouts: seconds for each request.

        Raises:
            RegistrationInvalid: a member of the registration makes no sense.
        """
        self._cluster = cluster
        self._refresh = refresh
        self._clock = clock
        self._timeouts = timeouts
        self._ids = itertools.count(1)
        self._clock_offset = timedelta(0)  # how far the cluster's clock is ahead of ours
        self._management_word = ""  # for the kind of its key, as the cluster spells it
        self._adopt(registration)

    def close(self) -> None:
        """Drop the kept-alive connection."""
        self._transport.close()

    def check_api_version(self) -> None:
        """``GetAPI``, for one question: is the registered version served? Raises ApiVersionUnsupported where not.

        Entries that are no version are passed over. A list in which nothing is understood answers nothing, and stands
        in nobody's way: a version that is not served is a 404 to the next call.
        """
        api = self._call("GetAPI", endpoint=_OLDEST_ENDPOINT)
        served = set(filter(None, map(parse_version, api.optional_items("supportedVersions"))))
        current = parse_version(api.text("currentVersion")) or max(served, default=None)
        if self._version < _FIRST_VERSION:
            what = f"The registered apiVersion {dotted(self._version)} is older than {dotted(_FIRST_VERSION)}."
        elif self._version in served or current is None:
            return
        elif current < _FIRST_VERSION:
            what = f"The cluster's Element API is {dotted(current)}, older than {dotted(_FIRST_VERSION)}."
        elif served:
            what = f"The cluster (Element API {dotted(current)}) does not serve apiVersion {dotted(self._version)}."
        else:
            return
        raise ApiVersionUnsupported(what, cluster=self._cluster)

    def identity(self) -> ClusterIdentity:
        """``GetClusterInfo``."""
        info = self._call("GetClusterInfo").child("clusterInfo")
        return ClusterIdentity(uuid=info.identifier("uuid"), name=info.words("name"))

    def version(self) -> ClusterVersion:
        """``GetClusterVersionInfo``. What is pending and runs already is no upgrade."""
        info = self._call("GetClusterVersionInfo")
        pending = info.anything("pendingClusterVersion")
        runs_already = pending == info.anything("clusterVersion")
        return ClusterVersion(pending_cluster_version="" if runs_already else pending)

    def encryption(self) -> EncryptionState:
        """``GetSoftwareEncryptionAtRestInfo``; the key's time corrected to our clock.

        A cluster that has a master key uses it, so ``state`` need not be there; a word for it that we do not know is
        another matter. What is listed as the latest rekey and is below 0 means none.
        """
        info = self._call("GetSoftwareEncryptionAtRestInfo")
        word = info.word(("state", "status"), ("disabled", "enabled"))
        key = info.key("masterKeyInfo") if info.has("masterKeyInfo") else None
        self._management_word = info.optional_child("masterKeyInfo").text("keyManagementType") if key else ""
        unsaid = key is not None and not (info.text("state") or info.text("status"))
        listed = "rekeyMasterKeyAsyncResultID"
        handle = info.optional_integer(listed)
        return EncryptionState(
            enabled=True if unsaid else None if word is None else word == "enabled",
            master_key=key,
            rekey_async_result_id=handle,
            handle_unclear=handle is None and info.has(listed) and not info.is_negative(listed),
            unfamiliar=tuple(info.notes),
        )

    def rekey(self, key_management_type: KeyManagementType | None, key_provider_id: int | None) -> int:
        """``RekeySoftwareEncryptionAtRestMasterKey``; returns the ``asyncHandle``. The only call that changes anything.

        Sent on a connection made for it, so that a failure to connect means that nothing was sent. An answer with
        ``unusedParameters`` means that a rekey has begun, but not the one asked for: that too is RekeyOutcomeUnknown,
        so that the job is found by observation and followed, and then fails the proof that type and provider are as
        asked.

        Raises:
            RekeyOutcomeUnknown: it may have been applied.
            RekeyRefused: answered with an error that is no transient one.
            ElementRekeyError: any other class: certainly nothing changed.
        """
        params: Json = {}
        if key_management_type is not None:
            params["keyManagementType"] = key_management_type.value
        if key_provider_id is not None:
            params["keyProviderID"] = key_provider_id
        answer = self._send_rekey(params)
        if isinstance(answer, MethodError):
            if answer.name in _TRANSIENT:
                raise self._outcome_unknown(
                    f"the answer is {describe_error(answer.quoted)}, which can come after the change was made"
                )
            if answer.name == _PERMISSION_DENIED or answer.name in _NOT_DISPATCHED:
                raise self._refusal(_REKEY, answer)
            what = f"{_REKEY} was answered with {describe_error(answer.quoted)}."
            raise RekeyRefused(what, cluster=self._cluster, name=answer.quoted.name)
        unused = member_of(answer, "unusedParameters")
        if unused:
            named = ", ".join(name for name in params if isinstance(unused, dict) and name in unused)
            raise self._outcome_unknown(f"the cluster began a rekey without these parameters: {named or 'unnamed'}")
        async_handle = whole_number(member_of(answer["result"], "asyncHandle"))
        if async_handle is None:
            raise self._outcome_unknown("the answer has no asyncHandle")
        return async_handle

    def _send_rekey(self, params: Json) -> Json | MethodError:
        """Send the rekey; again where the cluster knows the kind of management by the same word in other letter case.

        That is said by the API's front, before anything is done. Raises RekeyOutcomeUnknown.
        """
        version, spelt = self._registration.api_version, self._as_the_cluster_spells(params)
        try:
            answer = self._exchange(_REKEY, params, version, fresh_connection=True)
            if isinstance(answer, MethodError) and answer.name == _UNKNOWN_WORD and spelt != params:
                answer = self._exchange(_REKEY, spelt, version, fresh_connection=True)
        except AnswerUnusable as error:
            raise self._outcome_unknown(str(error)) from None
        return answer

    def _as_the_cluster_spells(self, params: Json) -> Json:
        """The parameters with the kind of management in the case of the cluster's own word for its key's."""
        kind = params.get("keyManagementType")
        if kind is None:
            return params
        word = self._management_word or kind.lower()  # all published answers are in lower case
        spelt = kind.upper() if word.isupper() else kind.lower() if word.islower() else kind
        return params | {"keyManagementType": spelt}

    def rekey_job(self, async_handle: int) -> RekeyJob | None:
        """``GetAsyncResult`` with ``keepResult: true``, since without it the first reader of a result deletes it.

        None when the cluster does not know the handle, or knows it as one of the other operations there are. Where the
        handle comes from counts, not the name of its type: the cluster gave or listed it as a rekey's. An answer that
        says nothing is no reason to stop either; the cluster's state decides then.
        """
        try:
            job = self._ask("GetAsyncResult", {"asyncHandle": async_handle, "keepResult": True})
        except AnswerNotUnderstood as error:
            return _mute_job(async_handle, Unfamiliar("GetAsyncResult", error.what))
        if isinstance(job, MethodError):
            if job.name in _UNKNOWN_HANDLE:
                return None
            refusal = self._refusal("GetAsyncResult", job)
            if isinstance(refusal, ElementApiError):
                return _mute_job(async_handle, Unfamiliar("GetAsyncResult.error", describe_error(job.quoted)))
            raise refusal
        kind = job.text("resultType").strip().lower()
        if kind in _OTHER_OPERATIONS:
            return None
        if kind != _REKEY.lower():
            job.note("resultType", job.source.get("resultType"))
        return _read_job(async_handle, job)

    def release_result(self, async_handle: int) -> None:
        """``GetAsyncResult`` without ``keepResult``: the cluster gives up the result of a finished job.

        That an answer came is enough: its form, and a handle that is unknown by now, do not matter.
        """
        try:
            answer = self._ask("GetAsyncResult", {"asyncHandle": async_handle, "keepResult": False})
        except AnswerNotUnderstood:
            return
        if isinstance(answer, MethodError) and answer.name not in _UNKNOWN_HANDLE:
            raise self._refusal("GetAsyncResult", answer)

    def faults(self) -> tuple[ClusterFault, ...]:
        """``ListClusterFaults`` of the current faults."""
        answer = self._call("ListClusterFaults", {"faultTypes": "current", "bestPractices": False})
        return tuple(
            ClusterFault(fault.known_word("code"), fault.word(("severity",), _ONLY_WARNS) is not None)
            for fault in answer.children("faults")
        )

    def key_providers(self) -> tuple[KeyProvider, ...]:
        """``ListKeyProvidersKmip``."""
        return tuple(
            KeyProvider(
                key_provider_id=provider.integer("keyProviderID"),
                key_server_ids=provider.integers("keyServerIDs"),
            )
            for provider in self._call("ListKeyProvidersKmip").children("kmipKeyProviders")
        )

    def certificate(self) -> Certificate | None:
        """The certificate that the cluster presented last; None before the first call. It is no call by itself."""
        presented = self._transport.presented
        if not presented:
            return None
        return Certificate(CertificateOf.CLUSTER, fingerprint(presented), expires(presented))

    def key_server_certificates(self, key_provider_id: int) -> tuple[Certificate, ...]:
        """``ListKeyServersKmip`` of one provider: the certificates between the cluster and its key servers.

        https://docs.netapp.com/us-en/element-software/api/reference_element_api_listkeyserverskmip.html
        """
        servers = self._call("ListKeyServersKmip", {"keyProviderID": key_provider_id}).children("kmipKeyServers")
        return tuple(
            Certificate(of, fingerprint(der), expires(der), server.optional_integer("keyServerID"))
            for server in servers
            for member, of in _KEY_SERVER_CERTIFICATES.items()
            for der in from_pem(server.text(member))
        )

    def test_key_provider(self, key_provider_id: int) -> ElementError | None:
        """``TestKeyProviderKmip``; None when the test passed, else the error it answered with.

        The cluster contacts every host name of the key server, which may take long: hence a time-out of its own, and
        one that says something of the provider, not of the cluster. Raises KeyProviderUnusable then.
        """
        patience = self._timeouts.provider_test
        try:
            answer = self._ask("TestKeyProviderKmip", {"keyProviderID": key_provider_id}, patience=patience)
        except AnswerLate:
            what = f"TestKeyProviderKmip of KMIP key provider {key_provider_id} got no whole answer within {patience:g}"
            raise KeyProviderUnusable(f"{what} seconds.", cluster=self._cluster) from None
        if not isinstance(answer, MethodError):
            return None
        refusal = self._refusal("TestKeyProviderKmip", answer)
        if isinstance(refusal, ElementApiError):
            return answer.quoted
        raise refusal

    def _call(self, method: str, params: Json | None = None, *, endpoint: str = "") -> Answer:
        """Call a method that changes nothing, and of which every error is one."""
        answer = self._ask(method, params, endpoint=endpoint)
        if isinstance(answer, MethodError):
            raise self._refusal(method, answer)
        return answer

    def _ask(
        self, method: str, params: Json | None = None, *, endpoint: str = "", patience: float | None = None
    ) -> Answer | MethodError:
        """Call a method that changes nothing: whatever is unusable about its answer, it can be called again.

        Raises AnswerLate where a call that has its own ``patience``, in seconds, used it up: it knows what that means.
        """
        endpoint = endpoint or self._registration.api_version
        try:
            answer = self._exchange(method, params or {}, endpoint, patience=patience)
        except AnswerUnfamiliar as error:
            raise AnswerNotUnderstood(f"{method} was answered, but {error}.", cluster=self._cluster) from None
        except AnswerUnusable as error:
            if patience and isinstance(error, AnswerLate):
                raise
            raise ClusterUnavailable(f"{method} got no usable answer: {error}.", cluster=self._cluster) from None
        if isinstance(answer, MethodError):
            return answer
        return Answer(answer["result"], method, self._cluster, self._clock_offset, self._quote)

    def _exchange(
        self,
        method: str,
        params: Json,
        endpoint: str,
        *,
        fresh_connection: bool = False,
        patience: float | None = None,
    ) -> Json | MethodError:
        """Send one call; returns the whole answer, whose ``result`` is an object, or the error it holds.

        Raises:
            AnswerUnusable: the call may have arrived.
            ElementRekeyError: the call was certainly not looked at.
        """
        path = f"/json-rpc/{endpoint}"
        call = {"method": method, "params": params, "id": next(self._ids)}

        def post() -> HttpAnswer:
            body = json.dumps(call).encode()
            return self._transport.post(path, body, fresh_connection=fresh_connection, patience=patience)

        http = post()
        if http.status == HTTPStatus.UNAUTHORIZED and self._renew():
            call["id"] = next(self._ids)
            http = post()
        if http.status == HTTPStatus.UNAUTHORIZED:
            raise CredentialsRefused(f"{method} was answered with HTTP 401.", cluster=self._cluster)
        if http.clock_offset is not None:
            self._clock_offset = http.clock_offset
        if http.status == HTTPStatus.NOT_FOUND:
            raise ClusterUnavailable(f"HTTP 404: {path} is not served there.", cluster=self._cluster)
        # 500 is also the code of every Element error, and a server may well put it into the status line.
        if http.status not in {HTTPStatus.OK, HTTPStatus.INTERNAL_SERVER_ERROR}:
            raise AnswerUnusable(f"the answer is HTTP {http.status}")
        answer = parse_answer(call["id"], http.body)
        result, error = as_object(member_of(answer, "result")), member_of(answer, "error")
        if result is not None and not says_something(error) and http.status == HTTPStatus.OK:
            return answer | {"result": result}
        failed = method_error(error, self._quote) if result is None else None
        if failed:
            return failed
        holds = f"the answer (HTTP {http.status}) holds neither a result nor an error with a name"
        raise AnswerUnfamiliar(holds) if http.status == HTTPStatus.OK else AnswerUnusable(holds)

    def _renew(self) -> bool:
        """Read the registration again; whether it has another username or password to try.

        A registration that changed in more than these may mean another cluster, while what was observed so far is of
        the old one. It is never used here, whoever goes on after this error: the step must begin anew, and connect
        anew. Raises ClusterUnavailable then.
        """
        known, fresh = self._registration, self._refresh()
        if fresh == known:
            return False
        if replace(fresh, username=known.username, password=known.password) != known:
            what = "The registration changed while it was in use; nothing was sent to what is registered now."
            raise ClusterUnavailable(what, cluster=self._cluster)
        self._adopt(fresh)
        return True

    def _adopt(self, registration: Registration) -> None:
        """Use a registration from now on. Raises RegistrationInvalid, and then keeps the one before."""
        version = parse_version(registration.api_version)
        if version is None:
            what = "apiVersion must be two numbers with a dot between them, such as 12.3."
            raise RegistrationInvalid(what, cluster=self._cluster)
        if max(len(registration.username), len(registration.password)) > _LONGEST_CREDENTIAL:
            what = f"username and password must have at most {_LONGEST_CREDENTIAL} characters."
            raise RegistrationInvalid(what, cluster=self._cluster)
        if ":" in registration.username:
            what = (
                "username must have no colon: HTTP Basic ends the name there. A local cluster administrator works; an "
                "LDAP account logs in by its name in the directory, without a prefix such as LDAP:."
            )
            raise RegistrationInvalid(what, cluster=self._cluster)
        self._quote = Redaction(registration.username, registration.password)
        self._transport = Transport(self._cluster, registration, self._timeouts, self._clock)
        self._registration = registration
        self._version = version

    def _refusal(self, method: str, error: MethodError) -> ElementRekeyError:
        """The class for an error that certainly changed nothing."""
        what = f"{method} was answered with {describe_error(error.quoted)}."
        if error.name in _TRANSIENT:
            return ClusterUnavailable(what, cluster=self._cluster)
        if error.name == _PERMISSION_DENIED:
            return PermissionDenied(what, cluster=self._cluster)
        return ElementApiError(what, cluster=self._cluster, name=error.quoted.name)

    def _outcome_unknown(self, why: str) -> RekeyOutcomeUnknown:
        return RekeyOutcomeUnknown(f"{_REKEY} was sent, but {why}.", cluster=self._cluster)

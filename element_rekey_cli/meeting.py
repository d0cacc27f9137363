"""A read-only meeting with one cluster, from this machine: is it reached, trusted, understood, and fit for a rotation?

No AWS is needed for it. Every call is one that a dry run makes, by the application's own client and rules.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from element_rekey.cluster import KeyManagementType
from element_rekey.codec import CodecError, decode
from element_rekey.element.certificates import expires, fingerprint
from element_rekey.element.transport import parse_mvip
from element_rekey.errors import (
    AnswerNotUnderstood,
    CertificateRefused,
    ClusterUnavailable,
    CredentialsRefused,
    ElementRekeyError,
    RegistrationInvalid,
)
from element_rekey.ports import Ports
from element_rekey.records import Execution, Registration, Request, Rotation
from element_rekey.rotation.start import start_rekey
from element_rekey.rules.certificates import NOTICE_DAYS, soonest
from element_rekey.settings import Settings

from .answers_kept import Heard, Listening
from .hops import Hop, all_well, bad, failed, good, note
from .words import in_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from element_rekey.cluster import EncryptionState, Unfamiliar
    from element_rekey.element.client import ElementApi
    from element_rekey.ports import Clusters, Ledger, Topic

CONNECT_SECONDS = 5.0
EXPIRES_SOON = timedelta(days=NOTICE_DAYS[-1])
_WAY_IS_BLOCKED = (CertificateRefused, ClusterUnavailable, CredentialsRefused)
"""After one of these nothing else can be asked."""


@dataclass(frozen=True, slots=True)
class Presented:
    """The certificate that a server presents, before anything is trusted; ``expires`` is None where it is not told."""

    fingerprint: str  # SHA-256, with colons
    expires: datetime | None


def presented(host: str, port: int, server_name: str = "") -> Presented:
    """The certificate that is presented there. Nothing is sent but the handshake. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to find out which it is, whichever comes
    with (
        socket.create_connection((host, port), CONNECT_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=server_name or host) as connected,
    ):
        certificate = connected.getpeercert(binary_form=True) or b""
    digest = fingerprint(certificate).upper()
    return Presented(":".join(digest[at : at + 2] for at in range(0, len(digest), 2)), expires(certificate))


@dataclass
class Meeting:
    """What is found out about one cluster; ``given`` is its registration, or what stands in its secret."""

    cluster: str
    given: object
    clock: Callable[[], datetime]
    heard: list[Heard] = field(default_factory=list)  # every answer, in its order
    shapes: dict[str, str] = field(default_factory=dict)  # by method: whether its answer was understood
    uuid: str = ""

    def hops(self) -> Iterator[Hop]:
        """Every hop, as far as one can go."""
        try:
            registration = self.given if isinstance(self.given, Registration) else decode(Registration, self.given)
            host, port = parse_mvip(registration.mvip, self.cluster)
            api = Listening(self.cluster, registration, self.clock, self.heard)
        except (CodecError, RegistrationInvalid) as error:
            what = error.what if isinstance(error, RegistrationInvalid) else f"{error}."
            yield bad("registration", what, RegistrationInvalid.next_step)
            return
        yield good("registration", f"valid: {registration.mvip} as {registration.username}")
        network = list(self._network(host, port, registration.server_name))
        yield from network
        if all_well(network):
            yield from self._element(api)
        api.close()

    def _network(self, host: str, port: int, server_name: str) -> Iterator[Hop]:
        step = "Check that this machine has a route and a firewall's leave; the functions have a network of their own."
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            yield bad(
                "name", f"{host} does not resolve: {error}", "Check the mvip in the secret, and the DNS it needs."
            )
            return
        yield good("name", f"{host} is {', '.join(sorted({str(one[4][0]) for one in found}))}")
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            yield bad("port", f"{host} does not answer on port {port}: {error}", step)
            return
        yield good("port", f"{port} answers")
        try:
            shown = presented(host, port, server_name)
        except OSError as error:
            yield bad(
                "certificate", f"no TLS handshake: {error}", "Check that it is a cluster's MVIP that answers there."
            )
            return
        yield self._certificate(shown)

    def _certificate(self, shown: Presented) -> Hop:
        now = self.clock()
        if shown.expires is None:
            return good("certificate", f"SHA-256 {shown.fingerprint}, without an end that can be read")
        until = f"SHA-256 {shown.fingerprint}, valid until {in_full(shown.expires)}"
        if shown.expires < now + EXPIRES_SOON:
            mend = (
                "Have the cluster's certificate renewed, and put the new fingerprint or bundle into its secret first."
            )
            return note("certificate", f"{until}: {'over' if shown.expires < now else 'soon over'}", mend)
        return good("certificate", until)

    def _element(self, api: ElementApi) -> Iterator[Hop]:
        """What the cluster itself says; each question by itself, so that one that fails hides no other."""
        for name, method, ask in (
            ("login", "GetAPI", lambda: self._version(api)),
            ("cluster", "GetClusterInfo", lambda: self._identity(api)),
            ("release", "GetClusterVersionInfo", lambda: self._upgrade(api)),
            ("faults", "ListClusterFaults", lambda: self._faults(api)),
        ):
            hop, error = self._asked(name, method, ask)
            yield hop
            if isinstance(error, _WAY_IS_BLOCKED):
                return
        found: list[EncryptionState] = []
        hop, _ = self._asked("encryption", "GetSoftwareEncryptionAtRestInfo", lambda: self._encryption(api, found))
        yield hop
        encryption = found[0] if found else None
        if encryption and encryption.rekey_async_result_id is not None:
            handle = encryption.rekey_async_result_id
            yield self._asked("last rekey", "GetAsyncResult", lambda: self._job(api, handle))[0]
        yield self._asked("key providers", "ListKeyProvidersKmip", lambda: self._providers(api))[0]
        key = encryption.master_key if encryption else None
        if key and key.key_management_type is KeyManagementType.EXTERNAL and key.key_provider_id is not None:
            number = key.key_provider_id
            yield self._asked("key servers", "ListKeyServersKmip", lambda: self._key_servers(api, number))[0]
            yield self._asked("provider's test", "TestKeyProviderKmip", lambda: self._test(api, number))[0]
        yield self._plan(api)

    def _asked(self, name: str, method: str, ask: Callable[[], Hop]) -> tuple[Hop, ElementRekeyError | None]:
        try:
            hop = ask()
        except ElementRekeyError as error:
            if isinstance(error, AnswerNotUnderstood):
                self.shapes[method] = f"not one we know: {error.what}"
            return failed(name, error), error
        self.shapes.setdefault(method, "one we know")
        return hop, None

    def _version(self, api: ElementApi) -> Hop:
        api.check_api_version()
        return good("login", "the account may log in, and the registered API version is served")

    def _identity(self, api: ElementApi) -> Hop:
        identity = api.identity()
        self.uuid = identity.uuid
        return good("cluster", f"{identity.uuid} ({identity.name})")

    def _upgrade(self, api: ElementApi) -> Hop:
        pending = api.version().pending_cluster_version
        if pending:
            return bad("release", f"an upgrade to {pending} is pending", "Finish or cancel the upgrade.")
        return good("release", "no upgrade is pending")

    def _faults(self, api: ElementApi) -> Hop:
        faults = api.faults()
        if not faults:
            return good("faults", "none")
        codes = ", ".join(f"{one.code}{' (warning)' if one.only_warns else ''}" for one in faults)
        return note("faults", codes, "element-rekey explain CODE says what each stops.")

    def _encryption(self, api: ElementApi, found: list[EncryptionState]) -> Hop:
        encryption = api.encryption()
        found.append(encryption)
        self._note("GetSoftwareEncryptionAtRestInfo", encryption.unfamiliar)
        key = encryption.master_key
        if encryption.enabled is False or key is None:
            return bad("encryption", "software encryption at rest is not enabled", "Nothing can be rotated here.")
        provider = f", provider {key.key_provider_id}" if key.key_provider_id is not None else ""
        made = f", made {in_full(key.key_created_time)}" if key.key_created_time else ", of unknown age"
        return good(
            "encryption", f"key {key.key_id} ({key.key_management_type or 'management not known'}{provider}{made})"
        )

    def _job(self, api: ElementApi, handle: int) -> Hop:
        job = api.rekey_job(handle)
        if job is None:
            return good("last rekey", f"asyncHandle {handle} is not known any more")
        self._note("GetAsyncResult", job.unfamiliar)
        if not job.complete:
            return note("last rekey", f"asyncHandle {handle} runs: {job.phase or 'phase not told'}")
        ended = f"with the error {job.error.name}" if job.error else "well"
        return good("last rekey", f"asyncHandle {handle} ended {ended}")

    def _providers(self, api: ElementApi) -> Hop:
        providers = api.key_providers()
        if not providers:
            return good("key providers", "none; keys are internal")
        servers = (f"{one.key_provider_id} with {len(one.key_server_ids)} key servers" for one in providers)
        return good("key providers", ", ".join(servers))

    def _key_servers(self, api: ElementApi, number: int) -> Hop:
        """The certificates between the cluster and its key servers, by the one that ends first."""
        left = soonest(api.key_server_certificates(number), self.clock(), of_cluster=False)
        if left is None:
            return note("key servers", "when their certificates expire is not told")
        says = f"the first of their certificates {'has expired' if left < 0 else f'expires in {left} days'}"
        if left < EXPIRES_SOON.days:
            return note("key servers", says, "Have it renewed on the key server and on the cluster.")
        return good("key servers", says)

    def _test(self, api: ElementApi, number: int) -> Hop:
        error = api.test_key_provider(number)
        if error:
            mend = "Mend the KMIP key provider on the cluster: its key server, its certificates, its network."
            return bad("provider's test", f"provider {number} fails its test with {error.name}: {error.message}", mend)
        return good("provider's test", f"provider {number} passes")

    def _note(self, method: str, unfamiliar: tuple[Unfamiliar, ...]) -> None:
        if unfamiliar:
            said = "; ".join(f"{one.member} is {one.value}" for one in unfamiliar)
            self.shapes[method] = f"one we know, but for {said}"

    def _plan(self, api: ElementApi) -> Hop:
        """What a rotation would do, by the use case itself; it writes nothing down and changes nothing."""
        now = self.clock()
        settings = Settings(deadline=timedelta(hours=1), settling=timedelta(minutes=2), lease=timedelta(minutes=15))
        ports = Ports(
            cast("Clusters", _OnlyOne(api)), cast("Ledger", _Forgetful()), cast("Topic", None), self.clock, settings
        )
        try:
            step = start_rekey(ports, Execution("doctor", now), Request(self.cluster, dry_run=True))
        except ElementRekeyError as error:
            return failed("a rotation", error)
        return good("a rotation", step.rotation.detail)


@dataclass(frozen=True)
class _OnlyOne:
    """``ports.Clusters`` with one cluster in it."""

    api: ElementApi

    def connect(self, _cluster: str, *, afresh: bool = False) -> ElementApi:  # noqa: ARG002 - as the port
        """The cluster."""
        return self.api


class _Forgetful:
    """As much of ``ports.Ledger`` as a dry run uses: nothing is known, and nothing is kept."""

    def rotation(self, _execution: Execution) -> None:
        """No execution was there before."""

    def memory(self, _cluster: str) -> None:
        """No cluster was seen before."""

    def owner(self, _uuid: str) -> None:
        """No cluster belongs to a registration yet."""

    def save(self, rotation: Rotation) -> Rotation:
        """Nothing is kept."""
        return replace(rotation, version=rotation.version + 1)


def answered(meeting: Meeting) -> Iterator[tuple[str, str]]:
    """Each method that was answered, and whether the shape of its answer is one we know."""
    for method in dict.fromkeys(one.method for one in meeting.heard):
        yield method, meeting.shapes.get(method, "an error of the cluster")

"""What an Element cluster says, in the words of the Element API; ``codec`` gives their JSON spelling (``keyID``).

Only what a rule or a notification reads is kept. All times are aware UTC datetimes, corrected to our clock where they
enter. The methods: https://docs.netapp.com/us-en/element-software/api/reference_element_api_app_methods.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - codec reads the annotations at run time
from enum import StrEnum


class KeyManagementType(StrEnum):
    """Who keeps the master key: the cluster itself, or an external KMIP server."""

    INTERNAL = "Internal"
    EXTERNAL = "External"


@dataclass(frozen=True, slots=True)
class Unfamiliar:
    """A member of an answer that could not be interpreted: where it stands, and the beginning of what stands there."""

    member: str
    value: str


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A master key as the cluster describes it (``EncryptionKeyInfo``); never the key itself.

    Only its id has to be known. A type that is missing or unfamiliar is None, and speaks neither for nor against a key.
    """

    key_id: str
    key_management_type: KeyManagementType | None
    key_provider_id: int | None = None
    key_created_time: datetime | None = None


class CertificateOf(StrEnum):
    """Whose certificate it is."""

    CLUSTER = "cluster"  # the one that the cluster itself presents
    KEY_SERVER = "keyServer"  # of the authority by which the cluster trusts its key server
    KEY_SERVER_CLIENT = "keyServerClient"  # by which the key server knows the cluster


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate without which no rotation works; ``expires`` is None where nobody knows when, or for ever."""

    of: CertificateOf
    fingerprint: str  # SHA-256, hexadecimal
    expires: datetime | None = None
    key_server_id: int | None = None


@dataclass(frozen=True, slots=True)
class ElementError:
    """An error as the cluster words it."""

    name: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class RekeyJob:
    """What ``GetAsyncResult`` says of a rekey.

    ``complete`` without ``error`` carries ``new_key`` and ``key_to_decommission``, as far as they can be read; while
    running ``phase`` is the cluster's own word for what it is doing, where it gives one. Where ``understood`` is False
    the answer does not even say whether the rekey is over.
    """

    async_handle: int
    complete: bool
    create_time: datetime | None = None
    last_update_time: datetime | None = None
    phase: str = ""
    new_key: MasterKey | None = None
    key_to_decommission: MasterKey | None = None
    error: ElementError | None = None
    understood: bool = True
    unfamiliar: tuple[Unfamiliar, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """Which cluster answers (``GetClusterInfo``)."""

    uuid: str
    name: str = ""  # for people


@dataclass(frozen=True, slots=True)
class EncryptionState:
    """What ``GetSoftwareEncryptionAtRestInfo`` says."""

    enabled: bool | None  # None: its word for it is not one we know
    master_key: MasterKey | None = None
    rekey_async_result_id: int | None = None  # the current or most recent rekey, until its result is deleted
    handle_unclear: bool = False  # something is listed there that is no number: a rekey may run
    unfamiliar: tuple[Unfamiliar, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterVersion:
    """What ``GetClusterVersionInfo`` says."""

    pending_cluster_version: str = ""  # of an upgrade that is staged or running


@dataclass(frozen=True, slots=True)
class ClusterFault:
    """One current fault (``ListClusterFaults``)."""

    code: str
    only_warns: bool = False  # its severity is none that we know, error or critical where this is False


@dataclass(frozen=True, slots=True)
class KeyProvider:
    """One external key provider (``ListKeyProvidersKmip``)."""

    key_provider_id: int
    key_server_ids: tuple[int, ...] = ()

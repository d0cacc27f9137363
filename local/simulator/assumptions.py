"""Everything the simulator had to make up, in one place.

NetApp publishes neither the error names of a failed rekey nor several details of its course. Each guess is one
field here, so a test can switch it and show that a client is right either way. Nothing outside this module
invents behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args, get_type_hints

UnknownHandle = Literal["xDBNoSuchPath", "xAsyncHandleDoesNotExist"]
SecondRekey = Literal["refuse", "sameHandle"]
KeptResult = Literal["allows", "blocks"]
KeyFlips = Literal["afterCreate", "afterRewrap", "atCompletion"]
StateMember = Literal["state", "status"]
TimeFormat = Literal["seconds", "microseconds"]
UnknownResultType = Literal["emptyList", "xUnrecognizedEnumString"]
ProviderDown = Literal["failInCreate", "refuse"]
ResultShape = Literal["object", "text", "words", "empty", "missing"]
MemberCase = Literal["documented", "lower", "upper"]
Numbers = Literal["numbers", "texts"]
EchoedId = Literal["same", "text"]
ManagementCase = Literal["lower", "capitalized", "upper"]
ManagementTaken = Literal["anyCase", "sameCase"]
NoRekey = Literal["absent", "null", "zero"]
ServedVersions = Literal["documented", "odd"]


@dataclass(frozen=True)
class Assumptions:
    """ASSUMED behaviour: one switch a guess, the default being the likeliest reading of the sources."""

    unknown_handle: UnknownHandle = "xDBNoSuchPath"
    """Which error GetAsyncResult gives for an unknown handle. Both names are attested, in different releases."""

    second_rekey: SecondRekey = "refuse"
    """What a rekey request meets while another rekey runs: an error, or the handle of the one that runs."""

    second_rekey_error: str = "xRekeyAlreadyInProgress"
    """Error name of that refusal."""

    kept_result: KeptResult = "allows"
    """Whether a rekey is accepted while the result of the last one is kept; if not, that result has to be released."""

    kept_result_error: str = "xRekeyResultNotRead"
    """Error name of that refusal."""

    encryption_disabled_error: str = "xFeatureNotEnabled"
    """Error name of a rekey on a cluster without software encryption at rest (name attested, this use of it not)."""

    key_flips: KeyFlips = "afterRewrap"
    """When GetSoftwareEncryptionAtRestInfo begins to show the new keyID."""

    result_state_member: StateMember = "state"
    """Name of the member holding "Ready" in a finished rekey's result: the documentation shows both."""

    time_format: TimeFormat = "seconds"
    """2026-01-31T12:00:18Z, or 2026-01-31T12:00:18.660275Z. Both are seen in the documentation."""

    unknown_provider_error: str = "xKeyProviderDoesNotExist"
    """Error name for a keyProviderID the cluster does not have."""

    unknown_server_error: str = "xKeyServerDoesNotExist"
    """Error name for a keyServerID the cluster does not have."""

    provider_without_server_error: str = "xKeyProviderHasNoServer"
    """Error name for using or testing a provider that has no key server."""

    provider_test_error: str = "xKmipServerError"
    """Error name of a failed TestKeyProviderKmip or TestKeyServerKmip."""

    provider_down: ProviderDown = "failInCreate"
    """A rekey to a provider that does not answer: accepted and failing in its first phase, or refused."""

    phase_error: str = "xRekeyFailed"
    """Error name inside the result of a rekey that failed in one of its phases."""

    same_type_operation: str = "Rekeying Master Key. Master Key management remaining with {new}."
    """Text of "operation" when the management does not change; only the text for a transfer is published."""

    unknown_result_type: UnknownResultType = "emptyList"
    """ListAsyncResults with a filter value that is not documented: nothing found, or an error."""

    malformed_request_error: str = "xUnknownRPCMethod"
    """Error name for a body that is no JSON object with a method (name attested, this use of it not)."""

    parameter_type_error: str = "xInvalidParameterType"
    """Error name for a parameter, or a params member, of the wrong type (name attested)."""

    result_lifetime_seconds: float | None = None
    """How long a finished result can be read, None for ever: no lifetime is published."""

    result_shape: ResultShape = "object"
    """A finished rekey's `result`: the documented object, that object written down in a text (the reference page types
    the member as a string), a sentence for people, an empty object, or no such member."""

    result_type: str = "RekeySoftwareEncryptionAtRestMasterKey"
    """The `resultType` of a rekey. Only one page names it, in an example made by hand; documented types are short."""

    member_case: MemberCase = "documented"
    """Letter case of the names of members in a result."""

    numbers: Numbers = "numbers"
    """Whether whole numbers in a result are numbers, or texts as in some examples."""

    echoed_id: EchoedId = "same"
    """Whether the `id` of a call comes back as it was sent, or as text."""

    management_case: ManagementCase = "lower"
    """Letter case of keyManagementType in answers."""

    management_taken: ManagementTaken = "anyCase"
    """Which keyManagementType a rekey takes: the word in any case, or only in the one of the answers."""

    no_rekey: NoRekey = "absent"
    """How GetSoftwareEncryptionAtRestInfo says that there is no rekey whose result is kept."""

    served_versions: ServedVersions = "documented"
    """Whether GetAPI lists versions only, or also "12", "12.3.1" and the number 12.3."""

    def switched(self, name: str, value: str) -> Assumptions:
        """A copy with one field set from text, as given on a command line.

        Raises:
            ValueError: no such assumption, or not one of its values.
        """
        if name not in {field.name for field in fields(self)}:
            raise ValueError(f"There is no assumption {name!r}.")
        choices = get_args(get_type_hints(type(self))[name])
        if name == "result_lifetime_seconds":
            return replace(self, result_lifetime_seconds=float(value))
        if choices and value not in choices:
            raise ValueError(f"The assumption {name!r} is one of {', '.join(choices)}, not {value!r}.")
        return replace(self, **{name: value})  # type: ignore[arg-type]

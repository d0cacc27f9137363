"""Read the answers of the Element API: tolerant of what we do not know, strict about what a rule reads.

No I/O. https://docs.netapp.com/us-en/element-software/api/concept_element_api_response_objects.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from element_rekey.cluster import ElementError, KeyManagementType, MasterKey
from element_rekey.errors import ClusterUnavailable
from element_rekey.moments import is_plausible
from element_rekey.text import LONGEST_NAME, cut, cut_id, one_line

from .transport import AnswerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

_VERSION: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_LARGEST: Final = 2**63 - 1  # more than the cluster's own counters have; DynamoDB stores 38 digits and refuses the 39th
_LONGEST_WORDS: Final = 300  # characters of the cluster's free text
_UNREADABLE: Final = "(nothing that can be shown)"


@dataclass(frozen=True, slots=True)
class Answer:
    """Reads the members of an answer to a method that changes nothing.

    Members unknown to us do not matter. One that is needed but missing, or not of its kind, raises ClusterUnavailable:
    no decision is made on half an answer. ``quote`` makes a text of the cluster one that may be shown.
    """

    source: Json
    path: str
    cluster: str
    clock_offset: timedelta
    quote: Callable[[str], str]

    def has(self, member: str) -> bool:
        """Whether the member is there and not null."""
        return self.source.get(member) is not None

    def child(self, member: str) -> Answer:
        """An object."""
        return self._inner(self.source.get(member), member)

    def optional_child(self, member: str) -> Answer:
        """An object, or an empty one in place of anything else."""
        value = self.source.get(member)
        return self._inner(value if isinstance(value, dict) else {}, member)

    def children(self, member: str) -> list[Answer]:
        """A list of objects."""
        return [self._inner(item, member) for item in self.items(member)]

    def items(self, member: str) -> list[Any]:
        """A list."""
        value = self.source.get(member)
        if not isinstance(value, list):
            raise self._unusable(member, "a list")
        return value

    def known_word(self, member: str) -> str:
        """A word of the API as it came: to be compared with those we know, and never to be shown."""
        return self._needed(member, self._text(member))

    def identifier(self, member: str, *, any_case: bool = False) -> str:
        """What distinguishes a cluster or a key: compared and kept as it may be shown, so that all agree."""
        shown = self.quote(self._text(member))
        return self._needed(member, cut_id(shown.lower() if any_case else shown))

    def words(self, member: str) -> str:
        """Text for people; empty only where the cluster says nothing."""
        text = self._text(member)
        return cut(self.quote(text) or _UNREADABLE, _LONGEST_WORDS) if text else ""

    def one_of(self, members: tuple[str, ...], known: tuple[str, str]) -> str:
        """The value, in lower case, of the member that is there: the vendor mixes up ``state`` and ``status``."""
        value = next((self._text(member) for member in members if self.has(member)), "").lower()
        if value not in known:
            raise self._unusable(members[0], " or ".join(known))
        return value

    def integer(self, member: str) -> int:
        """A whole number."""
        return self._whole_number(self.source.get(member), member)

    def optional_integer(self, member: str) -> int | None:
        """A whole number; None where the member is missing or null."""
        return self.integer(member) if self.has(member) else None

    def integers(self, member: str) -> tuple[int, ...]:
        """Whole numbers; none where the member is missing or null."""
        return tuple(self._whole_number(item, member) for item in self.items(member)) if self.has(member) else ()

    def version(self, value: object, member: str) -> tuple[int, int]:
        """A version ``major.minor``."""
        version = parse_version(value)
        if version is None:
            raise self._unusable(member, "a version")
        return version

    def time(self, member: str) -> datetime | None:
        """A time stamped by the cluster, on our clock; None when absent, unreadable, or one nobody can mean."""
        try:
            stamped = datetime.fromisoformat(self.source.get(member) or "")
            moment = stamped.replace(tzinfo=stamped.tzinfo or UTC).astimezone(UTC) - self.clock_offset
        except (TypeError, ValueError, OverflowError):
            return None
        return moment if is_plausible(moment) else None

    def key(self, member: str) -> MasterKey:
        """A key as the cluster describes it, its ``keyID`` in lower case."""
        key = self.child(member)
        management = key.one_of(("keyManagementType",), ("internal", "external"))
        return MasterKey(
            key_id=key.identifier("keyID", any_case=True),
            key_management_type=KeyManagementType(management.capitalize()),
            key_provider_id=key.optional_integer("keyProviderID"),
            key_created_time=key.time("keyCreatedTime"),
        )

    def error(self) -> ElementError:
        """The error this is the description of; that of a job may lack a name."""
        return ElementError(name=self.words("name") or "unnamed", message=self.words("message"))

    def _text(self, member: str) -> str:
        """A text, or an empty one in place of anything else."""
        value = self.source.get(member)
        return value if isinstance(value, str) else ""

    def _needed(self, member: str, text: str) -> str:
        if not text:
            raise self._unusable(member, "a text")
        return text

    def _inner(self, value: object, member: str) -> Answer:
        if not isinstance(value, dict):
            raise self._unusable(member, "an object")
        return replace(self, source=value, path=f"{self.path} {member}")

    def _whole_number(self, value: object, member: str) -> int:
        number = whole_number(value)
        if number is None:
            raise self._unusable(member, "a whole number")
        return number

    def _unusable(self, member: str, wanted: str) -> ClusterUnavailable:
        return ClusterUnavailable(f"{self.path}: {member} is not {wanted}.", cluster=self.cluster)


def parse_answer(call_id: object, body: bytes) -> Json:
    """The JSON object in ``body``. Raises AnswerUnusable.

    An answer without an id, or with null, is taken: HTTP pairs it with its call, and the vendor's examples of errors
    show it so. Another id means that something between us and the cluster mixed up its answers.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise AnswerUnusable("the answer is no JSON") from None
    if not isinstance(answer, dict):
        raise AnswerUnusable("the answer is no JSON object")
    if answer.get("id") not in (None, call_id):
        raise AnswerUnusable("the answer is one to another call")
    return answer


@dataclass(frozen=True, slots=True)
class MethodError:
    """The error a method answered with: what to decide by, and what to show.

    A password can be a part of an error's name. Then the name without it is another one, and a rekey that may have been
    applied would pass for one that was refused.
    """

    name: str = field(repr=False)  # as it came, never to be shown or kept
    quoted: ElementError


def method_error(source: object, quote: Callable[[str], str]) -> MethodError | None:
    """The error in an answer; None where it has no name."""
    name = source.get("name") if isinstance(source, dict) else None
    raw = one_line(name) if isinstance(name, str) else ""
    if not isinstance(source, dict) or not raw:
        return None
    message = source.get("message")
    quoted = ElementError(
        name=cut(quote(raw), LONGEST_NAME),
        message=cut(quote(message), _LONGEST_WORDS) if isinstance(message, str) else "",
    )
    return MethodError(raw, quoted)


def describe_error(error: ElementError) -> str:
    """An error in one phrase, for messages."""
    return f"{error.name} ({error.message})" if error.message else error.name


def parse_version(value: object) -> tuple[int, int] | None:
    """``major.minor`` as integers: 12.10 is later than 12.3, while a float would make it 12.1."""
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match else None


def dotted(version: tuple[int, int]) -> str:
    """A version as the cluster writes it."""
    return f"{version[0]}.{version[1]}"


def whole_number(value: object) -> int | None:
    """A whole number, also as digits in a string, as some of the vendor's examples have it."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else None

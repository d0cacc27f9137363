"""Read the answers of the Element API: tolerant in form, strict in meaning (docs/adr/0014).

No I/O. https://docs.netapp.com/us-en/element-software/api/concept_element_api_response_objects.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from element_rekey.cluster import ElementError, KeyManagementType, MasterKey, Unfamiliar
from element_rekey.errors import AnswerNotUnderstood
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
_LONGEST_SHOWN: Final = 200  # characters of what could not be interpreted
_MOST_SHOWN: Final = 8  # members or items of it
_DEEPEST_SHOWN: Final = 3  # objects and lists within each other
_UNREADABLE: Final = "(nothing that can be shown)"


class AnswerUnfamiliar(AnswerUnusable):
    """An answer came whole, and in a form that does not say what became of the call."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Reads the members of an answer to a method that changes nothing: tolerant in form, strict in meaning.

    A member may be in other letter case, a number or an object may come as text, and members unknown to us do not
    matter. One that has to be known, and is missing or cannot be read, raises AnswerNotUnderstood: no decision is made
    on half an answer. What is only evidence is left out then, and kept in ``notes`` for those who read the record.
    ``quote`` makes a text of the cluster one that may be shown.
    """

    source: Json
    path: str
    cluster: str
    clock_offset: timedelta
    quote: Callable[[str], str]
    notes: list[Unfamiliar] = field(default_factory=list)  # shared with the answers inside this one

    def has(self, member: str) -> bool:
        """Whether the member is there and says something: null, and what is empty, say nothing."""
        return says_something(self._value(member))

    def child(self, member: str) -> Answer:
        """An object."""
        return self._inner(self._value(member), member)

    def optional_child(self, member: str) -> Answer:
        """An object, or an empty one in place of anything else."""
        value = self._value(member)
        known = as_object(value)
        if known is None:
            self.note(member, value)
        return self._inner(known or {}, member)

    def children(self, member: str) -> list[Answer]:
        """A list of objects."""
        return [self._inner(item, member) for item in self.items(member)]

    def items(self, member: str) -> list[Any]:
        """A list."""
        value = _parsed(self._value(member))
        if not isinstance(value, list):
            raise self._unusable(member, "a list")
        return value

    def optional_items(self, member: str) -> list[Any]:
        """A list, or an empty one in place of anything else."""
        value = _parsed(self._value(member))
        return value if isinstance(value, list) else []

    def known_word(self, member: str) -> str:
        """A word of the API as it came: to be compared with those we know, and never to be shown."""
        return self._needed(member, self.text(member))

    def identifier(self, member: str, *, any_case: bool = False) -> str:
        """What distinguishes a cluster or a key: compared and kept as it may be shown, so that all agree."""
        return self._needed(member, self.optional_identifier(member, any_case=any_case))

    def optional_identifier(self, member: str, *, any_case: bool = False) -> str:
        """As ``identifier``; empty where there is none."""
        quoted = self.quote(self.text(member))
        if not quoted:
            self.note(member, self._value(member))
        return cut_id(quoted.lower() if any_case else quoted)

    def words(self, member: str) -> str:
        """Text for people; empty only where the cluster says nothing."""
        return self._for_people(self.text(member))

    def word(self, members: tuple[str, ...], known: tuple[str, ...]) -> str | None:
        """The known word, in lower case, that is there: the vendor mixes up ``state`` and ``status``."""
        for member in members:
            if self.has(member):
                value = self.text(member).strip().lower()
                if value in known:
                    return value
                self.note(member, self._value(member))
                return None
        return None

    def integer(self, member: str) -> int:
        """A whole number."""
        number = whole_number(self._value(member))
        if number is None:
            raise self._unusable(member, "a whole number")
        return number

    def optional_integer(self, member: str) -> int | None:
        """A whole number; None where there is none."""
        number = whole_number(self._value(member))
        if number is None:
            self.note(member, self._value(member))
        return number

    def integers(self, member: str) -> tuple[int, ...]:
        """Whole numbers; none where the member is missing or empty."""
        if not self.has(member):
            return ()
        numbers = tuple(map(whole_number, self.items(member)))
        known = tuple(number for number in numbers if number is not None)
        if len(known) < len(numbers):
            raise self._unusable(member, "a list of whole numbers")
        return known

    def time(self, member: str) -> datetime | None:
        """A time stamped by the cluster, on our clock; None when absent, unreadable, or one nobody can mean."""
        try:
            stamped = datetime.fromisoformat(self.text(member))
            moment = stamped.replace(tzinfo=stamped.tzinfo or UTC).astimezone(UTC) - self.clock_offset
        except (ValueError, OverflowError):
            self.note(member, self._value(member))
            return None
        if is_plausible(moment):
            return moment
        self.note(member, self._value(member))
        return None

    def key(self, member: str) -> MasterKey:
        """A key as the cluster describes it, its ``keyID`` in lower case."""
        key = self.child(member)
        return key.described_key(key.identifier("keyID", any_case=True))

    def evident_key(self, member: str) -> MasterKey | None:
        """As ``key``; None where no key is described, or not one that can be told from others."""
        key = self.optional_child(member)
        key_id = key.optional_identifier("keyID", any_case=True)
        return key.described_key(key_id) if key_id else None

    def described_key(self, key_id: str) -> MasterKey:
        """What this says of a key. An internal key has no provider, and a key of a provider is an external one."""
        provider = self.optional_integer("keyProviderID")
        word = self.word(("keyManagementType",), ("internal", "external"))
        management = KeyManagementType(word.capitalize()) if word else None
        if management is None and provider:
            management = KeyManagementType.EXTERNAL
        return MasterKey(
            key_id=key_id,
            key_management_type=management,
            key_provider_id=None if management is KeyManagementType.INTERNAL else provider,
            key_created_time=self.time("keyCreatedTime"),
        )

    def error(self, member: str) -> ElementError:
        """The error a job ended with: an object, which may lack a name, or a text."""
        described = as_object(self._value(member))
        if described is None:
            return ElementError(name="unnamed", message=self.words(member))
        inner = self._inner(described, member)
        return ElementError(name=inner.words("name") or "unnamed", message=inner.words("message"))

    def text(self, member: str) -> str:
        """A text, or an empty one in place of anything else."""
        value = self._value(member)
        return value if isinstance(value, str) else ""

    def is_negative(self, member: str) -> bool:
        """Whether a number below 0 stands there: a common word for none."""
        value = self._value(member)
        return isinstance(value, int | float) and value < 0

    def anything(self, member: str) -> str:
        """Whatever the member says, as text for people."""
        value = self._value(member)
        if not says_something(value):
            return ""
        return self._for_people(value) if isinstance(value, str) else shown(value, self.quote)

    def note(self, member: str, value: object) -> None:
        """Keep what could not be interpreted, if it says anything."""
        if says_something(value):
            self.notes.append(Unfamiliar(f"{self.path} {member}".replace(" ", "."), shown(value, self.quote)))

    def _value(self, member: str) -> Any:  # noqa: ANN401 - JSON
        return member_of(self.source, member)

    def _for_people(self, text: str) -> str:
        return cut(self.quote(text) or _UNREADABLE, _LONGEST_WORDS) if text else ""

    def _needed(self, member: str, text: str) -> str:
        if not text:
            raise self._unusable(member, "a text")
        return text

    def _inner(self, value: object, member: str) -> Answer:
        known = as_object(value)
        if known is None:
            raise self._unusable(member, "an object")
        return replace(self, source=known, path=f"{self.path} {member}")

    def _unusable(self, member: str, wanted: str) -> AnswerNotUnderstood:
        value = self._value(member)
        there = "" if value is None else f", but {shown(value, self.quote)}"
        return AnswerNotUnderstood(f"{self.path}: {member} is not {wanted}{there}.", cluster=self.cluster)


def member_of(source: Json, member: str) -> Any:  # noqa: ANN401 - JSON
    """The member of this name, or else the only one that has it in other letter case; None where there is none."""
    value = source.get(member)
    if value is not None:
        return value
    spelt = [value for name, value in source.items() if name.lower() == member.lower() and value is not None]
    return spelt[0] if len(spelt) == 1 else None


def as_object(value: object) -> Json | None:
    """A JSON object, also one written down in a text; None for anything else."""
    known = _parsed(value)
    return known if isinstance(known, dict) else None


def _parsed(value: object) -> object:
    """The object or list that a text holds; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def says_something(value: object) -> bool:
    """Whether a value is more than null, false, 0, or empty."""
    return value not in (None, "", {}, [], False)


def shown(value: object, quote: Callable[[str], str]) -> str:
    """The beginning of any JSON value in a form that may be shown and kept."""
    return cut(quote(json.dumps(_beginning(value, quote, _DEEPEST_SHOWN), ensure_ascii=False)), _LONGEST_SHOWN)


def _beginning(value: object, quote: Callable[[str], str], depth: int) -> object:
    """Each text is quoted whole before it is cut: half a credential would not be found."""
    if isinstance(value, str):
        return cut(quote(value), _LONGEST_SHOWN)
    if isinstance(value, dict | list) and not depth:
        return "…"
    if isinstance(value, dict):
        members = list(value.items())[:_MOST_SHOWN]
        return {cut(quote(name), LONGEST_NAME): _beginning(inner, quote, depth - 1) for name, inner in members}
    if isinstance(value, list):
        return [_beginning(inner, quote, depth - 1) for inner in value[:_MOST_SHOWN]]
    return value


def parse_answer(call_id: object, body: bytes) -> Json:
    """The JSON object in ``body``. Raises AnswerUnusable.

    An answer without an id, or with null, is taken: HTTP pairs it with its call, and the vendor's examples of errors
    show it so. The id may come back as a text. Another one means that something between us and the cluster mixed up its
    answers.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise AnswerUnusable("the answer is no JSON") from None
    if not isinstance(answer, dict):
        raise AnswerUnusable("the answer is no JSON object")
    echoed = member_of(answer, "id")
    if echoed is not None and (isinstance(echoed, bool) or echoed not in (call_id, str(call_id))):  # True equals 1
        raise AnswerUnfamiliar("the answer is one to another call")
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
    described = as_object(source) or {}
    name, message = member_of(described, "name"), member_of(described, "message")
    raw = one_line(name) if isinstance(name, str) else ""
    if not raw:
        return None
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
    match = _VERSION.fullmatch(value.strip()) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match else None


def dotted(version: tuple[int, int]) -> str:
    """A version as the cluster writes it."""
    return f"{version[0]}.{version[1]}"


def whole_number(value: object) -> int | None:
    """A whole number, also as digits in a string, as some of the vendor's examples have it, or with a fraction of 0."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else None

"""Dataclasses to and from JSON: one spelling, one strictness, for requests, secrets, records and notifications.

``key_provider_id`` is spelt ``keyProviderID``, as the Element API does. A value that does not fit is refused with the
path of the member and what was expected there.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from .moments import EARLIEST, LATEST, is_plausible
from .text import cut, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from dataclasses import Field

T = TypeVar("T")

_LONGEST_MEMBER = 64  # characters of an unknown member's name in a message; the known ones are shorter
_ACRONYMS = {"id": "ID", "ids": "IDs", "uuid": "UUID"}
_STORED_AS = "stored as"
_ONE_OR_MANY = "one or many"


class CodecError(ValueError):
    """A member is unknown, missing, or not what was expected."""


def json_name(name: str) -> str:
    """The JSON spelling of an attribute: ``key_provider_id`` is ``keyProviderID``, ``id`` stays ``id``."""
    first, *rest = name.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


def stored_as(name: str) -> Mapping[str, str]:
    """Metadata of a dataclass field whose JSON name is ``name``: for an attribute that was renamed, JSON never is."""
    return {_STORED_AS: name}


def one_or_many(name: str) -> Mapping[str, str]:
    """As ``stored_as``, of a list of texts for which one text may stand alone."""
    return {_STORED_AS: name, _ONE_OR_MANY: name}


def wire_name(field: Field[Any]) -> str:
    """The JSON name of a dataclass field."""
    stored: str = field.metadata.get(_STORED_AS) or json_name(field.name)
    return stored


def encode(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """The JSON form of a dataclass, or of anything inside one; members that are None are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        members = ((wire_name(field), getattr(value, field.name)) for field in fields(value))
        return {name: encode(member) for name, member in members if member is not None}
    if isinstance(value, datetime):
        # Of one length, so that text order is time order: DynamoDB compares leases and sorts histories by it.
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value


def shortened(value: Any, longest: int, most: int) -> Any:  # noqa: ANN401 - what a dataclass may hold
    """A dataclass, or anything inside one, with ``longest`` characters of each text and ``most`` items of each list."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: shortened(getattr(value, field.name), longest, most) for field in fields(value)}
        )
    if isinstance(value, tuple):
        return tuple(shortened(item, longest, most) for item in value[:most])
    return cut(value, longest) if type(value) is str else value


def decode(cls: type[T], value: object, *, strict: bool = True, where: str = "") -> T:
    """A dataclass from its JSON form.

    Args:
        cls: The dataclass.
        value: What was parsed from JSON, or read from DynamoDB.
        strict: Whether this comes from outside. Then unknown members are refused, which records written by a later
            version may carry, and so are times nobody can mean, which those of an earlier one may hold.
        where: Path of ``value`` in the whole, for messages.

    Raises:
        CodecError: Naming the member and what was expected.
    """
    if not isinstance(value, dict):
        raise CodecError(f"{where or 'the input'}: expected an object, not {_kind(value)}")
    known = _members(cls)  # type: ignore[arg-type]  # every class is hashable
    prefix = f"{where}." if where else ""
    if strict:
        for name in value:
            if name not in known:
                shown = cut(one_line(name), _LONGEST_MEMBER)
                raise CodecError(f"{prefix}{shown}: unknown member; known are {', '.join(known)}")
    arguments: dict[str, Any] = {}
    for name, (attribute, annotation, default, may_be_alone) in known.items():
        if name in value:
            given = [value[name]] if may_be_alone and isinstance(value[name], str) else value[name]
            arguments[attribute] = _convert(annotation, given, f"{prefix}{name}", strict=strict)
        elif default is MISSING:
            raise CodecError(f"{prefix}{name}: missing")
        else:
            arguments[attribute] = default
    return cls(**arguments)


@lru_cache(maxsize=64)
def _members(cls: type) -> Mapping[str, tuple[str, Any, Any, bool]]:
    """By JSON name: the attribute, its annotation, what a missing member means (MISSING: needed), ``one_or_many``."""
    hints = get_type_hints(cls)
    return {
        wire_name(field): (
            field.name,
            hints[field.name],
            _default(field.default, hints[field.name]),
            _ONE_OR_MANY in field.metadata,
        )
        for field in fields(cls)
    }


def _default(given: Any, annotation: Any) -> Any:  # noqa: ANN401 - see encode
    """What a missing member means: ``encode`` leaves out those that are None, with a default or without."""
    return None if given is MISSING and NoneType in get_args(annotation) else given


def _convert(annotation: Any, value: object, where: str, *, strict: bool) -> Any:  # noqa: ANN401 - see encode
    origin = get_origin(annotation)
    if origin is UnionType:
        (inner,) = (part for part in get_args(annotation) if part is not NoneType)
        return None if value is None else _convert(inner, value, where, strict=strict)
    if origin is tuple:
        if not isinstance(value, list):
            raise CodecError(f"{where}: expected a list, not {_kind(value)}")
        item = get_args(annotation)[0]
        return tuple(_convert(item, part, f"{where}[{index}]", strict=strict) for index, part in enumerate(value))
    if is_dataclass(annotation):
        return decode(annotation, value, strict=strict, where=where)  # type: ignore[arg-type]  # a class, not a value
    if issubclass(annotation, StrEnum):
        return _enum(annotation, value, where)
    scalar = _SCALARS[annotation](value, where)
    if strict and isinstance(scalar, datetime) and not is_plausible(scalar):
        raise CodecError(f"{where}: expected a time from {EARLIEST:%Y} until {LATEST:%Y}")
    return scalar


def _enum(cls: type[StrEnum], value: object, where: str) -> StrEnum:
    for member in cls:
        if isinstance(value, str) and value.lower() == member.value.lower():
            return member
    raise CodecError(f"{where}: expected one of {', '.join(cls)}, not {_kind(value)}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise CodecError(f"{where}: expected a string, not {_kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON can write it down, and nothing else can
        raise CodecError(f"{where}: expected characters of Unicode") from None
    return value


def _truth(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise CodecError(f"{where}: expected true or false, not {_kind(value)}")
    return value


def _whole(value: object, where: str) -> int:
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)  # DynamoDB's number
    if not isinstance(value, int) or isinstance(value, bool):
        raise CodecError(f"{where}: expected a whole number, not {_kind(value)}")
    return value


def _number(value: object, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise CodecError(f"{where}: expected a number, not {_kind(value)}")
    try:
        return float(value)
    except OverflowError:
        raise CodecError(f"{where}: expected a number of at most 308 digits") from None


def _moment(value: object, where: str) -> datetime:
    expected = f"{where}: expected a time such as 2026-11-23T03:00:00Z"
    try:
        moment = datetime.fromisoformat(_text(value, where))
    except ValueError as error:
        raise CodecError(expected) from error
    if moment.tzinfo is None:
        raise CodecError(f"{expected}, with its time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise CodecError(expected) from error


_SCALARS: Mapping[type, Callable[[object, str], Any]] = {
    str: _text,
    bool: _truth,
    int: _whole,
    float: _number,
    datetime: _moment,
}


def _kind(value: object) -> str:
    """What a person calls the value's type; never the value itself, which may be a secret."""
    names = {str: "a string", bool: "true or false", dict: "an object", list: "a list", NoneType: "null"}
    return names.get(type(value), "a number")

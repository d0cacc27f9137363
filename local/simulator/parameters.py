"""The parameters of a call: read by name and type, the way Element reads them.

Names are case-sensitive, numbers may come as text, names nobody asked for are reported and otherwise ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from local.simulator.errors import RpcError
from local.simulator.rekey import Management

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.simulator.assumptions import Assumptions


class Kind(StrEnum):
    """The types a parameter can have; ANY is taken as it is."""

    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    MANAGEMENT = "keyManagementType"
    ANY = "any"


@dataclass(frozen=True)
class Parameter:
    """One parameter a method knows."""

    name: str
    kind: Kind
    required: bool = False


class Parameters:
    """The parameters of one call, checked and converted.

    Raises:
        RpcError: one is missing, or not of its type.
    """

    def __init__(self, known: tuple[Parameter, ...], given: Mapping[str, object], assumptions: Assumptions) -> None:
        self._assumptions = assumptions
        self._values: dict[str, object] = {}
        for parameter in known:
            value = given.get(parameter.name)
            if value is not None:
                self._values[parameter.name] = self._converted(parameter, value)
            elif parameter.required:
                # Element lists what it received, among it a member of its own.
                received = ",".join([*given, "requestAPIVersion"])
                raise RpcError("xMissingParameter", f"Missing member=[{parameter.name}] members={{{received}}}")
        names = {parameter.name for parameter in known}
        self.unused = {name: value for name, value in given.items() if name not in names}

    def integer(self, name: str) -> int | None:
        """An integer parameter, None where it was not given."""
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def required_integer(self, name: str) -> int:
        """An integer parameter that the method's table entry requires."""
        value = self._values[name]
        if not isinstance(value, int):
            raise self._mistyped(name, value)
        return value

    def boolean(self, name: str) -> bool | None:
        """A boolean parameter, None where it was not given."""
        value = self._values.get(name)
        return value if isinstance(value, bool) else None

    def text(self, name: str) -> str | None:
        """A text parameter, None where it was not given."""
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def management(self, name: str) -> Management | None:
        """A keyManagementType, None where it was not given."""
        value = self._values.get(name)
        return value if isinstance(value, Management) else None

    def any(self, name: str) -> object:
        """A parameter of whatever type it came in."""
        return self._values.get(name)

    def _converted(self, parameter: Parameter, value: object) -> object:
        match parameter.kind:
            case Kind.INTEGER:
                if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
                    return int(value)
                accepted = isinstance(value, int) and not isinstance(value, bool)
            case Kind.BOOLEAN:
                if isinstance(value, str) and value.lower() in {"true", "false"}:
                    return value.lower() == "true"
                accepted = isinstance(value, bool)
            case Kind.MANAGEMENT:
                return self._management(parameter.name, value)
            case Kind.STRING:
                accepted = isinstance(value, str)
            case Kind.ANY:
                accepted = True
        if not accepted:
            raise self._mistyped(parameter.name, value)
        return value

    def _management(self, name: str, value: object) -> Management:
        if not isinstance(value, str):
            raise self._mistyped(name, value)
        case = self._assumptions.management_case
        for one in Management:
            taken = {one.spelt(case), value if self._assumptions.management_taken == "anyCase" else ""}
            if value.lower() == one.value and value in taken:
                return one
        raise RpcError("xUnrecognizedEnumString", value)

    def _mistyped(self, name: str, value: object) -> RpcError:
        return RpcError(self._assumptions.parameter_type_error, f"Invalid value for member=[{name}]: {value!r}")

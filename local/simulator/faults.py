"""The vocabulary of faults, and the rules in force: which of them hits which call.

A rule is a JSON object or the `Fault` of the same members. Nothing here acts: wire faults are carried out by
`protocol` and `server`, answer faults by `cluster`, state faults by `state`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from local.simulator.errors import SimulatorError
from local.simulator.names import MethodName
from local.simulator.rekey import Management, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping


class FaultGroup(StrEnum):
    """Where a fault acts: on the bytes of one call, on the JSON of one answer, or on the cluster itself."""

    WIRE = "wire"
    ANSWER = "answer"
    STATE = "state"


class FaultName(StrEnum):
    """Every fault there is."""

    RESET_BEFORE = "resetBeforeProcessing"
    RESET_AFTER = "resetAfterProcessing"
    APPLY_DELAY = "applyDelay"
    STALL = "stall"
    DRIP = "drip"
    TRUNCATED_BODY = "truncatedBody"
    NULL_RESULT = "nullResult"
    NULL_BODY = "nullBody"
    EMPTY_BODY = "emptyBody"
    HTML_401 = "html401"
    HTML_404 = "html404"
    HTML_502 = "html502"
    HTML_503 = "html503"
    REDIRECT_307 = "redirect307"
    RPC_ERROR = "rpcError"
    HANDLE_NOT_YET_VISIBLE = "handleNotYetVisible"
    PROVIDER_TEST_FAILS = "providerTestFails"
    REFUSE_CONNECTIONS = "refuseConnections"
    MASTER_MOVE = "masterMove"
    CERTIFICATE_REPLACED = "certificateReplaced"
    PASSWORD_CHANGED = "passwordChanged"  # noqa: S105 - the name of a fault
    OTHER_CLUSTER = "otherCluster"
    HANDLE_VANISHED = "handleVanished"
    PHASE_FAILURE = "phaseFailure"
    COMPETING_REKEY = "competingRekey"
    CLOCK_SKEW = "clockSkew"
    KEY_TIME_SKEW = "keyTimeSkew"
    UPGRADE_PENDING = "upgradePending"
    CLUSTER_FAULT = "clusterFault"


@dataclass(frozen=True)
class FaultKind:
    """What one fault accepts.

    `hits` are the only methods it can meet, empty for all. `members` are those it knows beside method, fault, times,
    skip and phase, with their defaults. `required` must be given. `applied` among the members: whether the call is
    carried out is the rule's choice. `fixed_applied`: it is not, and this is what happens.
    """

    group: FaultGroup
    hits: tuple[str, ...] = ()
    members: Mapping[str, object] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    fixed_applied: bool = False

    def can_hit(self, method: str) -> bool:
        """Whether a rule of this kind may name this method."""
        return not self.hits or method in self.hits


_WIRE, _ANSWER, _STATE = FaultGroup.WIRE, FaultGroup.ANSWER, FaultGroup.STATE
_UNAPPLIED: Final[Mapping[str, object]] = {"applied": False}
_TESTS = (MethodName.TEST_KEY_PROVIDER, MethodName.TEST_KEY_SERVER)

FAULTS: Final[Mapping[FaultName, FaultKind]] = {
    FaultName.RESET_BEFORE: FaultKind(_WIRE),
    FaultName.RESET_AFTER: FaultKind(_WIRE, fixed_applied=True),
    FaultName.APPLY_DELAY: FaultKind(_WIRE, hits=(MethodName.REKEY,), members={"seconds": 5.0}),
    FaultName.STALL: FaultKind(_WIRE, members={"seconds": 60.0, "applied": False}),
    FaultName.DRIP: FaultKind(_WIRE, members={"seconds": 0.05}, fixed_applied=True),
    FaultName.TRUNCATED_BODY: FaultKind(_WIRE, fixed_applied=True),
    FaultName.NULL_RESULT: FaultKind(_WIRE, members={"applied": True}),
    FaultName.NULL_BODY: FaultKind(_WIRE, members=_UNAPPLIED),
    FaultName.EMPTY_BODY: FaultKind(_WIRE, members=_UNAPPLIED),
    FaultName.HTML_401: FaultKind(_WIRE),
    FaultName.HTML_404: FaultKind(_WIRE),
    FaultName.HTML_502: FaultKind(_WIRE, members=_UNAPPLIED),
    FaultName.HTML_503: FaultKind(_WIRE, members=_UNAPPLIED),
    FaultName.REDIRECT_307: FaultKind(_WIRE),
    FaultName.RPC_ERROR: FaultKind(
        _ANSWER, members={"name": None, "message": "", "applied": False}, required=("name",)
    ),
    FaultName.HANDLE_NOT_YET_VISIBLE: FaultKind(_ANSWER, hits=(MethodName.GET_ASYNC_RESULT,)),
    FaultName.PROVIDER_TEST_FAILS: FaultKind(_ANSWER, hits=_TESTS, members={"name": "", "message": ""}),
    FaultName.REFUSE_CONNECTIONS: FaultKind(_STATE, members={"connections": 1, "seconds": 0.0}),
    FaultName.MASTER_MOVE: FaultKind(_STATE, members={"connections": 1, "seconds": 0.0, "applied": False}),
    FaultName.CERTIFICATE_REPLACED: FaultKind(_STATE),
    FaultName.PASSWORD_CHANGED: FaultKind(_STATE, members={"password": ""}),
    FaultName.OTHER_CLUSTER: FaultKind(_STATE),
    FaultName.HANDLE_VANISHED: FaultKind(_STATE),
    FaultName.PHASE_FAILURE: FaultKind(
        _STATE, hits=(MethodName.REKEY,), members={"name": "", "message": ""}, required=("phase",)
    ),
    FaultName.COMPETING_REKEY: FaultKind(_STATE, members={"seconds": None, "management": None}),
    FaultName.CLOCK_SKEW: FaultKind(_STATE, members={"seconds": 3 * 3600.0}),
    FaultName.KEY_TIME_SKEW: FaultKind(_STATE, members={"seconds": 3 * 3600.0}),
    FaultName.UPGRADE_PENDING: FaultKind(_STATE, members={"version": "12.5.0.897"}),
    FaultName.CLUSTER_FAULT: FaultKind(_STATE, members={"code": None}, required=("code",)),
}

# These wait for a call even when any method will do: before one, there is nothing for them to act on.
_NEVER_AT_ONCE = frozenset({FaultName.HANDLE_VANISHED, FaultName.PHASE_FAILURE})
_MOST: Final = 10 * 365 * 86400  # ten years in seconds; and no fewer calls than anyone counts
_SKEWS = frozenset({FaultName.CLOCK_SKEW, FaultName.KEY_TIME_SKEW})
_COMMON = ("fault", "method", "times", "skip", "phase")
_NUMBERS: Final = {"seconds": (int, float), "connections": (int,), "skip": (int,), "times": (int,)}
_TEXTS = ("name", "message", "password", "version", "code", "method", "management")


@dataclass(frozen=True)
class Fault:
    """One rule: which call it hits, and what happens then.

    `method` is "*" for any the fault can hit, `phase` that of the latest rekey, `skip` how many calls go by before,
    `times` how many are hit, None for ever. Members a fault knows and that are not given get its default.

    Raises:
        SimulatorError: an unknown fault, method, phase or member, or one of the wrong type; the message names it.
    """

    fault: str
    method: str = "*"
    times: int | None = 1
    skip: int = 0
    phase: str | None = None
    seconds: float | None = None
    applied: bool | None = None
    name: str | None = None
    message: str | None = None
    connections: int | None = None
    password: str | None = field(default=None, repr=False)
    version: str | None = None
    code: str | None = None
    management: str | None = None

    def __post_init__(self) -> None:
        if self.fault not in set(FaultName):
            raise SimulatorError(f"There is no fault {self.fault!r}; the faults are {', '.join(FaultName)}.")
        object.__setattr__(self, "fault", FaultName(self.fault))
        self._check_types()
        self._check_aim()
        kind = self.kind
        for name in _optional_members():
            given = getattr(self, name)
            if given is None and name in kind.members:
                object.__setattr__(self, name, kind.members[name])
            elif given is not None and name not in kind.members:
                raise SimulatorError(f"The fault {self.fault!r} has no member {name!r}.")
        for name in kind.required:
            if not getattr(self, name):
                raise SimulatorError(f"The fault {self.fault!r} needs the member {name!r}.")

    @property
    def kind(self) -> FaultKind:
        """What this rule's fault accepts."""
        return FAULTS[FaultName(self.fault)]

    @property
    def is_applied(self) -> bool:
        """Whether the call it hits is carried out all the same."""
        return self.kind.fixed_applied if self.applied is None else self.applied

    @property
    def at_once(self) -> bool:
        """Whether it happens when it is injected, rather than with a call: a state fault that names no call."""
        aimed = self.method != "*" or self.skip > 0 or self.phase is not None
        return self.kind.group is FaultGroup.STATE and not aimed and self.fault not in _NEVER_AT_ONCE

    @classmethod
    def from_json(cls, rule: object) -> Fault:
        """The rule written as a JSON object.

        Raises:
            SimulatorError: it is no object, or as for the class itself.
        """
        if not isinstance(rule, dict):
            raise SimulatorError(f"A fault rule is a JSON object, not {json.dumps(rule)}.")
        known = {one.name for one in fields(cls)}
        for name in rule:
            if name not in known:
                raise SimulatorError(
                    f"A fault rule has no member {name!r}; the members are {', '.join(sorted(known))}."
                )
        if "fault" not in rule:
            raise SimulatorError("A fault rule needs the member 'fault'.")
        return cls(**rule)

    def to_json(self) -> dict[str, object]:
        """The rule as a JSON object: what it was made from, with its defaults; without the password."""
        document: dict[str, object] = {name: getattr(self, name) for name in _COMMON}
        document |= {name: getattr(self, name) for name in self.kind.members if name != "password"}
        return {name: value for name, value in document.items() if value is not None or name == "times"}

    def _check_types(self) -> None:
        for name, types in _NUMBERS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, types) or isinstance(value, bool) or not self._in_range(name, value):
                raise SimulatorError(f"The member {name!r} of a fault rule cannot be {json.dumps(value, default=str)}.")
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str | None):
                raise SimulatorError(f"The member {name!r} of a fault rule is text.")
        if not isinstance(self.applied, bool | None):
            raise SimulatorError("The member 'applied' of a fault rule is true or false.")

    def _in_range(self, name: str, value: float) -> bool:
        if name == "seconds" and self.fault in _SKEWS:
            return abs(value) <= _MOST  # a clock may be behind
        return (1 if name == "times" else 0) <= value <= _MOST

    def _check_aim(self) -> None:
        if self.phase is not None and self.phase not in set(Phase):
            raise SimulatorError(f"There is no phase {self.phase!r}; the phases are {', '.join(Phase)}.")
        if self.fault == FaultName.PHASE_FAILURE and self.phase == Phase.READY:
            raise SimulatorError("A rekey cannot fail in the phase 'Ready': it is over then.")
        if self.management is not None and self.management not in set(Management):
            raise SimulatorError(f"There is no management {self.management!r}; it is {' or '.join(Management)}.")
        if self.method == "*":
            return
        method = MethodName.from_text(self.method)
        if method is None:
            raise SimulatorError(f"The simulator has no method {self.method!r}.")
        object.__setattr__(self, "method", method.value)
        if not self.kind.can_hit(method):
            raise SimulatorError(f"The fault {self.fault!r} cannot hit {method}, only {', '.join(self.kind.hits)}.")


def _optional_members() -> tuple[str, ...]:
    return tuple(one.name for one in fields(Fault) if one.name not in _COMMON)


def parse_rules(text: str) -> tuple[Fault, ...]:
    """The rules in a JSON text: an array of objects, or one object.

    Raises:
        SimulatorError: not JSON, or not rules; the message says what is wrong.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise SimulatorError(f"The fault rules are not JSON: {error}.") from None
    return tuple(Fault.from_json(rule) for rule in (document if isinstance(document, list) else [document]))


@dataclass
class _Entry:
    rule: Fault
    seen: int = 0
    used: int = 0

    @property
    def spent(self) -> bool:
        return self.rule.times is not None and self.used >= self.rule.times

    def meets(self, method: str, phase: Phase | None) -> bool:
        """Counts the call if the rule is about it, and says whether it is beyond those to skip."""
        rule = self.rule
        failure = rule.fault == FaultName.PHASE_FAILURE  # its phase is where the rekey fails, not when the rule holds
        if rule.method not in {"*", method} or not rule.kind.can_hit(method):
            return False
        if (rule.phase is not None and not failure and rule.phase != phase) or self.spent:
            return False
        if rule.fault == FaultName.HANDLE_VANISHED and phase is None:
            return False
        self.seen += 1
        return self.seen > rule.skip


class FaultRules:
    """The rules in force, in the order given, with how often each was met and used. Not thread-safe by itself."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, rule: Fault, *, used: int = 0) -> None:
        """Puts a rule at the end; `used` counts an effect it had already."""
        self._entries.append(_Entry(rule, used=used))

    def clear(self) -> None:
        """Takes all rules out."""
        self._entries.clear()

    def match(self, method: str, phase: Phase | None) -> tuple[list[Fault], Fault | None]:
        """What hits a call of `method` now: all state faults due, and the first due of the others.

        One call has one answer, so of several wire and answer faults the first takes the call and the rest wait.
        """
        states: list[Fault] = []
        fault: Fault | None = None
        for entry in self._entries:
            if not entry.meets(method, phase):
                continue
            if entry.rule.kind.group is FaultGroup.STATE:
                states.append(entry.rule)
            elif fault is None:
                fault = entry.rule
            else:
                continue
            entry.used += 1
        return states, fault

    def report(self) -> list[dict[str, object]]:
        """The rules as JSON objects, each with how many calls it met and how many it hit."""
        return [{"rule": one.rule.to_json(), "seen": one.seen, "used": one.used} for one in self._entries]

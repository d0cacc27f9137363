"""What a cluster answered, word by word, to be kept for the project: without secrets, names and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from element_rekey.element.answers import MethodError
from element_rekey.element.client import ElementApi

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from element_rekey.element.answers import Json
    from element_rekey.records import Registration

ANSWERS_SCHEMA = "element-rekey.answers.v1"
WORDS = frozenset(
    {
        "clusterAPIVersion",
        "clusterVersion",
        "code",
        "createTime",
        "currentVersion",
        "date",
        "keyCreatedTime",
        "keyManagementType",
        "lastUpdateTime",
        "pendingClusterVersion",
        "pendingVersion",
        "resolvedDate",
        "resultType",
        "severity",
        "softwareVersion",
        "state",
        "status",
        "supportedVersions",
        "type",
        "version",
    }
)
"""Members whose texts are words of Element, versions and times; of every other text only its length is kept."""
PUBLIC = frozenset({"GetAPI"})
"""Methods whose answers are Element's own throughout: the names of its methods, by version."""
FREE = frozenset({"attributes"})
"""Members whose names, too, are somebody's own."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer; ``name`` of the error where it is one."""

    method: str
    answer: Any  # what the JSON says
    error: str = ""


class Listening(ElementApi):
    """The application's own client, of which every answer is kept."""

    def __init__(
        self, cluster: str, registration: Registration, clock: Callable[[], datetime], heard: list[Heard]
    ) -> None:
        """Add every answer to ``heard``. Raises RegistrationInvalid."""
        super().__init__(cluster, registration, refresh=lambda: registration, clock=clock)
        self._heard = heard

    def _exchange(
        self,
        method: str,
        params: Json,
        endpoint: str,
        *,
        fresh_connection: bool = False,
        patience: float | None = None,
    ) -> Json | MethodError:
        answer = super()._exchange(method, params, endpoint, fresh_connection=fresh_connection, patience=patience)
        if isinstance(answer, MethodError):
            self._heard.append(Heard(method, {}, answer.quoted.name))
        else:
            self._heard.append(Heard(method, answer))
        return answer


def scrubbed(value: object, member: str = "") -> object:
    """An answer as it may be shown: structure, numbers and words of Element, and of other texts their length."""
    if isinstance(value, dict):
        if member in FREE:
            return {}
        return {name: scrubbed(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [scrubbed(inner, member) for inner in value]
    if isinstance(value, str) and member not in WORDS:
        return f"(text of {len(value)} characters)"
    return value


def document(heard: list[Heard], version: str) -> dict[str, Any]:
    """Everything that was answered, scrubbed."""
    return {"schema": ANSWERS_SCHEMA, "version": version, "answers": [_kept(one) for one in heard]}


def _kept(one: Heard) -> dict[str, Any]:
    if one.error:
        return {"method": one.method, "error": one.error}
    return {"method": one.method, "answer": one.answer if one.method in PUBLIC else scrubbed(one.answer)}

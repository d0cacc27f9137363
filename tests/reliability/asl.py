"""The Amazon States Language, as far as RotateFleet uses it: paths, intrinsic functions, choices, retriers, catchers.

Not a state more: what the definition does not use is an error here, so that nothing in it is passed over in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.retries import retriers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.retries import Retrier

ALL = "States.ALL"


class TaskFailed(Exception):
    """A task ended with an error."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


def value_at(path: str, data: Any, context: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """What a path leads to. Raises KeyError where that is nothing."""
    found: Any = context if path.startswith("$$") else data
    for name in path.lstrip("$").split(".")[1:]:
        found = found[name]
    return found


def filled(template: Any, data: Any, context: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """A payload template with its paths and intrinsic functions replaced by their values."""
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): _value_of(value, data, context)
        if name.endswith(".$")
        else filled(value, data, context)
        for name, value in template.items()
    }


def _value_of(expression: str, data: Any, context: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if expression.startswith("$"):
        return value_at(expression, data, context)
    called = re.fullmatch(r"States\.(Format|JsonMerge)\((.*)\)", expression)
    assert called, expression
    first, *others = called[2].split(", ")
    if called[1] == "JsonMerge":
        left, right = (value_at(path, data, context) for path in (first, others[0]))
        return {**left, **right}
    values = [str(value_at(path, data, context)) for path in others]
    return first.strip("'").format(*values)


def chosen(state: Mapping[str, Any], data: Any) -> str:  # noqa: ANN401 - JSON
    """The next state after a Choice."""
    return next((str(rule["Next"]) for rule in state["Choices"] if _holds(rule, data)), str(state["Default"]))


def _holds(rule: Mapping[str, Any], data: Any) -> bool:  # noqa: ANN401 - JSON
    if "And" in rule:
        return all(_holds(one, data) for one in rule["And"])
    try:
        value = value_at(rule["Variable"], data, {})
    except (KeyError, TypeError):
        return rule.get("IsPresent") is False
    (expected,) = (rule[name] for name in ("IsPresent", "StringEquals", "BooleanEquals") if name in rule)
    return True if rule.get("IsPresent") else bool(value == expected)


def placed(result: Any, state: Mapping[str, Any], data: Any) -> Any:  # noqa: ANN401 - JSON
    """The data after a state with this result."""
    if "ResultSelector" in state:
        result = filled(state["ResultSelector"], result, {})
    path = state.get("ResultPath", "$")
    whole = data if path is None else result if path == "$" else {**data, path.removeprefix("$."): result}
    out = state.get("OutputPath", "$")
    return {} if out is None else value_at(out, whole, {})


class Retries:
    """The retries of a state that is not left, counted as Step Functions does: each retrier for itself."""

    def __init__(self) -> None:
        self._used: Counter[Retrier] = Counter()

    def next_wait(self, state: Mapping[str, Any], error: str) -> float | None:
        """The seconds before the next attempt; None where there is none."""
        for retrier in retriers_of(state):
            if error in retrier.errors or ALL in retrier.errors:
                self._used[retrier] += 1
                number = self._used[retrier]
                return retrier.waits[number - 1] if number <= len(retrier.waits) else None
        return None


def catcher_of(state: Mapping[str, Any], error: str) -> Mapping[str, Any] | None:
    """The catcher that takes an error."""
    catchers: list[Mapping[str, Any]] = state.get("Catch", [])
    return next((one for one in catchers if error in one["ErrorEquals"] or ALL in one["ErrorEquals"]), None)


def retried_errors_of(state: Mapping[str, Any]) -> list[str]:
    """Every error that a state retries."""
    return [error for retrier in retriers_of(state) for error in retrier.errors]


# --- DynamoDB's expressions, as far as the definition uses them ---


def updated(item: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """An item after UpdateItem. Raises TaskFailed where its condition does not hold."""
    values = {name: int(value["N"]) for name, value in parameters["ExpressionAttributeValues"].items()}
    condition = parameters.get("ConditionExpression")
    if condition and not any(_condition_holds(part, item, values) for part in condition.split(" OR ")):
        raise TaskFailed("DynamoDB.ConditionalCheckFailedException", "The conditional request failed")
    update = re.fullmatch(r"SET (\w+) = (:\w+) ADD (\w+) (:\w+)", parameters["UpdateExpression"])
    assert update
    counted = item.get(update[3], 0) + values[update[4]]
    return {**item, update[1]: values[update[2]], update[3]: counted}


def _condition_holds(part: str, item: Mapping[str, Any], values: Mapping[str, int]) -> bool:
    absent = re.fullmatch(r"attribute_not_exists\((\w+)\)", part)
    if absent:
        return absent[1] not in item
    at_most = re.fullmatch(r"(\w+) <= (:\w+)", part)
    assert at_most, part
    return at_most[1] in item and item[at_most[1]] <= values[at_most[2]]


def projected(item: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What GetItem answers with: texts as such, of all else only that it is there."""
    wanted = parameters["ProjectionExpression"].split(", ")
    return {
        name: {"S": value} if isinstance(value := item[name], str) else {"M": {}} for name in wanted if name in item
    }

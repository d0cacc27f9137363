"""What ``template.yaml`` says, so that a test and the template cannot drift apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]

START, CHECK, PUBLISH = "StartRekeyFunction", "CheckStatusFunction", "PublishOutcomeFunction"
"""The functions of RotateMasterKey."""

REGION = "eu-central-1"
ACCOUNT = "123456789012"


class _Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:  # noqa: ANN401 - YAML
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]  # the one kind left
    return {f"!{tag}": value}


_Loader.add_multi_constructor("!", _short_form)

TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), _Loader)  # noqa: S506 - a SafeLoader


def properties(resource: str) -> dict[str, Any]:
    """The properties of a resource."""
    found: dict[str, Any] = TEMPLATE["Resources"][resource]["Properties"]
    return found


def default(parameter: str) -> Any:  # noqa: ANN401 - YAML
    """The default of a parameter."""
    return TEMPLATE["Parameters"][parameter]["Default"]


def in_use(value: Any) -> Any:  # noqa: ANN401 - YAML
    """What a value is with the defaults of the parameters: of an ``!If`` the branch that is taken then."""
    match value:
        case {"!If": [condition, yes, no]}:
            return in_use(yes if _holds(TEMPLATE["Conditions"][condition]) else no)
        case _:
            return value


def _holds(condition: Any) -> bool:  # noqa: ANN401 - YAML
    match condition:
        case {"!Not": [inner]}:
            return not _holds(inner)
        case {"!Equals": [{"!Ref": parameter}, expected]}:
            return bool(default(parameter) == expected)
    raise AssertionError(condition)


def function_arn(resource: str) -> str:
    """The ARN a function would have."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{resource}"


def function_timeout(resource: str) -> int:
    """A function's own time limit in seconds."""
    seconds = properties(resource).get("Timeout", TEMPLATE["Globals"]["Function"]["Timeout"])
    return int(seconds)


def definition(resource: str = "RotateMasterKey") -> str:
    """The text of a state machine with the template's substitutions made."""
    text: str = (ROOT / properties(resource)["DefinitionUri"]).read_text()
    for name, chosen in properties(resource)["DefinitionSubstitutions"].items():
        value = in_use(chosen)
        function = value.get("!GetAtt", "").removesuffix(".Arn")
        text = text.replace(f"${{{name}}}", function_arn(function) if function else "aws")
    return text


def state_machine(resource: str = "RotateMasterKey") -> dict[str, Any]:
    """The definition of a state machine as it lies in the repository."""
    parsed: dict[str, Any] = json.loads((ROOT / properties(resource)["DefinitionUri"]).read_text())
    return parsed


def listed(value: object) -> list[Any]:
    """The value, if it is a list, or a list of it: IAM takes both."""
    return value if isinstance(value, list) else [value]

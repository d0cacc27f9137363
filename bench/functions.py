"""The functions of template.yaml, and the environment it gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # it has no types

from bench.places import ROOT

_ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Function:
    """One function: the name of its folder, and the environment that the template gives it."""

    name: str
    variables: dict[str, str]


def functions() -> list[Function]:
    """The functions, in the template's order."""
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    common = _variables(template["Globals"]["Function"])
    found = []
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            given = common | _variables(resource["Properties"])
            values = {name: _value(value, template["Parameters"]) for name, value in given.items()}
            found.append(Function(resource["Properties"]["CodeUri"].rpartition("/")[2], _ACCOUNT | values))
    return found


def _variables(properties: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = properties.get("Environment", {}).get("Variables", {})
    return found


def _value(value: Any, parameters: dict[str, Any]) -> str:  # noqa: ANN401 - YAML
    """A variable's value: the default of the parameter it refers to, or a text, which will do for a resource's name."""
    reference = value.get("Ref", "") if isinstance(value, dict) else ""
    return str(parameters[reference]["Default"] if reference in parameters else reference or value)

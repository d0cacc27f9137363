"""Writes what ``docs/deploy.md`` and ``docs/iam.md`` say of the template: ``python -m tests.deployment.report``."""

from __future__ import annotations

import os

from tests.deployment.limits import limits_table
from tests.deployment.permissions import endpoints_table, resources_table, roles_text, starters_table
from tests.tables import table, write
from tests.template import REGION, ROOT, TEMPLATE

DEPLOY = ROOT / "docs" / "deploy.md"
IAM = ROOT / "docs" / "iam.md"


def parameters_text() -> str:
    """A heading and a table for each group of parameters, as the console shows them."""
    parts = []
    for group in TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        rows = [parameter_row(name) for name in group["Parameters"]]
        parts.append(
            f"### {group['Label']['default']}\n\n{table(('parameter', 'default', 'allowed', 'meaning'), rows)}"
        )
    return "\n\n".join(parts)


def parameter_row(name: str) -> tuple[str, ...]:
    """A parameter: its name, default, allowed values and meaning."""
    parameter = TEMPLATE["Parameters"][name]
    default = f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"
    if "AllowedValues" in parameter:
        allowed = ", ".join(f"`{value}`" for value in parameter["AllowedValues"])
    elif "MinValue" in parameter:
        allowed = f"{parameter['MinValue']} to {parameter['MaxValue']}"
    else:
        allowed = parameter.get("ConstraintDescription", "-").removesuffix(".")
    meaning = parameter["Description"].replace("<", "\\<")
    return f"`{name}`", default, allowed, meaning


SECTIONS = {
    (DEPLOY, "parameters"): parameters_text,
    (DEPLOY, "endpoints"): endpoints_table,
    (DEPLOY, "limits"): limits_table,
    (IAM, "roles"): roles_text,
    (IAM, "starters"): starters_table,
    (IAM, "resources"): resources_table,
}


def main() -> None:
    """Fill in all parts."""
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)  # SAM wants to know one
    for (document, name), content in SECTIONS.items():
        write(document, name, content())


if __name__ == "__main__":
    main()

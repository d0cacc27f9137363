"""The schemas of the command's documents."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from tests.template import ROOT


def validator(name: str) -> Draft202012Validator:
    """The validator of ``schemas/<name>.schema.json``."""
    document = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)


def assert_valid(name: str, document: object) -> None:
    """That a document is one of the schema."""
    validator(name).validate(document)

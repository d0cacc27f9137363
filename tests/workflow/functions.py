"""The real handlers of ``functions/``, called in this process as Lambda would call them."""

from __future__ import annotations

import importlib.util
import json
import os
from collections import ChainMap
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.template import CHECK, PUBLISH, REGION, ROOT, START, TEMPLATE, default, function_arn, in_use, properties
from tests.workflow.interpreter import FunctionFailed

if TYPE_CHECKING:
    from types import ModuleType

    from element_rekey.ports import Ports


def _environment() -> dict[str, str]:
    """What the template gives its functions, with a parameter's default for a reference to it."""
    own = (properties(resource).get("Environment", {}).get("Variables", {}) for resource in (START, CHECK, PUBLISH))
    given = dict(ChainMap(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"], *own))
    return {name: _value(in_use(value)) for name, value in given.items()}


def _value(value: Any) -> str:  # noqa: ANN401 - YAML
    reference = value.get("!Ref", "") if isinstance(value, dict) else ""
    return str(default(reference) if reference in TEMPLATE["Parameters"] else reference or value)


ENVIRONMENT = _environment() | {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
}


class Killed(BaseException):
    """The function ends on the spot: nothing it could still do happens. Carries the error the state machine gets."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@lru_cache
def handler_module(resource: str) -> ModuleType:
    """The module of a function, as its ``CodeUri`` and ``Handler`` name it."""
    path = ROOT / properties(resource)["CodeUri"] / "app.py"
    spec = importlib.util.spec_from_file_location(f"functions_{resource}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with patch.dict(os.environ, ENVIRONMENT):
        spec.loader.exec_module(module)
    return module


def call(resource: str, event: Any, ports: Ports) -> Any:  # noqa: ANN401 - JSON
    """A function's answer; raises FunctionFailed as Lambda words it, or the error that a kill carries."""
    module = handler_module(resource)
    context = SimpleNamespace(
        function_name=resource,
        memory_limit_in_mb=512,
        invoked_function_arn=function_arn(resource),
        aws_request_id="00000000-0000-0000-0000-000000000000",
    )
    vars(module)["PORTS"] = ports
    try:
        answer = module.handler(event, context)
    except Killed as crash:
        raise crash.error from None
    except Exception as error:
        raise FunctionFailed(type(error).__name__, str(error)) from error
    return json.loads(json.dumps(answer))

"""Moto's interpreter of state machines under virtual time, with functions that are called in this process.

Everything that reaches into moto is in here. Its interpreter waits, retries, catches and chooses as it always does;
only where it would sleep, look at the clock, or call a Lambda, it asks us.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import lru_cache
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol
from unittest.mock import patch

from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa
from jsonpath_ng.ext.parser import parse
from moto import mock_aws
from moto.core import models as core_models
from moto.sns.models import Subscription
from moto.stepfunctions.parser import models
from moto.stepfunctions.parser.asl.component.common.retry import jitter_strategy_decl, retrier_decl
from moto.stepfunctions.parser.asl.component.common.timeouts.timeout import EvalTimeoutError
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_aws_sdk
from moto.stepfunctions.parser.asl.component.state.wait.wait_function import timestamp
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.eval.evaluation_details import ExecutionDetails
from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils import json_path
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication, Execution
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.workflow.clock import VirtualClock

CONFIG: Any = {"stepfunctions": {"execute_state_machine": True}}

_parse = lru_cache(maxsize=8)(AmazonStateLanguageParser.parse)  # a parsed definition holds no state
_path = lru_cache(parse)


@lru_cache
def _signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class FunctionFailed(Exception):
    """The function itself ended badly: what Lambda puts into its answer for an exception, a crash or a time-out."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(error_type)
        self.answer = {"errorType": error_type, "errorMessage": message}


class Functions(Protocol):
    """Whoever stands in for Lambda."""

    def invoke(self, arn: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """The function's answer. Raises FunctionFailed, or what ``lambda_error`` and ``task_timeout`` give."""

    def ended(self, arn: str) -> None:
        """An execution came to its end."""

    def status(self, arn: str) -> str:
        """How an execution stands. Raises what DescribeExecution does."""


def lambda_error(code: str) -> ClientError:
    """An error of the Lambda service, which the state machine sees as ``Lambda.<code>``."""
    answer: Any = {
        "Error": {"Code": code, "Message": "said Lambda"},
        "ResponseMetadata": {"HTTPStatusCode": 500, "RequestId": "0"},
    }
    return ClientError(answer, "Invoke")


def task_timeout() -> TimeoutError:
    """The task's TimeoutSeconds passed; the state machine sees ``States.Timeout``."""
    error: TimeoutError = EvalTimeoutError()
    return error


@contextmanager
def aws_in_memory() -> Iterator[None]:
    """Moto, answering boto3 only: to listen to ``requests`` as well takes it longer than a whole rotation takes us.

    Nor does it make a new key for each message that it signs.
    """
    with (
        patch.object(core_models, "RESPONSES_METHODS", ()),
        patch.object(Subscription, "private_key", lambda _: _signing_key()),
        mock_aws(config=CONFIG),
    ):
        yield


def parsing_once() -> AbstractContextManager[object]:
    """Have a definition parsed once, however many state machines are made of it."""
    return patch.object(AmazonStateLanguageParser, "parse", staticmethod(_parse))


@contextmanager
def virtual_interpreter(clock: VirtualClock, functions: Functions) -> Iterator[None]:
    """Have moto's state machines run under ``time``, in ``time.run()``, and call ``functions``."""

    def invoke(**given: Any) -> dict[str, Any]:  # noqa: ANN401 - of moto
        said: dict[str, Any] = {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
        try:
            answer = functions.invoke(given["FunctionName"], json.loads(given["Payload"]))
        except FunctionFailed as failure:
            said["FunctionError"] = "Unhandled"
            answer = failure.answer
        return said | {"Payload": BytesIO(json.dumps(answer).encode())}

    def describe_execution(ExecutionArn: str) -> dict[str, str]:  # noqa: N803 - moto leaves the SDK's spelling
        return {"Status": functions.status(ExecutionArn)}

    def details(execution: Execution) -> ExecutionDetails:
        known = plain_details(execution)
        started = execution.start_date.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return ExecutionDetails(known.arn, known.name, known.role_arn, known.inpt, started)

    def terminated(communication: BaseExecutionWorkerCommunication) -> None:
        plain_terminated(communication)
        functions.ended(communication.execution.exec_arn)

    plain_details = Execution.get_start_execution_details
    plain_terminated = BaseExecutionWorkerCommunication.terminated
    datetime_module = SimpleNamespace(
        datetime=SimpleNamespace(now=lambda tz: clock().astimezone(tz)), timezone=timezone
    )
    naive_datetime = SimpleNamespace(now=lambda: clock().replace(tzinfo=None), strptime=datetime.strptime)
    with ExitStack() as patches:
        for target, name, replacement in (
            (timestamp, "datetime", SimpleNamespace(datetime=naive_datetime)),  # of a Wait until a moment
            (WaitFunction, "_wait_interval", lambda _function, **wait: clock.sleep(wait["wait_seconds"])),
            (retrier_decl, "time", SimpleNamespace(sleep=clock.sleep)),
            (jitter_strategy_decl, "random", SimpleNamespace(uniform=lambda _least, most: most)),  # the same every time
            (models, "datetime", datetime_module),
            (EventManager, "_get_current_timestamp", staticmethod(clock)),
            (Execution, "get_start_execution_details", details),
            (BaseExecutionWorkerCommunication, "terminated", terminated),
            (ExecutionWorker, "start", lambda worker: clock.begin(worker._execution_logic)),  # noqa: SLF001
            (lambda_eval_utils, "boto_client_for", lambda **_wanted: SimpleNamespace(invoke=invoke)),
            (
                state_task_service_aws_sdk,
                "boto_client_for",
                lambda **_wanted: SimpleNamespace(describe_execution=describe_execution),
            ),
            (json_path, "parse", _path),
        ):
            patches.enter_context(patch.object(target, name, replacement))
        yield


def abort(execution_arn: str, client: Any) -> None:  # noqa: ANN401 - an untyped part of moto
    """Stop an execution by hand."""
    client.stop_execution(executionArn=execution_arn)


def time_out(execution_arn: str, account: str, region: str) -> None:
    """Let the execution's own time limit pass; moto measures that by the machine's clock."""
    execution: Any = models.stepfunctions_parser_backends[account][region].describe_execution(execution_arn)
    execution.exec_worker.env.set_timed_out()

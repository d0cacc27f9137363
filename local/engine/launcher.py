"""The embedded AWS engine, as a process of its own: ministack on a loopback port, with patches for what it lacks.

Everything that touches ministack's private parts is in this file, and it runs with the one version it was written for.

1. Lambda functions of a Python runtime run under AWS's own runtime client (awslambdaric), through the Runtime API
   that ministack serves to custom runtimes. Its own Python path turns every exception into ``Runtime.HandlerError``,
   so that no Retry or Catch by class name could ever match.
2. Their layers' ``python/`` folders are on the path, as in the cloud; third-party packages come from this interpreter.
3. A CloudWatch alarm that changes its state puts the documented event on the default bus, as in the cloud.
4. An alarm on metric math can be deployed. It changes its state by ``SetAlarmState``, never by itself.
5. The loopback interface counts as TLS, or every policy with ``aws:SecureTransport`` would deny what it allows in AWS.
6. A distributed map keeps the limit that its ``MaxConcurrencyPath`` refers to.
7. Schedules are looked at twice a second, so that nobody waits long for one that is due.

Its argument is the folder it may write to. It lives as long as its standard input is open: a pipe that the parent
holds, and that closes with the parent, however that dies. Then it removes the folder and ends its whole process group,
Lambda processes included.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WRITTEN_FOR = "1.5.33"
KEEP_ALIVE_SECONDS = 75
FOR_FUNCTIONS = frozenset({"AWS_ENDPOINT_URL", "HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR"})
"""What functions see of the engine's own environment. Powertools, for one, would listen to its LOG_LEVEL."""


def main() -> None:
    """Serve until standard input closes. The first and only line on standard output is ``{"port": …}``."""
    folder = Path(sys.argv[1])
    end_with_parent(folder)
    installed = importlib.metadata.version("ministack")
    if installed != WRITTEN_FOR:
        sys.exit(f"the embedded engine needs ministack {WRITTEN_FOR}, here is {installed}; renew the environment")
    listener = listen()
    port = listener.getsockname()[1]
    # ministack reads both when it is imported; Lambda processes inherit the second.
    os.environ["GATEWAY_PORT"] = str(port)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    patch_python_functions(folder)
    patch_alarm_events()
    patch_metric_math()
    patch_secure_transport()
    patch_map_concurrency()
    patch_schedules()
    print(json.dumps({"port": port}), flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads the pipe from here on
    serve(listener)


def end_with_parent(folder: Path) -> None:
    """Watch standard input; at its end neither this process group nor its folder stays."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be in the way of an interpreter that exits
            pass
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)  # the launcher was started as the leader of its own group

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def listen() -> socket.socket:
    """A socket on a port that the system chose: bound here, so no other process can take it in between.

    Connections wait in its backlog until the engine serves.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setblocking(False)  # noqa: FBT003 - its signature
    return listener


def serve(listener: socket.socket) -> None:
    """Run ministack's ASGI application."""
    from hypercorn.asyncio import serve as hypercorn_serve  # noqa: PLC0415 - after the environment is set
    from hypercorn.config import Config  # noqa: PLC0415 - likewise
    from ministack.app import app  # noqa: PLC0415 - likewise

    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.loglevel = "WARNING"
    # A trigger that never comes: hypercorn catches no signals then, and SIGTERM ends this process at once.
    asyncio.run(hypercorn_serve(app, config, shutdown_trigger=asyncio.Event().wait))


def patch_python_functions(folder: Path) -> None:
    """Send Python runtimes down the path of custom runtimes, with awslambdaric as the bootstrap."""
    from ministack.core import lambda_runtime  # noqa: PLC0415 - after the environment is set
    from ministack.services import lambda_svc  # noqa: PLC0415 - likewise

    # A link to one script made before any thread runs. A copy in each code folder could still be open for writing in
    # a process forked meanwhile, and executing it would fail with ETXTBSY.
    bootstrap = folder / "bootstrap"
    bootstrap.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m awslambdaric "$_HANDLER"\n')
    bootstrap.chmod(0o700)

    engine_only = {key: value for key, value in os.environ.items() if key not in FOR_FUNCTIONS}
    extract = lambda_svc._provided_runtime_code_dir  # noqa: SLF001 - the purpose of this file
    environment = lambda_svc._provided_worker_env  # noqa: SLF001 - likewise

    def code_folder(code_zip: bytes) -> str:
        extracted = str(extract(code_zip))
        with contextlib.suppress(FileExistsError):  # extracted before, or by a thread that was faster
            Path(extracted, "bootstrap").symlink_to(bootstrap)
        return extracted

    def with_layers(config: dict[str, Any], code_dir: str, port: int) -> dict[str, str]:
        layers = [lambda_svc._resolve_layer_zip(layer) for layer in config.get("Layers") or []]  # noqa: SLF001 - likewise
        opened = [lambda_svc._docker_extracted_dir(layer, "layer") for layer in layers if layer]  # noqa: SLF001 - likewise
        path = os.pathsep.join(f"{layer}/python" for layer in opened)
        logging = config.get("LoggingConfig") or {}
        variables = environment(config, code_dir, port).items()
        return {
            **{key: value for key, value in variables if engine_only.get(key) != value},
            "PYTHONPATH": path,
            "AWS_LAMBDA_LOG_FORMAT": str(logging.get("LogFormat", "Text")),
        }

    lambda_svc._provided_runtime_code_dir = code_folder  # noqa: SLF001 - likewise
    lambda_svc._provided_worker_env = with_layers  # noqa: SLF001 - likewise
    lambda_svc._execute_function_warm = lambda_svc._execute_function_provided_warm  # noqa: SLF001 - likewise
    lambda_runtime._worker_class_for = lambda _config: lambda_runtime.ProvidedWorker  # noqa: SLF001 - likewise


def patch_alarm_events() -> None:
    """Put "CloudWatch Alarm State Change" on the default bus whenever an alarm's actions are looked at."""
    from ministack.core.responses import get_account_id, get_region  # noqa: PLC0415 - after the environment is set
    from ministack.services import cloudwatch, eventbridge  # noqa: PLC0415 - likewise

    act = cloudwatch._dispatch_alarm_actions  # noqa: SLF001 - the purpose of this file

    def act_and_put_event(alarm: dict[str, Any], old_state: str, new_state: str, reason: str) -> None:
        act(alarm, old_state, new_state, reason)
        name = alarm["AlarmName"]
        arn = alarm.get("AlarmArn") or f"arn:aws:cloudwatch:{get_region()}:{get_account_id()}:alarm:{name}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        entry = {
            "Source": "aws.cloudwatch",
            "DetailType": "CloudWatch Alarm State Change",
            "Resources": [arn],
            "Detail": json.dumps(
                {
                    "alarmName": name,
                    "configuration": {"description": alarm.get("AlarmDescription", ""), "metrics": metrics_of(alarm)},
                    "previousState": {"value": old_state, "timestamp": now},
                    "state": {"value": new_state, "reason": reason, "timestamp": now},
                }
            ),
        }
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)  # noqa: SLF001 - likewise

    cloudwatch._dispatch_alarm_actions = act_and_put_event  # noqa: SLF001 - likewise


def patch_metric_math() -> None:
    """Deploy such an alarm on a metric that nobody publishes."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415 - after the environment is set

    record = provisioners._cw_metric_alarm_record  # noqa: SLF001 - the purpose of this file

    def record_with_math(name: str, properties: dict[str, Any]) -> dict[str, Any]:
        if properties.get("Metrics"):
            plain = {key: value for key, value in properties.items() if key != "Metrics"}
            properties = {**plain, "Namespace": "MetricMath", "MetricName": name}
        return dict(record(name, properties))

    provisioners._cw_metric_alarm_record = record_with_math  # noqa: SLF001 - likewise


def patch_secure_transport() -> None:
    """Let ``aws:SecureTransport`` be true for every request."""
    from ministack import app  # noqa: PLC0415 - after the environment is set

    pin = app.pin_request_origin
    app.pin_request_origin = lambda source_ip, _secure: pin(source_ip, secure_transport=True)


def patch_map_concurrency() -> None:
    """Put the number that MaxConcurrencyPath refers to where the engine looks for it."""
    from ministack.services import stepfunctions  # noqa: PLC0415 - after the environment is set

    run = stepfunctions._run_distributed_map  # noqa: SLF001 - the purpose of this file
    resolve = stepfunctions._resolve_path  # noqa: SLF001 - likewise

    def run_with_limit(state: dict[str, Any], given: Any, effective: Any, *rest: Any) -> Any:  # noqa: ANN401 - JSON
        path = state.get("MaxConcurrencyPath")
        limited = {**state, "MaxConcurrency": resolve(path, effective)} if path else state
        return run(limited, given, effective, *rest)

    stepfunctions._run_distributed_map = run_with_limit  # noqa: SLF001 - likewise


def patch_schedules() -> None:
    """Look at schedules often enough for a person who waits for one."""
    from ministack.services import scheduler  # noqa: PLC0415 - after the environment is set

    scheduler._SCHEDULE_TICK_INTERVAL = 0.5  # noqa: SLF001 - the purpose of this file


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """What the alarm watches, as the event describes it."""
    dimensions = {item["Name"]: item["Value"] for item in alarm.get("Dimensions") or []}
    metric = {"namespace": alarm.get("Namespace", ""), "name": alarm.get("MetricName", ""), "dimensions": dimensions}
    stat = {"metric": metric, "period": alarm.get("Period", 60), "stat": alarm.get("Statistic", "")}
    return [{"id": "m1", "metricStat": stat, "returnData": True}]


if __name__ == "__main__":
    main()

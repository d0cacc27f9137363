"""The whole stack on one machine: simulated clusters, the engine, the real template deployed, all registered."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from local.aws import connect
from local.deployment import Deployment, deploy
from local.engine import Engine, EngineFailed
from local.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from local.simulator import ClusterSpec

REAL_SETTLING_SECONDS = 120
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Stack:
    """What runs: the clusters, the AWS engine, and the application deployed to it."""

    simulator: Simulator
    engine: Engine
    deployment: Deployment


def local_parameters(wait_scale: float) -> dict[str, str]:
    """The parameters of the template that are other than on AWS; none, where no wait is shortened.

    The settling time is shortened as the waits are. The slots of a scheduled run are times of the day, which nothing
    shortens; so there are none, nor a daily look that the time of day begins.
    """
    if wait_scale == 1:
        return {}
    settling = max(1, round(REAL_SETTLING_SECONDS * wait_scale))
    return {"SettlingSeconds": str(settling), "SpreadMinutes": "0", "ReadinessState": "DISABLED"}


@contextmanager
def running_stack(
    specs: Iterable[ClusterSpec],
    wait_scale: float,
    report: Callable[[str, str], None] = lambda _what, _detail: None,
    *,
    register: bool = True,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """Set everything up, calling ``report`` after each step; at the end of the block nothing of it is left.

    Raises SimulatorError, EngineFailed or DeploymentFailed, each a sentence.
    """
    with ExitStack() as running:
        simulator = running.enter_context(Simulator(specs))
        clusters = list(simulator)
        report("Element simulator", ", ".join(f"{cluster.name} at {cluster.url}" for cluster in clusters))
        engine = running.enter_context(Engine(wait_scale))
        report("AWS engine", engine.endpoint_url)
        try:
            deployment = deploy(connect(engine.endpoint_url), {**local_parameters(wait_scale), **(parameters or {})})
            report("template deployed", f"stack {deployment.stack_name}, {deployment.resources} resources")
            for cluster in clusters if register else ():
                deployment.register(cluster.name, cluster.registration())
                report("cluster registered", f"secret {deployment.secret_prefix}/{cluster.name}")
            yield Stack(simulator, engine, deployment)
        except (BotoCoreError, ClientError) as error:
            engine.wait(PATIENCE_SECONDS)  # a call that failed because the engine is dead is reported as that
            if isinstance(error, BotoCoreError):
                raise EngineFailed(f"The embedded AWS engine gave no answer: {error}") from error
            raise

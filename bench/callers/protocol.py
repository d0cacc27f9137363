"""How a benchmark talks to a client it measures: JSON, one line each way, over standard input and output."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Target:
    """The cluster to call, and the asynchronous result to ask it for."""

    mvip: str
    username: str
    password: str
    ca_file: str
    handle: int = 0

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"https://{self.mvip}/json-rpc/12.3"


class Caller(Protocol):
    """One client of one cluster. Every method is one call of the API."""

    def identity(self) -> object:
        """``GetClusterInfo``."""

    def job(self) -> object:
        """``GetAsyncResult`` of the target's handle, with ``keepResult``."""

    def encryption(self) -> object:
        """``GetSoftwareEncryptionAtRestInfo``."""

    def close(self) -> None:
        """Drop what is kept between calls."""


def request(method: str, **params: object) -> dict[str, Any]:
    """The body of a call, for clients that leave it to their user."""
    return {"method": method, "params": params, "id": 1}


def serve(make: Callable[[Target], Caller]) -> None:
    """Measure as the lines of standard input say, until it ends. The first line is the target."""
    target = Target(**json.loads(sys.stdin.readline()))
    caller = make(target)

    def check() -> None:
        """What the first look at a running rekey costs a function that has just started."""
        fresh = make(target)
        fresh.identity()
        fresh.job()
        fresh.encryption()
        fresh.close()

    operations: dict[str, Callable[[], object]] = {"job": caller.job, "encryption": caller.encryption, "check": check}
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(measure(operations[order["operation"]], order["calls"])), flush=True)
    caller.close()


def measure(operation: Callable[[], object], calls: int) -> dict[str, Any]:
    """Nanoseconds of each call, and of the processor for all of them; one call before that counts for nothing."""
    operation()
    wall = []
    cpu = time.process_time_ns()
    for _ in range(calls):
        began = time.perf_counter_ns()
        operation()
        wall.append(time.perf_counter_ns() - began)
    return {"wall": wall, "cpu": time.process_time_ns() - cpu}

"""Fixtures of the simulator's tests: a cluster without sockets under a clock the test moves, and one that listens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from local.simulator import ClusterSpec, RunningCluster, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, 12, 0, 18, 660275, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator([ClusterSpec(name="prod-a", rekey_seconds=0.0)]) as simulator:
        yield simulator


@pytest.fixture
def running(shared: Simulator) -> Iterator[RunningCluster]:
    cluster = shared["prod-a"]
    yield cluster
    cluster.clear_faults()

"""The worlds in which the workflow's tests play."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.simulator import ClusterSpec
from tests.workflow.world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator

REKEY_SECONDS = 30.0


@pytest.fixture
def here() -> Iterator[World]:
    """One cluster, prod-a, with an internal key of a hundred days; a rekey takes half a minute."""
    with world(ClusterSpec(rekey_seconds=REKEY_SECONDS)) as made:
        yield made

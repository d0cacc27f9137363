"""The harness that most of the workflow's tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.simulator import ClusterSpec
from tests.workflow.full_harness import FullHarness, full_harness

if TYPE_CHECKING:
    from collections.abc import Iterator

REKEY_SECONDS = 30.0


@pytest.fixture
def harness() -> Iterator[FullHarness]:
    """One cluster, prod-a, with an internal key of a hundred days; a rekey takes half a minute."""
    with full_harness(ClusterSpec(rekey_seconds=REKEY_SECONDS)) as made:
        yield made

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenarios import run_scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.scenarios import Results


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    with run_scenarios() as result:
        yield result

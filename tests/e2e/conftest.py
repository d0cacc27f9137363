from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenarios import played

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.scenarios import Everything


@pytest.fixture(scope="session")
def everything() -> Iterator[Everything]:
    with played() as result:
        yield result

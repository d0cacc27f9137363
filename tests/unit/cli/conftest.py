from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from tests.unit.cli.harness import Harness, empty, make_table, moto_client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    with mock_aws():
        moto_client.cache_clear()
        make_table()
        yield
    moto_client.cache_clear()


@pytest.fixture
def harness(aws: None) -> Harness:  # noqa: ARG001 - it has to be there
    empty()
    return Harness()

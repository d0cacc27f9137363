from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from element_rekey.aws import telemetry

# Loaded machines are slow, not wrong; the same examples in every run, so that a red build can be repeated.
settings.register_profile("unit", deadline=None, max_examples=80, derandomize=True, database=None)
settings.load_profile("unit")

OVER_THE_WIRE = Path(__file__).parent / "element"


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest) -> None:
    """No unit test opens a socket, but for those of the Element client."""
    if not request.path.is_relative_to(OVER_THE_WIRE):
        request.getfixturevalue("socket_disabled")


@pytest.fixture(autouse=True)
def no_account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up AWS credentials, so that nothing finds real ones."""
    if not request.path.is_relative_to(OVER_THE_WIRE):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one Metrics reads its environment when it is made, which may have been before any test."""
    monkeypatch.setattr(telemetry.metrics.provider, "service", "element-rekey")

"""Where things are, and the environment a measured process gets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYER = ROOT / "layers" / "element_rekey"
REPORT = ROOT / "docs" / "performance.md"
SDK_ENVIRONMENT = ROOT / ".venv-sdk"

_NOT_HANDED_ON = ("PYTHON", "AWS_", "POWERTOOLS_", "SSL_", "REQUESTS_", "CURL_")


class Unmeasurable(Exception):
    """A benchmark cannot run here; the message says what to do."""


def sdk_interpreter() -> Path:
    """The interpreter that NetApp's SDK is installed in. Raises Unmeasurable."""
    interpreter = SDK_ENVIRONMENT / "bin" / "python"
    if not interpreter.exists():
        raise Unmeasurable(f"NetApp's SDK is not installed: make {SDK_ENVIRONMENT.name}/.ready")
    return interpreter


def make_importable() -> None:
    """Put the application's package, whose folder is a layer, on this interpreter's path."""
    if str(LAYER) not in sys.path:
        sys.path.append(str(LAYER))


def environment(*path: Path, **changes: str) -> dict[str, str]:
    """This process's environment without whatever could sway a measurement, with ``path`` to import from."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_HANDED_ON) and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONPATH": os.pathsep.join(map(str, path))} | changes

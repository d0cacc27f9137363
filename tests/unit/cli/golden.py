"""What the command prints, in files: compared, and written anew with ``ELEMENT_REKEY_WRITE_GOLDEN=1``."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("golden")


def assert_is(name: str, text: str) -> None:
    """That this is what the file says."""
    file = FOLDER / name
    if os.environ.get("ELEMENT_REKEY_WRITE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")

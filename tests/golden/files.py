"""The golden files: where they lie, and how JSON is laid out in them, so that a difference shows on one line."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RELEASES = sorted(folder.name for folder in HERE.glob("release-*"))
"""Of each there is a folder."""
_WIDTH = 120
_SHOWN = 80  # lines of a difference; whoever needs all of them looks at git diff after writing anew


def current_release() -> str:
    """The folder of the release that is being worked on."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())
    return f"release-{project['project']['version']}"


def path_of(release: str, name: str) -> Path:
    """The file of a scenario."""
    return HERE / release / f"{name}.json"


def names(release: str) -> list[str]:
    """The scenarios of a release."""
    return sorted(path.stem for path in (HERE / release).glob("*.json"))


def read(release: str, name: str) -> dict[str, Any]:
    """What a release wrote in a scenario."""
    stored: dict[str, Any] = json.loads(path_of(release, name).read_text(encoding="utf-8"))
    return stored


def text_of(value: Any) -> str:  # noqa: ANN401 - JSON
    """JSON with sorted members, indented; what fits on one line stays there."""
    return _laid_out(value, 0, 0) + "\n"


def _laid_out(value: Any, indent: int, taken: int) -> str:  # noqa: ANN401 - JSON
    plain = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or indent + taken + len(plain) < _WIDTH:
        return plain
    inner = indent + 1
    if isinstance(value, dict):
        labels = {name: f"{json.dumps(name, ensure_ascii=False)}: " for name in sorted(value)}
        lines = [label + _laid_out(value[name], inner, len(label)) for name, label in labels.items()]
    else:
        lines = [_laid_out(one, inner, 0) for one in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    separator = ",\n" + " " * inner
    return f"{opening}\n{' ' * inner}{separator.join(lines)}\n{' ' * indent}{closing}"


def difference(stored: Any, came: Any) -> str:  # noqa: ANN401 - JSON
    """What differs, line by line; empty where nothing does."""
    if stored == came:
        return ""
    lines = difflib.unified_diff(text_of(stored).split("\n"), text_of(came).split("\n"), "stored", "now", lineterm="")
    return "\n".join(list(lines)[:_SHOWN])

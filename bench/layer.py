"""The layer as it is deployed: this project's package, and the distributions that its lock file names."""

from __future__ import annotations

import compileall
import re
import shutil
from importlib.metadata import Distribution, distribution
from pathlib import Path

from bench.places import LAYER, PACKAGE, ROOT, Unmeasurable

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_NO_CACHE = shutil.ignore_patterns("__pycache__")


def pinned(lock_file: Path) -> list[str]:
    """The distributions that a lock file names."""
    return _PINNED.findall(lock_file.read_text(encoding="utf-8"))


def files(installed: Distribution) -> dict[str, Path]:
    """What a distribution put into its environment, by the path to import it from; no bytecode, no commands."""
    found = {str(file): Path(str(file.locate())) for file in installed.files or () if file.suffix != ".pyc"}
    return {name: path for name, path in found.items() if not name.startswith("..")}


def deploy(to: Path, *, bytecode: bool) -> None:
    """Copy the layer to ``to/python`` and the functions to ``to/functions``, with or without their bytecode."""
    python = to / "python"
    shutil.copytree(PACKAGE, python / PACKAGE.name, ignore=_NO_CACHE)
    shutil.copytree(ROOT / "functions", to / "functions", ignore=_NO_CACHE)
    for name in pinned(LAYER / "requirements.txt"):
        for within, path in files(distribution(name)).items():
            (python / within).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, python / within)
    if bytecode and not compileall.compile_dir(to, quiet=1):
        raise Unmeasurable("not all of the sources compile")

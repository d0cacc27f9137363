"""``python -m tests.golden``: write the golden files of the release that is being worked on."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout
from io import StringIO

from tests.golden.files import current_release, path_of, text_of
from tests.golden.harness import played
from tests.golden.scenarios import SCENARIOS


def main() -> None:
    """Play every scenario and write down what came of it; say which files are not as they were."""
    release = current_release()
    logging.disable()
    for name, scenario in SCENARIOS.items():
        with redirect_stdout(StringIO()):  # the functions' metrics
            text = text_of(played(scenario))
        path = path_of(release, name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{release}/{path.name}\n")


if __name__ == "__main__":
    main()

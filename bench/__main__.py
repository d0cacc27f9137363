"""``python -m bench``: run benchmarks, print their tables, and write them into docs/performance.md if asked to."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from bench import report
from bench.places import Unmeasurable
from bench.registry import BENCHMARKS

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, next to what one would use instead.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few rounds only: does it run, and what is the order")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - BENCHMARKS.keys())
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in options.names or BENCHMARKS:
        began = time.monotonic()
        try:
            table = BENCHMARKS[name](options.quick)
        except Unmeasurable as why:
            print(f"bench: {name}: {why}", file=sys.stderr)
            return 1
        print(f"\n{name} ({time.monotonic() - began:.0f} s, {report.machine()})\n\n{table}", flush=True)
        if options.write:
            report.write(name, table, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())

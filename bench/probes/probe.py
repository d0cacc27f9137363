"""Import one module in a fresh interpreter; prints what that took, as JSON.

Run as a script, with the module's name; it imports as little as it can before that.
"""

import sys
import time


def resident() -> "int | None":
    """Bytes of this process in memory, where the system tells."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - pathlib would be imported for it
            pages = int(statm.read().split()[1])
    except OSError:
        return None
    import resource  # noqa: PLC0415 - after the measurement

    return pages * resource.getpagesize()


def main() -> None:
    """The measurement."""
    wall, cpu = time.perf_counter(), time.process_time()
    __import__(sys.argv[1])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    import json  # noqa: PLC0415 - after the measurement

    print(json.dumps({"wall": wall, "cpu": cpu, "resident": resident()}))


main()

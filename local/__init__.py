"""The whole application on one machine."""

import importlib.util
import signal
import sys

# So it is only while the interpreter looks for the module it is to run: "python -m local", "python -m local.simulator".
if sys.argv[0] == "-m":
    # Until the command takes signals over there is nothing to clean up, and a traceback would tell nobody anything.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for _name in ("boto3", "ministack", "rich", "trustme"):
        if importlib.util.find_spec(_name) is None:
            sys.exit(f"local: {_name} is not installed for {sys.executable}; use make, or .venv/bin/python")

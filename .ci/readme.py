"""Run what the documents say: every shell command in them, in its order, against an engine on this machine.

What `make` does is run by `.ci/run` already. A guided deployment is answered with the defaults.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from local.engine import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Engine  # noqa: E402 - after the path is set
from local.simulator import ClusterSpec, Simulator  # noqa: E402 - after the path is set
from local.whereabouts import AWS_FUNCTION  # noqa: E402 - after the path is set

TOOLS = ROOT / ".venv-sam" / "bin"
SECONDS = 300
WAIT_SCALE = 0.05
PARAMETERS = len(
    re.findall(r"^    Type: (?:String|Number|CommaDelimitedList)$", (ROOT / "template.yaml").read_text(), re.MULTILINE)
)
FOR_A_PERSON = ("make ", "pip install", "…", "event.json", "element ", "element(", "10.20.30.40")
ANSWERS = "\n".join(
    [
        *[""] * (2 + PARAMETERS),  # stack name, region, and each parameter: as proposed
        "n",  # confirm changes before deploy
        "y",  # let it create roles
        "n",  # disable rollback
        "n",  # save the arguments
        "",
    ]
)


def commands(document: str) -> list[str]:
    """The shell commands of a document, without those of make, and without those that name what only a person knows."""
    blocks = re.findall(r"```sh\n(.*?)```", document, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not any(word in line for word in FOR_A_PERSON)]


def environment(endpoint: str) -> dict[str, str]:
    """The user's, with the tools on the path and AWS on this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "PATH": os.pathsep.join([str(TOOLS), os.environ["PATH"], str(ROOT / ".venv" / "bin")]),  # there is our command
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_PAGER": "",
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.5",
    }


def main(documents: list[str]) -> int:
    """Run them all; the exit status of the first that fails."""
    secret, answers = ROOT / "prod-a.json", ROOT / "prod-a-answers.json"
    try:
        with Simulator([ClusterSpec(name="prod-a", rekey_seconds=1)]) as simulator, Engine(WAIT_SCALE) as engine:
            cluster = simulator["prod-a"]
            secret.write_text(json.dumps(cluster.registration()))
            before = cluster.cluster.current_key
            for document in documents:
                script = "\n".join([AWS_FUNCTION, "set -x", *commands((ROOT / document).read_text())])
                ran = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", script],
                    cwd=ROOT,
                    env=environment(engine.endpoint_url),
                    input=ANSWERS,  # only the guided deployment asks
                    text=True,
                    timeout=SECONDS,
                    check=False,
                )
                if ran.returncode:
                    print(f"{document}: the last command above failed with exit status {ran.returncode}.")
                    return 1
            deadline = time.monotonic() + SECONDS
            while cluster.cluster.current_key == before:  # the execution was started, not waited for
                if time.monotonic() > deadline:
                    print("The commands ran, but the cluster was not rotated.")
                    return 1
                time.sleep(0.2)
    finally:
        secret.unlink(missing_ok=True)
        answers.unlink(missing_ok=True)
    print("Every command of the documents ran, and the cluster was rotated.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["README.md", "docs/runbook.md", "docs/first-real-cluster.md"]))

"""Where a running ``make up`` is: a file that other tools of the same user find, and lines for a shell.

The file is ``element-rekey-up-<uid>.json`` in the user's temporary folder (``$TMPDIR``, or ``/tmp``). Only its owner
can read it, and it goes away with the process that wrote it. It holds what ``up`` prints, and the ``pid`` of that
process. Of two at the same time the later one is found.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.lifeline import Lifeline

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

HELP = 'print shell lines that point the AWS CLI at a running "up": eval "$(make -s env)"'
UNSET = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
)
"""What a user may have set, and what would have the AWS CLI look elsewhere, or refuse an endpoint of one's own."""


AWS_FUNCTION = 'aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }'
"""For queues, version 1 of the AWS CLI looks at the option only, not at the variable (its overridesslcommonname.py)."""


class NotFound(Exception):
    """Nothing runs, as far as can be seen; one sentence."""


class CannotTell(Exception):
    """The file cannot be written; one sentence."""


def path() -> Path:
    """Where the file is."""
    return Path(tempfile.gettempdir(), f"element-rekey-up-{os.getuid()}.json")


@contextmanager
def findable(document: Mapping[str, Any]) -> Iterator[None]:
    """Let others find the document for as long as the block and this process last. Raises CannotTell."""
    pid = f'"pid": {os.getpid()}, '
    # Only our own: another one may have been started since.
    lifeline = Lifeline('grep -qF -- "$1" "$2" && rm -f -- "$2"', pid, str(path()))
    try:
        _write(json.dumps({"pid": os.getpid(), **document}))
        yield
    finally:
        lifeline.close()


def _write(text: str) -> None:
    """Nobody ever sees a part of it."""
    try:
        number, name = tempfile.mkstemp(prefix="element-rekey-up-", dir=path().parent)  # for nobody else to read
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path())
    except OSError as error:
        raise CannotTell(f"The file {path()} cannot be written: {error}") from error


def found() -> dict[str, Any]:
    """What ``findable`` was given in the process that runs. Raises NotFound."""
    try:
        number = os.open(path(), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        raise NotFound('Nothing runs here; start "make up" in another shell.') from None
    with os.fdopen(number, encoding="utf-8") as file:
        about = os.fstat(number)
        if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise NotFound(f"{path()} can be read or written by others; it is not from make up.")
        return dict(json.load(file))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(_: argparse.Namespace) -> int:
    """Print the lines."""
    print(shell_lines(found()))
    return 0


def exports(document: Mapping[str, Any]) -> str:
    """The line that is enough for anything that AWS's own SDKs are in."""
    values = {
        "AWS_ENDPOINT_URL": document["endpointUrl"],
        "AWS_REGION": document["region"],
        "AWS_DEFAULT_REGION": document["region"],
        "AWS_ACCESS_KEY_ID": document["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": document["secretAccessKey"],
    }
    return f"export {_assignments(values)}"


def shell_lines(document: Mapping[str, Any]) -> str:
    """Lines for sh, bash and zsh: AWS is here, and the variables of docs/runbook.md are set."""
    machines = document["stateMachineArns"]
    names = {
        "STACK": document["stackName"],
        "ROTATE": machines["RotateMasterKey"],
        "FLEET": machines["RotateFleet"],
        "TABLE": document["tableName"],
        "QUEUE": document["deadLettersUrl"],
        "NOTIFICATIONS": document["queueUrl"],
    }
    no_proxy = (f'{name}="127.0.0.1${{{name}:+,${name}}}"' for name in ("NO_PROXY", "no_proxy"))
    return "\n".join(
        (
            f"unset {' '.join(UNSET)}",
            exports(document),
            f"export AWS_PAGER= {' '.join(no_proxy)}",
            AWS_FUNCTION,
            _assignments(names),
        )
    )


def _assignments(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())

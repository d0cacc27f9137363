"""An AWS endpoint on this machine: ministack in a process of its own, for as long as the ``with`` block lasts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

REGION = "us-east-1"
ACCESS_KEY_ID = "test"  # the engine's account owner; anything else is an IAM principal to it
SECRET_ACCESS_KEY = "test"  # noqa: S105 - not a secret: a fixed word of the engine
LAUNCHER = Path(__file__).with_name("launcher.py")
START_SECONDS = 60
STOP_SECONDS = 10


class EngineFailed(Exception):
    """The engine did not start, or ended although nobody asked it to; one sentence for a person."""


@dataclass
class Engine:
    """One running engine. ``wait_scale`` multiplies every wait and retry pause of its Step Functions."""

    wait_scale: float = 1.0
    _folder: tempfile.TemporaryDirectory[str] = field(init=False, repr=False)
    _process: subprocess.Popen[bytes] = field(init=False, repr=False)
    _port: int = field(init=False, default=0)

    @property
    def endpoint_url(self) -> str:
        """Where every AWS service answers."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The engine's process, leader of the group its Lambda processes are in."""
        return self._process.pid

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        self._folder = tempfile.TemporaryDirectory(prefix="element-rekey-", ignore_cleanup_errors=True)
        with contextlib.ExitStack() as undo:
            undo.callback(self._folder.cleanup)
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", str(LAUNCHER), self._folder.name],
                    stdin=subprocess.PIPE,  # its lifeline: closed when this process ends, however it ends
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._folder.name,
                    env=self._environment(),
                    start_new_session=True,  # Ctrl-C is for us alone; and one group to end
                )
            undo.callback(self._end)
            self._port = self._first_answer()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it with all its processes and files."""
        try:
            self._end()
        finally:
            self._folder.cleanup()

    def log(self) -> str:
        """What it wrote: warnings and errors only."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it ends by itself, which it should not, and then raise EngineFailed; or until the time is over."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise EngineFailed(f"The embedded AWS engine ended unexpectedly: {self._ending()}.")

    @property
    def _log(self) -> Path:
        return Path(self._folder.name, "engine.log")

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's but the search path: no AWS settings, proxies, CA bundles or Python options."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": self._folder.name,  # Lambda processes look for ~/.aws and ~/.netrc
            "TMPDIR": self._folder.name,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "AUTH": "true",  # the roles of the functions are enforced
            "IOT_MTLS_ENABLED": "0",  # would listen on all interfaces
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "DOCKER_HOST": f"unix://{self._folder.name}/no-docker",  # leave the user's containers alone
            "STATE_DIR": f"{self._folder.name}/state",  # or it would be a fixed folder, shared by all engines
            "S3_DATA_DIR": f"{self._folder.name}/s3",
            "MINISTACK_REGION": REGION,
            "SFN_WAIT_SCALE": repr(self.wait_scale),
        }

    def _first_answer(self) -> int:
        """The port, once the engine serves there. The connection waits in the listener's backlog until then."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        with stdout:
            line = stdout.readline()
        if not line:
            raise EngineFailed(f"The embedded AWS engine did not start: {self._ending()}.")
        port = int(json.loads(line)["port"])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/_ministack/health")
            connection.getresponse().read()
        except TimeoutError as error:
            raise EngineFailed(f"The embedded AWS engine did not answer within {START_SECONDS} seconds.") from error
        except (OSError, http.client.HTTPException) as error:
            raise EngineFailed(f"The embedded AWS engine did not start: {self._ending()}.") from error
        finally:
            connection.close()
        return port

    def _ending(self) -> str:
        """Why it ended, in a few words: the signal, or the last line of its log."""
        try:
            status = self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        lines = self.log().strip().splitlines()
        return lines[-1].rstrip(".") if lines else f"exit status {status}"

    def _end(self) -> None:
        """End the whole group; its leader may be gone already."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=STOP_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()

"""A stack of its own for a benchmark: started, waited for, stopped, and its data gone."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.env_file import read_env_file

START_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.1
LOG_TAIL_CHARACTERS = 4_000
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "WEB_WORKERS", "WEB_THREADS", "WORKER_THREADS")
"""Nothing else: addresses of the caller's own servers must not lead a benchmark to real data."""


class StackFailed(Exception):
    """The stack did not start; the text ends with what it said."""


@contextmanager
def ephemeral_stack() -> Iterator[dict[str, str]]:
    """Runs `threadkeep up --ephemeral`; gives the variables by which to reach it.

    Raises `StackFailed` when it does not serve within two minutes.
    """
    # The folder has no `.threadkeep`, whose addresses would count as given.
    with tempfile.TemporaryDirectory(prefix="threadkeep-benchmark-") as name:
        folder = Path(name)
        process = _start(folder)
        try:
            yield _wait(process, folder)
        finally:
            _stop(process)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    # The script stands beside the interpreter, on the path or not.
    script = Path(sys.executable).with_name("threadkeep")
    options = ("--ephemeral", "--port", "0", "--flower-port", "0", "--env-file", "env")
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [str(script), "up", *options],
            cwd=folder,
            env=kept,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A Ctrl-C is for the benchmark, which then stops the stack.
            start_new_session=True,
        )


def _wait(process: subprocess.Popen[bytes], folder: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_SECONDS
    env_file = folder / "env"
    while not env_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / "log").read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
            raise StackFailed(f"the stack does not start:\n{said}")
        time.sleep(POLL_SECONDS)
    return read_env_file(env_file)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # Its guardian ends whatever it leaves.
        process.kill()
        process.wait()

"""A real stack as a process of its own, and what can be done to its parts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded import procfs
from embedded.env_file import read_env_file
from support.waiting import eventually

START_SECONDS = 90
STOP_SECONDS = 10
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "PYTHONPATH")


class Launched:
    """A stack that serves. `folder` is its temporary home, the working folder included."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, env: dict[str, str]) -> None:
        self._process = process
        self._folder = folder
        self.env = env

    @property
    def url(self) -> str:
        """Where the API is."""
        return self.env["API_URL"]

    @property
    def pids(self) -> dict[str, int]:
        """Every process as announced at the start, servers included."""
        pairs = (pair.rsplit(":", 1) for pair in self.env["THREADKEEP_PIDS"].split(","))
        return {name: int(pid) for name, pid in pairs}

    def pids_now(self) -> dict[str, int]:
        """Every process as it is now, the restarted ones under their new numbers."""
        (record,) = self._folder.glob("threadkeep-*/run/pids.json")
        return {
            found["name"]: found["pid"] for found in json.loads(record.read_text())["processes"]
        }

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to every process of a program, its leader first."""
        leader = self.pids_now()[name]
        members = procfs.session_members(leader)
        procfs.send([leader, *(pid for pid in members if pid != leader)], number)

    def log_of(self, name: str) -> str:
        """What a program has printed."""
        (log,) = self._folder.glob(f"threadkeep-*/logs/{name}.log")
        return log.read_text(errors="replace")

    def stop(self) -> None:
        """Stops it as an operator would, and proves that nothing is left of it."""
        pids = {**self.pids, **self.pids_now(), "up": self._process.pid}
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=STOP_SECONDS * 3)
        took = time.monotonic() - started
        alive = [name for name, pid in pids.items() if is_alive(pid)]
        assert not alive, f"still alive after the stop: {alive}"
        assert took < STOP_SECONDS, f"stopping took {took:.1f} s"
        assert not list(self._folder.glob("threadkeep-*")), "an ephemeral stack left its data"


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    found = procfs.entry(pid)
    return found is not None and found.alive


@contextmanager
def launched(folder: Path, **settings: str) -> Iterator[Launched]:
    """A stack of `threadkeep up` with servers of its own, stopped at the end."""
    env_file = folder / "env"
    # The script stands beside the interpreter that runs the tests.
    script = Path(sys.executable).with_name("threadkeep")
    options = ["--ephemeral", "--port", "0", "--flower-port", "0", "--env-file", str(env_file)]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [str(script), "up", *options],
            # The folder has no `.threadkeep`, whose addresses would count as given.
            cwd=folder,
            env=clean_environment() | {"TMPDIR": str(folder)} | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: env_file.exists() or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, "the stack ended while starting"
        stack = Launched(process, folder, read_env_file(env_file))
    except AssertionError as error:
        # The logs go with the stack.
        logs = _logs(folder)
        process.terminate()
        process.wait(timeout=STOP_SECONDS * 3)
        raise RuntimeError(f"no stack to test against: {error}\n{logs}") from error
    try:
        yield stack
    except BaseException:
        process.terminate()
        process.wait(timeout=STOP_SECONDS * 3)
        raise
    stack.stop()


def clean_environment() -> dict[str, str]:
    """The environment without any address or setting of a stack that already runs."""
    return {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}


def _logs(folder: Path) -> str:
    files = [folder / "up.log", *sorted(folder.glob("threadkeep-*/logs/*.log"))]
    return "\n".join(
        f"--- {file.name}\n{file.read_text(errors='replace')[-4000:]}" for file in files
    )

"""Starts `threadkeep up` and servers as processes, and signals any part of them."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.env_file import read_env_file
from embedded.files import tail
from embedded.supervision import procfs
from embedded.supervision.process import Child, Spec

START_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05
LOG_LINES = 40
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "PYTHONPATH")
_CODE_ROOT = Path(__file__).resolve().parents[2]


NO_LIMITS = {
    f"THREADKEEP_LIMIT_{name}": "0" for name in ("WRITES", "READS", "SEARCHES", "HEAVY", "WAITING")
}
"""The settings of a stack whose few users ask for more than any user may."""


class StackFailed(Exception):
    """A stack did not start; the text ends with its output."""


def clean_environment() -> dict[str, str]:
    """This process's environment without any address or setting of a stack that already runs."""
    return {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}


class Launched:
    """A supervisor in a process of its own, with everything it runs; a context manager.

    It is asked to stop when this process dies, however that happens.
    """

    def __init__(self, spec: Spec, data: Callable[[], Path], env_file: Path, log: Path) -> None:
        """Start it. `data` finds the folder of the stack, which need not exist yet."""
        self.env: dict[str, str] = {}
        self._data = data
        self._env_file = env_file
        self._log = log
        self._child = Child(spec, log, {})

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        return self._child.pid

    @property
    def url(self) -> str:
        """The URL of the API, if it has one."""
        return self.env["API_URL"]

    @property
    def data(self) -> Path:
        """The folder of its data."""
        return self._data()

    def wait_until_ready(self) -> None:
        """Wait until it has written its addresses, which are in `env` from then on.

        Raises:
            StackFailed: It ended, or did not serve within two minutes.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._env_file.exists():
            if self._child.status() is not None or time.monotonic() > deadline:
                raise StackFailed(f"the stack does not start:\n{self.logs()}")
            time.sleep(POLL_SECONDS)
        self.env = read_env_file(self._env_file)

    def pids_now(self) -> dict[str, int]:
        """Return name -> pid of every leader as it is now, restarted ones under their new pids."""
        record = self._data() / "run" / "pids.json"
        return {
            found["name"]: found["pid"] for found in json.loads(record.read_text())["processes"]
        }

    def announced_pids(self) -> dict[str, int]:
        """Return name -> pid as `threadkeep up` announced them when it was ready."""
        pairs = (pair.rsplit(":", 1) for pair in self.env["THREADKEEP_PIDS"].split(","))
        return {name: int(pid) for name, pid in pairs}

    def members(self, name: str) -> list[int]:
        """Return the pids of a program, its leader first, or nothing while it is down."""
        leader = self.pids_now().get(name)
        if leader is None:
            return []
        members = [leader, *procfs.session_members(leader)]
        if name == "postgres":
            # Each of its backends leads a session of its own.
            members += procfs.working_in(self._data() / "postgres" / "cluster", "postgres")
        return list(dict.fromkeys(members))

    def signal(self, name: str, number: signal.Signals) -> list[int]:
        """Send a signal to every process of a program and return their pids."""
        members = self.members(name)
        procfs.send(members, number)
        return members

    def log_of(self, name: str) -> str:
        """Return what a program has printed."""
        return (self._data() / "logs" / f"{name}.log").read_text(errors="replace")

    def logs(self) -> str:
        """Return the ends of all logs, while the stack's folder is there."""
        try:
            files = [self._log, *sorted((self._data() / "logs").glob("*.log"))]
        except OSError:
            files = [self._log]
        return "\n".join(f"--- {file.name}\n{tail(file, LOG_LINES)}" for file in files)

    def stop(self) -> float:
        """Stop it as an operator would and return the seconds that took.

        What has not ended after twenty seconds is killed, and its guardian ends the rest.
        """
        started = time.monotonic()
        self._child.ask_to_stop()
        while self._child.status() is None and time.monotonic() < started + STOP_SECONDS:
            time.sleep(POLL_SECONDS)
        took = time.monotonic() - started
        while self._child.status() is None:
            self._child.kill_rest()
            time.sleep(POLL_SECONDS)
        return took

    def __enter__(self) -> Self:
        """Wait until it is ready; one that does not get ready is stopped."""
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()


def launch_up(
    folder: Path, env: dict[str, str], *without: str, data: Path | None = None
) -> Launched:
    """Start `threadkeep up` on data of its own below `folder`, with exactly this environment.

    The servers that `env` names are used, the others are started. Programs named in `without`
    are not. The data is deleted at the end, unless it is in `data`.
    """
    env_file = folder / "env"
    # The script is in the folder of the interpreter, on the path or not.
    script = Path(sys.executable).with_name("threadkeep")
    ports = ("--port", "0", "--flower-port", "0", "--realtime-port", "0")
    options = (
        *(("--ephemeral",) if data is None else (f"--data={data}",)),
        *ports,
        *(f"--without={name}" for name in without),
        f"--env-file={env_file}",
    )
    spec = Spec(
        name="up",
        command=(str(script), "up", *options),
        env=env | {"TMPDIR": str(folder)},
        # The folder has no `.threadkeep`, whose addresses would count as given.
        cwd=folder,
        death_signal=signal.SIGTERM,
    )
    return Launched(spec, lambda: data or _ephemeral(folder), env_file, folder / "up.log")


def launch_servers(folder: Path, env: dict[str, str], max_memory: str = "1gb") -> Launched:
    """Start the four servers alone, with their data in `folder`/data; `env` gets their URLs."""
    env_file = folder / "servers.env"
    data = folder / "data"
    spec = Spec(
        name="servers",
        command=(
            sys.executable,
            "-m",
            "selftest.bed.servers",
            f"--data={data}",
            f"--env-file={env_file}",
            f"--max-memory={max_memory}",
        ),
        env=env,
        # The package may lie in a checkout that is not installed, found by its folder only.
        cwd=_CODE_ROOT,
        death_signal=signal.SIGTERM,
    )
    return Launched(spec, lambda: data, env_file, folder / "servers.log")


def _ephemeral(folder: Path) -> Path:
    return next(folder.glob("threadkeep-*"), folder)

"""One supervised child process: how it starts, where it logs and how it dies."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from embedded.supervision import procfs

PR_SET_PDEATHSIG = 1
LOG_LIMIT_BYTES = 5_000_000
COPIED_BYTES = 1 << 20


def _nobody_else() -> list[int]:
    return []


@dataclass(frozen=True)
class Spec:
    """How to run one program.

    `env` None means the supervisor's own environment, `stdin` None an empty input. `stop_signal`
    asks the program to end, `death_signal` is what the kernel sends it should the supervisor die
    (None: it lives on). `stragglers` lists processes of it outside the session of its leader.
    `prepare` comes before each restart, for a program that may have lost its folder meanwhile; it
    raises `OSError` or `StackError` if that cannot be repaired now.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: Path | None = None
    stdin: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals | None = signal.SIGKILL
    stragglers: Callable[[], list[int]] = _nobody_else
    prepare: Callable[[], object] = lambda: None


class Child:
    """A started program: the leader of a session of its own.

    Its own session keeps the Ctrl-C of a terminal from it: only the supervisor gets that, and
    stops the programs in order.
    """

    def __init__(self, spec: Spec, log: Path, extra_env: Mapping[str, str]) -> None:
        """Start the program. Raises `OSError` if it cannot be executed."""
        self.spec = spec
        env = dict(os.environ if spec.env is None else spec.env)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL if spec.stdin is None else spec.stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**env, **extra_env},
                cwd=spec.cwd,
                start_new_session=True,
                preexec_fn=_dies_with_parent(spec.death_signal),
            )
        self.started_at = time.monotonic()
        found = procfs.entry(self._process.pid)
        self.start_ticks = found.started if found else 0

    @property
    def pid(self) -> int:
        """The leader's process id, also the id of its group and session."""
        return self._process.pid

    def status(self) -> int | None:
        """Return None while the leader runs, then its exit status (negative: the signal)."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Send the stop signal to the leader, which ends its own workers in its own order."""
        if self.status() is None:
            self._process.send_signal(self.spec.stop_signal)

    def kill_rest(self) -> None:
        """Kill whatever is left of the program, workers without a leader included."""
        pids = {*procfs.session_members(self.pid), *self.spec.stragglers()}
        procfs.kill_and_wait(pids)
        self.status()


def turn_over(log: Path) -> None:
    """Rotate a log beyond `LOG_LIMIT_BYTES`; one older log keeps the last two limits of it.

    A program holds its log open and appends to it, so the log is copied and truncated in place.
    Lines written between the two are lost.
    """
    with suppress(OSError):
        size = log.stat().st_size
        if size <= LOG_LIMIT_BYTES:
            return
        older = log.with_suffix(".log.1")
        with log.open("r+b", buffering=0) as source, older.open("wb", buffering=0) as target:
            # A log may be larger than the limit; its end is kept.
            source.seek(max(0, size - 2 * LOG_LIMIT_BYTES))
            while part := source.read(COPIED_BYTES):
                target.write(part)
            source.truncate(0)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _dies_with_parent(signum: int | None) -> Callable[[], None]:
    """Return what the child runs between fork and exec to get `signum` when its parent dies.

    The kernel sends it when the *thread* that forked ends, which is why the supervisor starts
    programs from the main thread only.
    """
    prctl, parent = _libc().prctl, os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(signum or 0))
        # The parent may have died before the call above; then no signal comes.
        if signum is not None and os.getppid() != parent:
            os._exit(1)

    return before_exec

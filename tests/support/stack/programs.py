"""The programs of the Procfile, one at a time and under the environment that a test gives."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from honcho.environ import parse_procfile

import settings
from embedded.ports import free_port
from support.stack.processes import STOP_SECONDS, clean_environment

PROCFILE = Path(settings.__file__).with_name("Procfile")
END_SECONDS = 90
"""A web server gives up when one of its processes has failed twice in a row, with pauses."""


class Program:
    """A running program. `url` is where it listens, if it does."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, url: str) -> None:
        self._process = process
        self._log = log
        self.url = url

    @property
    def output(self) -> str:
        """What it has printed until now."""
        return self._log.read_text(errors="replace")

    @property
    def refusals(self) -> list[str]:
        """The lines in which it, or one of its processes, refused."""
        return [line for line in self.output.splitlines() if "threadkeep: refused:" in line]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Asks it to end, as a supervisor does."""
        self._process.terminate()

    def status(self) -> int:
        """Its exit status, waited for."""
        return self._process.wait(timeout=END_SECONDS)


@contextmanager
def program(name: str, env: Mapping[str, str], folder: Path) -> Iterator[Program]:
    """Starts a line of the Procfile in `folder`; it is stopped at the end."""
    line = parse_procfile(PROCFILE.read_text()).processes[name]
    port, log = str(free_port()), folder / f"{name}.log"
    clean = clean_environment()
    clean["PATH"] = f"{Path(sys.executable).parent}:{clean['PATH']}"
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {line}"],
            cwd=folder,
            env=clean | {"PORT": port, "REALTIME_PORT": port, "WEB_WORKERS": "1"} | env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Program(process, log, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its own processes would outlive it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run(folder: Path, env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a shell starts it, by its script, until its end."""
    script = Path(sys.executable).with_name("threadkeep")
    return subprocess.run(
        [str(script), *arguments],
        cwd=folder,
        env=clean_environment() | env,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )

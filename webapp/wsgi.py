"""`application()`, which the HTTP server calls in each of its processes."""

import fcntl
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from flask import Flask

from webapp.app import create_app
from webapp.startup import started

WAIT_SECONDS = 7.0
"""Longer than a process takes to end, start and end again."""
TICK_SECONDS = 0.05
"""More than the rounding error of start times, and less than a start takes."""


def application() -> Flask:
    """The application of this process. A wrong setting or unsafe server ends it with one line."""
    return started("web", create_app, end)


def end(line: str) -> NoReturn:
    """Ends this process with one line, and with it the HTTP server.

    The server restarts a process that ends, and gives up when the same one ends twice within 5.5
    seconds; on a machine where a start takes longer it retries until one is quicker. Several
    processes that ended in turn would go on for ever, so the first one ends and the others wait
    until it has ended twice.
    """
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    # Without a writable folder they end in any order, which takes longer.
    with suppress(OSError):
        if not _is_next():
            # The inherited handler of the server would have it wait on after SIGTERM.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(WAIT_SECONDS)
    sys.exit(1)


def _is_next() -> bool:
    """Whether this process may end now: no other one of this server ended lately (then that is
    noted), or this one was started since."""
    note = Path(tempfile.gettempdir(), f"web-refused-{os.getppid()}")
    opened = os.open(note, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(opened, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        noted = os.fstat(opened)
        ago = time.time() - noted.st_mtime
        if not noted.st_size or ago > WAIT_SECONDS:
            os.pwrite(opened, b"\n", 0)
            return True
        if _age_seconds() - TICK_SECONDS > ago:
            return False
        # The server ends with this process.
        note.unlink(missing_ok=True)
        return True


def _age_seconds() -> float:
    """How long ago this process was started."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks

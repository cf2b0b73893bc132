"""What the HTTP server calls: `granian --interface wsgi --factory webapp.wsgi:application`."""

import fcntl
import sys
import time
from typing import NoReturn

from flask import Flask

from webapp import create_app
from webapp.starting import started

WAIT_SECONDS = 7.0
"""Longer than a process takes to end, to start and to end again."""


def application() -> Flask:
    """The application of this process. What is wrong or not safe ends it with one line."""
    return started(create_app, end)


def end(line: str) -> NoReturn:
    """Ends this process with one line, and with it the HTTP server.

    The server starts a process that ends anew at once, and gives up where the same one ends twice
    in a row within 5.5 seconds. Several that ended by turns would go on for ever: so whoever comes
    first ends, and the others wait until it has done so twice.
    """
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    with open(__file__, "rb") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(WAIT_SECONDS)
        # The turn is held until the process is gone.
        sys.exit(1)

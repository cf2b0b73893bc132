"""What gunicorn calls: `webapp.realtime.wsgi:application()`."""

import resource
import sys
from typing import NoReturn

from flask import Flask
from gunicorn.arbiter import Arbiter

from webapp.realtime import create_realtime_app
from webapp.startup import started


def application() -> Flask:
    """The application of this process. What is wrong or not safe ends it with one line."""
    # A socket is a file, and the usual limit is a tenth of what a process may hold.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Sockets wait for nobody; the other processes judge.
    return started(create_realtime_app, end, judges=False)


def end(line: str) -> NoReturn:
    """Ends this process with one line, and with it gunicorn, which would start it anew."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    sys.exit(Arbiter.APP_LOAD_ERROR)

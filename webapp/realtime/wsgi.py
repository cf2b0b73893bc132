"""What gunicorn calls: `webapp.realtime.wsgi:application()`."""

import resource
import sys
from typing import NoReturn

from flask import Flask
from gunicorn.arbiter import Arbiter

from webapp.realtime.app import create_realtime_app
from webapp.startup import started


def application() -> Flask:
    """The application of this process. A wrong setting or unsafe server ends it with one line."""
    # A socket is a file, and the soft limit is usually far below the hard one.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Judging would delay sockets; the other processes evaluate alerts.
    return started("realtime", create_realtime_app, end, judges=False)


def end(line: str) -> NoReturn:
    """Ends this process with one line, and gunicorn too, which would otherwise restart it."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    sys.exit(Arbiter.APP_LOAD_ERROR)

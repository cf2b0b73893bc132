"""What the HTTP server calls: `granian --interface wsgi --factory webapp.wsgi:application`."""

import gc
import multiprocessing
import os
import signal
import sys
from typing import NoReturn

from flask import Flask

import settings
from storage.doctor import safety
from storage.doctor.safety_watch import Watch
from storage.errors import Refused
from tasks.logs import configure
from webapp import begin_drills, create_app


def application() -> Flask:
    """The application of this process. What is wrong or not safe ends it with one line."""
    configure()
    try:
        given = settings.load()
        verdict = safety.check(given)
    except settings.SettingsError as error:
        end(f"threadkeep: {error}")
    except Refused as error:
        end(f"threadkeep: refused: {error}")
    safety.report(verdict)
    watch = Watch(given, verdict)
    app = create_app(given, watch)
    watch.begin()
    begin_drills(app)
    # What is imported stays. A full collection that looked at all of it again every few seconds
    # would stop each request of the process for 60 to 180 ms.
    gc.collect()
    gc.freeze()
    return app


def end(line: str) -> NoReturn:
    """Ends this process and the HTTP server with one line.

    The server would start a process that ends anew at once, for as long as several end by turns.
    """
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        os.kill(server.pid, signal.SIGTERM)
    sys.exit(1)

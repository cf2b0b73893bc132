"""How a process that serves begins, whichever server it runs under."""

import gc
from collections.abc import Callable
from typing import NoReturn

from flask import Flask

import settings
from settings import Settings
from storage.doctor import safety
from storage.doctor.safety_watch import Watch
from storage.errors import Refused
from tasks.logs import configure
from webapp import begin_drills, believe_redis


def started(make: Callable[[Settings, Watch], Flask], end: Callable[[str], NoReturn]) -> Flask:
    """The application of this process, judged first; `end` ends it with a line that says why."""
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
    app = make(given, watch)
    watch.begin()
    begin_drills(app)
    believe_redis(app)
    # What is imported stays. A full collection that looked at all of it again every few seconds
    # would stop each request of the process for 60 to 180 ms.
    gc.collect()
    gc.freeze()
    return app

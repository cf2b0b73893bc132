"""How a process that serves begins, whichever server it runs under."""

import gc
from collections.abc import Callable
from typing import NoReturn

from flask import Flask

import settings
from settings import Settings
from storage.availability.checks import safety
from storage.availability.checks.safety_watch import Watch
from storage.errors import Refused
from tasks.logs import configure
from webapp.app import begin_drills, begin_performance, believe_redis
from webapp.http.log_lines import about_request


def started(
    make: Callable[[Settings, Watch], Flask],
    end: Callable[[str], NoReturn],
    *,
    judges: bool = True,
) -> Flask:
    """The application of this process, judged first; `end` ends it with a line that says why.

    `judges` has it raise alerts, as far as nobody else does.
    """
    configure(also=about_request)
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
    begin_performance(app, judges=judges)
    believe_redis(app)
    # What is imported stays. A full collection that looked at all of it again every few seconds
    # would stop each request of the process for 60 to 180 ms.
    gc.collect()
    gc.freeze()
    return app

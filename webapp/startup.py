"""The start of a serving process, under either server."""

import gc
from collections.abc import Callable
from typing import NoReturn

from flask import Flask

import programs
import settings
from settings import Settings
from storage.availability.checks import safety
from storage.availability.checks.safety import Watch
from storage.errors import Refused
from storage.postgres.acting import WEB
from tasks.logs import configure
from webapp.app import begin_drills, begin_identity, begin_performance, take_first_lease
from webapp.http.log_lines import about_request


def started(
    program: str,
    make: Callable[[Settings, Watch], Flask],
    end: Callable[[str], NoReturn],
    *,
    judges: bool = True,
) -> Flask:
    """The application of this process of a program, after the safety checks; `end` ends it with a
    line that says why they refused. With `judges` it evaluates alerts, if no other process does.
    """
    configure(also=about_request)
    try:
        given = programs.load(program)
        verdict = safety.check(given, WEB)
        watch = Watch(given, verdict, WEB)
        app = make(given, watch)
    except settings.SettingsError as error:
        end(f"threadkeep: {error}")
    except Refused as error:
        end(f"threadkeep: refused: {error}")
    safety.report(verdict)
    watch.begin()
    begin_identity(app)
    begin_drills(app)
    begin_performance(app, judges=judges)
    take_first_lease(app)
    # Imported objects stay. Full garbage collections that scan them again every few seconds would
    # stop each request of the process for 60 to 180 ms.
    gc.collect()
    gc.freeze()
    return app

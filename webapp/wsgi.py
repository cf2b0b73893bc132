"""What the HTTP server calls: `granian --interface wsgi --factory webapp.wsgi:application`."""

import gc
import sys

from flask import Flask

import settings
from storage import safety
from storage.errors import Refused
from storage.safety_watch import Watch
from tasks.logs import configure
from webapp import create_app


def application() -> Flask:
    """The application of this process. What is wrong or not safe ends it with one line."""
    configure()
    try:
        given = settings.load()
        verdict = safety.check(given)
    except settings.SettingsError as error:
        sys.exit(f"threadkeep: {error}")
    except Refused as error:
        sys.exit(f"threadkeep: refused: {error}")
    safety.report(verdict)
    watch = Watch(given, verdict)
    app = create_app(given, watch)
    watch.begin()
    # What is imported stays. A full collection that looked at all of it again every few seconds
    # would stop each request of the process for 60 to 180 ms.
    gc.collect()
    gc.freeze()
    return app

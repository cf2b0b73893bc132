"""What the HTTP server calls: `granian --interface wsgi --factory webapp.wsgi:application`."""

import gc
import random
import sys
import time

from flask import Flask

import settings
from storage.doctor import safety
from storage.doctor.safety_watch import Watch
from storage.errors import Refused
from tasks.logs import configure
from webapp import begin_drills, create_app

REFUSED_SECONDS = (0.1, 0.1, 7.0)


def application() -> Flask:
    """The application of this process. What is wrong or not safe ends it with one line."""
    configure()
    try:
        given = settings.load()
        verdict = safety.check(given)
    except settings.SettingsError as error:
        sys.exit(f"threadkeep: {error}")
    except Refused as error:
        sys.stderr.write(f"threadkeep: refused: {error}\n")
        sys.stderr.flush()
        # The HTTP server starts a process that ends anew at once, and gives up where the same one
        # ends twice in a row within 5.5 seconds. Several that end by turns would go on for ever;
        # where one now and then takes long, another soon ends twice meanwhile.
        time.sleep(random.choice(REFUSED_SECONDS))
        sys.exit(1)
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

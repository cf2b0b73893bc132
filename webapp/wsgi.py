"""What the HTTP server calls: `granian --interface wsgi --factory webapp.wsgi:application`."""

import gc
import sys

from flask import Flask

import settings
from tasks.logs import configure
from webapp import create_app


def application() -> Flask:
    """The application of this process. A wrong setting ends it with one line."""
    configure()
    try:
        app = create_app(settings.load())
    except settings.SettingsError as error:
        sys.exit(f"threadkeep: {error}")
    # What is imported stays. A full collection that looked at all of it again every few seconds
    # would stop each request of the process for 60 to 180 ms.
    gc.collect()
    gc.freeze()
    return app

"""What the HTTP server calls: `granian --interface wsgi --factory webapp.wsgi:application`."""

import sys

from flask import Flask

import settings
from tasks.logs import configure
from webapp import create_app


def application() -> Flask:
    """The application of this process. A wrong setting ends it with one line."""
    configure()
    try:
        return create_app(settings.load())
    except settings.SettingsError as error:
        sys.exit(f"threadkeep: {error}")

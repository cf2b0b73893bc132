"""The HTTP API: `create_app` puts it together."""

from flask import Flask

from settings import Settings
from storage.services import Services
from tasks.wakeup import WakeUps
from webapp import admin, batch, docs, errors, health, messages, requests, threads
from webapp.auth import Tokens
from webapp.context import Web, install

MAX_BODY_BYTES = 512 * 1024
"""Room for 64 KiB of content with every character escaped, and metadata beside it."""


def create_app(settings: Settings) -> Flask:
    """The WSGI application. Connects to nothing before the first request."""
    app = Flask("threadkeep", static_folder=None)
    # A doubled slash is another path, not a page that redirects.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    install(app, Web(settings, Services(settings), Tokens(settings), WakeUps()))
    errors.register(app)
    requests.register(app)
    for room in (messages, batch, threads, health, docs, admin):
        app.register_blueprint(room.blueprint)
    return app

"""The HTTP API: `create_app` puts it together."""

from flask import Flask

from settings import Settings
from storage.doctor.safety_watch import Watch
from storage.services import Services
from tasks.wakeup import WakeUps
from webapp import admin, batch, docs, errors, health, messages, requests, streaming, threads
from webapp.auth import Tokens
from webapp.context import Web, install, web

MAX_BODY_BYTES = 512 * 1024
"""Room for 64 KiB of content with every character escaped, and metadata beside it."""


def begin_drills(app: Flask) -> None:
    """Has this process take part in drills, where they are allowed."""
    with app.app_context():
        web().services.drills.watch()


def create_app(settings: Settings, watch: Watch | None = None) -> Flask:
    """The WSGI application. Connects to nothing before the first request.

    `watch` is what the process knows of its servers' safety, where it looked.
    """
    app = Flask("threadkeep", static_folder=None)
    # A doubled slash is another path, not a page that redirects.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    own = Web(settings, Services(settings), Tokens(settings), WakeUps(), watch or Watch(settings))
    install(app, own)
    errors.register(app)
    requests.register(app)
    for room in (messages, streaming, batch, threads, health, docs, admin):
        app.register_blueprint(room.blueprint)
    return app

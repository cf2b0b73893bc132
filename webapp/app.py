"""The HTTP API: `create_app` puts it together."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Flask

from settings import Settings
from storage.availability.checks.safety_watch import Watch
from tasks.wakeup import WakeUps
from webapp.api import (
    admin,
    analytics,
    batch,
    events,
    health,
    messages,
    metrics,
    runs,
    search,
    session,
    streaming,
    threads,
)
from webapp.console import routes
from webapp.http import errors, requests, tracing
from webapp.http.auth import Tokens
from webapp.http.context import Web, install, of, web
from webapp.openapi import document, pages, unsupported
from wiring.process import Services

MAX_BODY_BYTES = 512 * 1024
"""Room for 64 KiB of content with every character escaped, and metadata beside it."""


class Application(Flask):
    """A Flask all of whose functions are plain ones, so that none is looked at before each call."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function."""
        return func


def begin_drills(app: Flask) -> None:
    """Has this process take part in drills, where they are allowed."""
    with app.app_context():
        web().services.drills.watch()


def begin_performance(app: Flask, *, judges: bool) -> None:
    """Has this process count what it does, and judge how well all of them do it."""
    with app.app_context():
        web().services.performance.begin(judges=judges)


def believe_redis(app: Flask) -> None:
    """Has this process know what it may believe Redis before the first request asks."""
    of(app).services.lease.current()


ROOMS = tuple(
    room.blueprint
    for room in (
        messages,
        streaming,
        batch,
        threads,
        search,
        analytics,
        session,
        runs,
        events,
        health,
        routes,
        metrics,
        pages,
        admin,
    )
)


def create_app(
    settings: Settings,
    watch: Watch | None = None,
    rooms: Iterable[Blueprint] = ROOMS,
    public: frozenset[str] = requests.PUBLIC,
) -> Flask:
    """The WSGI application of some rooms. Connects to nothing before the first request.

    `watch` is what the process knows of its servers' safety, where it looked; `public` are the
    endpoints that answer without a token.
    """
    app = Application("threadkeep", static_folder=None)
    # A doubled slash is another path, not a page that redirects.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    services = Services(settings)
    wakeups = WakeUps(services.instruments)
    tokens, judged = Tokens(settings), watch or Watch(settings)
    own = Web(settings, services, tokens, wakeups, judged)
    install(app, own)
    errors.register(app)
    if services.tracing.is_on:
        tracing.register(app, services.tracing)
    requests.register(app, public)
    for room in rooms:
        app.register_blueprint(room)
    unsupported.register(app, document.OPERATIONS)
    services.instruments.expect_requests(requests.measured(app))
    return app

"""The HTTP API: `create_app` makes its application."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Flask, Request
from werkzeug.routing import MapAdapter

from settings import Settings
from storage.availability.checks.safety import Watch
from storage.telemetry.refusals import RefusalLog
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
    tickets,
)
from webapp.console import routes
from webapp.http import errors, requests, tracing
from webapp.http.auth import Tokens
from webapp.http.context import Web, install, of, web
from webapp.http.origins import Origins
from webapp.limits.limits import Limits
from webapp.limits.shared_counts import SharedCounts
from webapp.openapi import error_page, pages, unsupported
from wiring.process import Services

MAX_BODY_BYTES = 512 * 1024
"""Room for 64 KiB of content with every character escaped, and for metadata."""


class Application(Flask):
    """A Flask without what none of its routes needs, for each request pays for it: asynchronous
    views, and routes of one host."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """One for the path alone: no route depends on the host, which would be read twice."""
        if request is None or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        environ = request.environ
        return MapAdapter(
            self.url_map,
            environ["SERVER_NAME"],
            environ.get("SCRIPT_NAME", ""),
            "",
            environ["wsgi.url_scheme"],
            environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace"),
            request.method,
            environ.get("QUERY_STRING"),
        )

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function."""
        return func


def begin_drills(app: Flask) -> None:
    """Has this process take part in drills, if they are allowed."""
    with app.app_context():
        web().services.drills.watch()


def begin_identity(app: Flask) -> None:
    """Reads what credentials are verified with, and keeps it up to date from now on."""
    own = of(app)
    own.tokens.begin()
    own.services.tiers.credentials.begin()


def begin_performance(app: Flask, *, judges: bool) -> None:
    """Starts counting this process's calls and, if it `judges`, evaluating alerts."""
    with app.app_context():
        web().services.performance.begin(judges=judges)


def take_first_lease(app: Flask) -> None:
    """Takes the first lease on Redis before a request needs it."""
    of(app).services.failover.lease.current()


BLUEPRINTS = tuple(
    area.blueprint
    for area in (
        messages,
        streaming,
        batch,
        threads,
        search,
        analytics,
        session,
        runs,
        events,
        tickets,
        health,
        routes,
        metrics,
        pages,
        error_page,
        admin,
    )
)


def create_app(
    settings: Settings,
    watch: Watch | None = None,
    blueprints: Iterable[Blueprint] = BLUEPRINTS,
    public: frozenset[str] = requests.PUBLIC,
) -> Flask:
    """The WSGI application of some blueprints. Connects to nothing before the first request.

    `watch` is the result of the safety checks, if they ran; `public` are the endpoints that answer
    without a token.
    """
    app = Application("threadkeep", static_folder=None)
    # A doubled slash is another path, not a page that redirects.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    services = Services(settings, serves_users=True)
    wakeups = WakeUps(services.tiers.instruments)
    tiers = services.tiers
    tokens, judged = Tokens(settings, tiers.credentials), watch or Watch(settings)
    tiers.credentials.on_change.append(tokens.forget)
    limits = Limits(settings, SharedCounts(tiers.redis_door), tiers.instruments)
    refusals = RefusalLog(tiers.instruments.refusal)
    own = Web(settings, services, tokens, wakeups, judged, Origins(settings), limits, refusals)
    install(app, own)
    errors.register(app, refusals)
    if services.tiers.tracing.is_on:
        tracing.register(app, services.tiers.tracing)
    requests.register(app, public)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    unsupported.register(app)
    services.tiers.instruments.expect_requests(requests.measured(app))
    return app

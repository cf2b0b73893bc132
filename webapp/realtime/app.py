"""The application of the realtime process."""

import msgspec
from flask import Flask

from settings import Settings
from storage.availability.checks.safety import Watch
from webapp.api import health, metrics
from webapp.app import create_app
from webapp.http.context import of
from webapp.http.requests import PUBLIC
from webapp.openapi import error_page
from webapp.realtime import process, routes

SLOW_SECONDS = 1.0
"""A call to Redis that took longer is slow here. Greenlets measure the wait for their turn too, so
a crowd of reconnecting clients would otherwise look like an outage of Redis."""


def create_realtime_app(settings: Settings, watch: Watch | None = None) -> Flask:
    """The WSGI application of the realtime process. Starts its greenlets at once."""
    slow = max(settings.redis_slow_seconds, SLOW_SECONDS)
    settings = msgspec.structs.replace(settings, redis_slow_seconds=slow)
    blueprints = (
        health.blueprint,
        metrics.blueprint,
        error_page.blueprint,
        routes.blueprint,
    )
    app = create_app(settings, watch, blueprints, PUBLIC | routes.PUBLIC)
    own = process.install(app, of(app))
    own.hub.begin()
    own.connections.begin()
    return app

"""The objects of a realtime process, beside those of every web process."""

from typing import NamedTuple, cast

from flask import Flask, current_app
from gevent.lock import BoundedSemaphore

from webapp.http.context import Web
from webapp.realtime.connection_limiter import ConnectionLimiter
from webapp.realtime.hub import Hub

SENDS_AT_ONCE = 48
"""Fewer than the connections to Redis that a process may open: the hub needs some too."""

_EXTENSION = "threadkeep-realtime"


class Realtime(NamedTuple):
    """One realtime process's own objects."""

    web: Web
    hub: Hub
    connections: ConnectionLimiter
    sends: BoundedSemaphore


def install(app: Flask, web: Web) -> Realtime:
    """Makes them, and keeps them in `app.extensions` for requests and the worker."""
    own = Realtime(
        web,
        Hub(web.services.tiers.events),
        ConnectionLimiter(web.settings, web.services.tiers.instruments),
        BoundedSemaphore(SENDS_AT_ONCE),
    )
    app.extensions[_EXTENSION] = own
    return own


def of(app: Flask) -> Realtime:
    """The objects of an application."""
    return cast(Realtime, app.extensions[_EXTENSION])


def realtime() -> Realtime:
    """The process's objects, inside a request."""
    return of(current_app)

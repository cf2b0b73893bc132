"""What a realtime process has beside what every web process has."""

from typing import NamedTuple, cast

from flask import Flask, current_app
from gevent.lock import BoundedSemaphore

from webapp.http.context import Web
from webapp.realtime.guests import ConnectionLimiter
from webapp.realtime.hub import Hub

SENDS_AT_ONCE = 48
"""Below the connections to Redis that a process may hold: the hub needs some too."""

_EXTENSION = "threadkeep-realtime"


class Realtime(NamedTuple):
    """One realtime process's own things."""

    web: Web
    hub: Hub
    guests: ConnectionLimiter
    sends: BoundedSemaphore


def install(app: Flask, web: Web) -> Realtime:
    """Puts them where requests and the worker find them."""
    own = Realtime(
        web,
        Hub(web.services.events),
        ConnectionLimiter(web.settings, web.services.instruments),
        BoundedSemaphore(SENDS_AT_ONCE),
    )
    app.extensions[_EXTENSION] = own
    return own


def of(app: Flask) -> Realtime:
    """The things of an application."""
    return cast(Realtime, app.extensions[_EXTENSION])


def realtime() -> Realtime:
    """The process's things, inside a request."""
    return of(current_app)

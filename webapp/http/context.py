"""The objects of a web process, and the caller of a request."""

import time
from typing import NamedTuple, cast

from flask import Flask, Request, current_app, g
from flask.globals import app_ctx

from settings import Settings
from storage.availability.checks.safety import Watch
from storage.telemetry.refusals import RefusalLog
from tasks.wakeup import WakeUps
from webapp.http.auth import Tokens, bearer_of, user_of
from webapp.http.log_lines import request_id
from webapp.http.origins import Origins
from webapp.http.scopes import check_route
from webapp.identity.caller import Caller, InvalidToken, NotAllowed
from webapp.limits.buckets import RateLimited
from webapp.limits.limits import REFUSED, TAKEN, Limits
from wiring.process import Services

_EXTENSION = "threadkeep"


class Web(NamedTuple):
    """One web process's own objects."""

    settings: Settings
    services: Services
    tokens: Tokens
    wakeups: WakeUps
    watch: Watch
    origins: Origins
    limits: Limits
    refusals: RefusalLog

    def wake(self, slot: int | None, asked_by: str = "") -> None:
        """Wakes a worker for a slot, unless it is None.

        Outside a request, `asked_by` is the id of the request that caused it.
        """
        if slot is not None:
            tracing = self.services.tiers.tracing
            traceparent = tracing.traceparent() if tracing.is_on else ""
            self.wakeups.request(slot, asked_by or request_id(), traceparent)


class Visit:
    """A caller who stays longer than a request. The first look and each after a change are at what
    was revoked; the others cost next to nothing."""

    def __init__(self, tokens: Tokens, caller: Caller) -> None:
        self._tokens = tokens
        self.caller = caller
        self._since = time.time()
        self._generation = -1

    def is_over(self) -> bool:
        """Whether the credential was revoked."""
        generation = self._tokens.generation
        if generation == self._generation:
            return False
        self._generation = generation
        return not self._tokens.holds(self.caller, self._since)


def install(app: Flask, web: Web) -> None:
    """Keeps the process's objects in `app.extensions`."""
    app.extensions[_EXTENSION] = web


def of(app: Flask) -> Web:
    """The objects of an application."""
    return cast(Web, app.extensions[_EXTENSION])


def admit(own: Web, now: Request, endpoint: str) -> float:
    """Notes who sends a request, and takes a token of what they may call; gives when the credential
    expires, in seconds since 1970.

    Raises `InvalidToken` and `RateLimited`.
    """
    about, environ, limits = app_ctx.g, now.environ, own.limits
    try:
        token = bearer_of(environ.get("HTTP_AUTHORIZATION", ""))
        user_id = user_of(environ.get("HTTP_THREADKEEP_USER"))
    except InvalidToken:
        limits.check_unauthenticated(environ.get("REMOTE_ADDR", ""))
        raise
    try:
        found, until = own.tokens.verify_until(token, user_id)
    except NotAllowed:
        # The credential itself holds: it says nothing of others at this address.
        raise
    except InvalidToken:
        limits.check_unauthenticated(environ.get("REMOTE_ADDR", ""))
        raise
    about.caller = found
    check_route(found, endpoint, now.method)
    if REFUSED in environ:
        raise limits.counted(RateLimited("waiting", 1, environ[REFUSED]))
    taken = limits.take(endpoint, now.method, found.user_id, environ.get(TAKEN))
    if taken is not None:
        about.taken = taken
        limits.check(taken, found.user_id)
    return until


def web() -> Web:
    """The process's objects, inside a request."""
    return of(current_app)


def caller() -> Caller:
    """Who is calling, in a route that is not public."""
    return cast(Caller, g.caller)

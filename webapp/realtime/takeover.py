"""An answer that takes the connection over; the HTTP server has no part in it afterwards."""

from collections.abc import Callable
from typing import Any

import gevent
from flask import Response
from gevent import socket as gevent_socket
from gunicorn.workers.base_async import ALREADY_HANDLED


class Takeover(Response):
    """Hands the socket to a greenlet of its own, which does not keep the stack of the request."""

    def __init__(self, serve: Callable[[Any, list[tuple[str, str]]], None], **more: Any) -> None:
        """`serve` is given the socket and the headers of this answer."""
        super().__init__(**more)
        self._serve = serve

    def __call__(self, environ: Any, start_response: Any) -> Any:
        given = environ["gunicorn.socket"]
        own = gevent_socket.socket(given.family, given.type, fileno=given.detach())
        own.setsockopt(gevent_socket.IPPROTO_TCP, gevent_socket.TCP_NODELAY, 1)
        gevent.spawn(self._serve, own, self.headers.to_wsgi_list())
        return ALREADY_HANDLED

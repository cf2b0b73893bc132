"""The floor: the same HTTP server and framework around a route that checks a token and does
nothing."""

from flask import Flask, Response, request

import settings
from webapp.http.auth import Tokens


def create_app() -> Flask:
    """An application with one route."""
    app = Flask("empty_route")
    tokens = Tokens(settings.load())

    @app.post("/api/threads/<thread_id>/messages")
    def post_message(thread_id: str) -> Response:
        tokens.verify(request.headers["Authorization"].removeprefix("Bearer "))
        return Response(b"{}", mimetype="application/json")

    return app

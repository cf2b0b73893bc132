"""The floor: the same HTTP server and framework around a route that does nothing."""

from flask import Flask, Response


def create_app() -> Flask:
    """An application with one route."""
    app = Flask("empty_route")

    @app.post("/api/threads/<thread_id>/messages")
    def post_message(thread_id: str) -> Response:
        return Response(b"{}", mimetype="application/json")

    return app

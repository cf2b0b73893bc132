"""One Celery task per message, tuned: with all that Threadkeep has but its design.

msgspec, remembered tokens, a connection pool without retries, one prepared statement and no ORM;
what is left of the difference is the log, the script and the batches.
"""

import time
import uuid
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from celery import Celery
from flask import Flask, Response, request
from redis import Redis
from sqlalchemy import Engine, text

import settings
from models.message import check_content
from storage.postgres import engines
from storage.redis import client
from webapp.http.auth import Tokens

TABLE = """
CREATE TABLE IF NOT EXISTS tuned_task_messages (
    id uuid PRIMARY KEY, user_id text, thread_id text, content text, created_at timestamptz)
"""
_INSERT = text(
    "INSERT INTO tuned_task_messages VALUES (:id, :user_id, :thread_id, :content, :created_at)"
    " ON CONFLICT DO NOTHING"
)

celery = Celery("tuned_task", set_as_current=False)
celery.add_defaults(
    lambda: {
        "broker_url": settings.load().broker_url,
        "task_ignore_result": True,
        "task_default_queue": "tuned_task",
        "worker_hijack_root_logger": False,
    }
)


class Body(msgspec.Struct):
    """A new message."""

    message: str


@cache
def _engine() -> Engine:
    return engines.request_engine(settings.load())


@cache
def _redis() -> Redis:
    return client.redis_client(settings.load())


@celery.task(name="tuned_task.insert_message")
def insert_message(message: dict[str, Any]) -> None:
    """Inserts one row."""
    with _engine().begin() as connection:
        connection.execute(_INSERT, message)


def create_app() -> Flask:
    """The peer's web application."""
    app = Flask("tuned_task")
    tokens = Tokens(settings.load())

    @app.post("/api/threads/<thread_id>/messages")
    def post_message(thread_id: str) -> Response:
        started = time.perf_counter()
        caller = tokens.verify(request.headers["Authorization"].removeprefix("Bearer "))
        body = msgspec.json.decode(request.get_data(cache=False), type=Body)
        check_content(body.message)
        message = {
            "id": str(uuid.uuid4()),
            "user_id": caller.user_id,
            "thread_id": thread_id,
            "content": body.message,
            "created_at": datetime.now(UTC).isoformat(),
        }
        _redis().set(f"tuned-task:{message['id']}", msgspec.json.encode(message), ex=86_400)
        insert_message.apply_async((message,))
        latency_ms = (time.perf_counter() - started) * 1000
        answer = msgspec.json.encode({**message, "latency_ms": latency_ms})
        return Response(answer, mimetype="application/json")

    return app

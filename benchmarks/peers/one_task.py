"""The usual first design: cache the message in Redis, enqueue one Celery task for it,
and have that task insert one row.

Written as the manuals of Flask, Celery, redis-py and SQLAlchemy write it, with the same token
check, over the same Redis, broker and PostgreSQL as Threadkeep.
"""

import uuid
from datetime import UTC, datetime
from functools import cache
from typing import Any

from celery import Celery
from flask import Flask, Response, jsonify, request
from redis import Redis
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import settings
from webapp.http.auth import Tokens

celery = Celery("one_task", set_as_current=False)
celery.add_defaults(
    lambda: {
        "broker_url": settings.load().broker_url,
        "task_ignore_result": True,
        "task_default_queue": "one_task",
        "worker_hijack_root_logger": False,
    }
)


class Base(DeclarativeBase):
    """The peer's tables."""


class PostedMessage(Base):
    """One message."""

    __tablename__ = "one_task_messages"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    thread_id: Mapped[str]
    content: Mapped[str]
    created_at: Mapped[str]


@cache
def _engine() -> Engine:
    return create_engine(settings.load().database_url)


@celery.task(name="one_task.insert_message", shared=False)
def insert_message(message: dict[str, Any]) -> None:
    """Inserts one row."""
    with Session(_engine()) as session:
        session.add(PostedMessage(**{**message, "id": uuid.UUID(message["id"])}))
        session.commit()


def create_app() -> Flask:
    """The peer's web application."""
    app = Flask("one_task")
    own = settings.load()
    redis: Redis = Redis.from_url(own.redis_url)
    tokens = Tokens(own)

    @app.post("/api/threads/<thread_id>/messages")
    def post_message(thread_id: str) -> Response:
        caller = tokens.verify(request.headers["Authorization"].removeprefix("Bearer "))
        message = {
            "id": str(uuid.uuid4()),
            "user_id": caller.user_id,
            "thread_id": thread_id,
            "content": request.get_json()["message"],
            "created_at": datetime.now(UTC).isoformat(),
        }
        redis.set(f"one-task:{message['id']}", app.json.dumps(message), ex=86_400)
        insert_message.delay(message)
        return jsonify(message)

    return app

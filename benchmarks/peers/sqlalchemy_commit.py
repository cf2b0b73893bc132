"""Flask and SQLAlchemy: one row is inserted and committed before the answer.

Written as their manuals write it, with the same token check and the same fields as Threadkeep's
acknowledgement, and a connection for each thread.
"""

import uuid
from datetime import UTC, datetime
from typing import Any, ClassVar

from flask import Flask, Response, jsonify, request
from sqlalchemy import JSON, DateTime, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import settings
from webapp.http.auth import Tokens

THREADS = 16


class CommitBase(DeclarativeBase):
    """The table of the designs that commit before they answer."""

    type_annotation_map: ClassVar = {dict[str, Any]: JSON, datetime: DateTime(timezone=True)}


class CommittedMessage(CommitBase):
    """One message."""

    __tablename__ = "committed_messages"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    thread_id: Mapped[str]
    user_id: Mapped[str]
    role: Mapped[str]
    content: Mapped[str]
    message_metadata: Mapped[dict[str, Any]] = mapped_column("metadata")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int]


def create_app() -> Flask:
    """The peer's web application."""
    app = Flask("sqlalchemy_commit")
    own = settings.load()
    tokens = Tokens(own)
    engine = create_engine(own.database_url, pool_size=THREADS)

    @app.post("/api/threads/<thread_id>/messages")
    def post_message(thread_id: str) -> Response:
        caller = tokens.verify(request.headers["Authorization"].removeprefix("Bearer "))
        body = request.get_json()
        now = datetime.now(UTC)
        message = {
            "id": uuid.uuid4(),
            "thread_id": thread_id,
            "user_id": caller.user_id,
            "role": body.get("role", "user"),
            "content": body["message"],
            "created_at": now,
            "updated_at": now,
            "version": 1,
        }
        metadata = body.get("metadata", {})
        with Session(engine) as session:
            session.add(CommittedMessage(**message, message_metadata=metadata))
            session.commit()
        return jsonify(message | {"metadata": metadata})

    return app

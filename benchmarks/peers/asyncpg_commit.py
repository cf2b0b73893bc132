"""FastAPI and asyncpg: one row is inserted and committed before the answer.

Written as their manuals write it: a model for the body, a pool that is opened with the application,
and a statement that asyncpg prepares once for each connection. The token check and the fields are
those of Threadkeep's acknowledgement.
"""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

import settings
from webapp.http.auth import Tokens

CONNECTIONS = 10
"""The usual number, and no fewer than the two cores can use."""
_INSERT = (
    "INSERT INTO committed_messages (id, thread_id, user_id, role, content, metadata, created_at,"
    " updated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)

Bearer = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


class PostedBody(BaseModel):
    """What a client posts."""

    message: str
    role: str = "user"
    metadata: dict[str, Any] = {}


class AnsweredMessage(BaseModel):
    """One message."""

    id: uuid.UUID
    thread_id: str
    user_id: str
    role: str
    content: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int


def create_app() -> FastAPI:
    """The peer's web application."""
    own = settings.load()
    tokens = Tokens(own)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        url = own.database_url.replace("postgresql+psycopg2", "postgresql")
        async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/api/threads/{thread_id}/messages")
    async def post_message(
        thread_id: str, body: PostedBody, bearer: Bearer, request: Request
    ) -> AnsweredMessage:
        caller = tokens.verify(bearer.credentials)
        now = datetime.now(UTC)
        message = AnsweredMessage(
            id=uuid.uuid4(),
            thread_id=thread_id,
            user_id=caller.user_id,
            role=body.role,
            content=body.message,
            metadata=body.metadata,
            created_at=now,
            updated_at=now,
            version=1,
        )
        fields = dict(message) | {"metadata": json.dumps(message.metadata)}
        await request.app.state.pool.execute(_INSERT, *fields.values())
        return message

    return app

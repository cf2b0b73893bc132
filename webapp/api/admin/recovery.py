"""The route that backfills Redis: what it missed, and what it no longer has."""

import msgspec
from flask import Blueprint, Response

from jobs.audit import subject_of
from models.message import check_thread_id, check_user_id
from webapp.http.body.reading import optional_body_as
from webapp.http.context import caller, web
from webapp.http.operation import Operation
from webapp.http.requests import answer
from webapp.http.schemas import RequestBody

blueprint = Blueprint("recovery", __name__)


class RecoverRedisCache(RequestBody, kw_only=True, frozen=True):
    """Which threads to warm, all if none is named. Without `backfill_missing` Redis is only
    backfilled with what was written while it was down."""

    thread_id: str | None = None
    user_id: str | None = None
    backfill_missing: bool = True


class RecoveredRedisCache(msgspec.Struct, kw_only=True, frozen=True):
    """How many messages were backfilled."""

    backfilled_messages: int
    recovery_success: bool


@Operation(
    "Backfill what Redis missed, and warm what it lacks",
    {200: RecoveredRedisCache},
    RecoverRedisCache,
    optional_body=True,
)
@blueprint.post("/recover-redis-cache")
def recover_redis_cache() -> Response:
    """Backfills what was written while Redis was down, and warms the pages that it lacks."""
    body = optional_body_as(RecoverRedisCache)
    if body.thread_id is not None:
        check_thread_id(body.thread_id)
    if body.user_id is not None:
        check_user_id(body.user_id)
    recovery = web().services.failover.redis_recovery
    told = recovery.reconcile()
    if body.backfill_missing:
        told += sum(recovery.warm(body.user_id, body.thread_id))
    web().services.jobs.audit.note(
        caller().actor,
        "redis.recovered",
        subject_of(body.user_id, body.thread_id),
        {"messages": told},
        {"backfill_missing": body.backfill_missing},
    )
    return answer(RecoveredRedisCache(backfilled_messages=told, recovery_success=True))

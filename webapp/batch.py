"""The route of batches: up to 1000 messages, one acknowledgement, a result for each item."""

from collections import defaultdict
from typing import NamedTuple

import msgspec
from flask import Blueprint, Response, request

from models.message import (
    InvalidMessage,
    check_content,
    check_idempotency_key,
    check_metadata,
    check_thread_id,
)
from storage.message_storage import Draft
from webapp.context import caller, web
from webapp.errors import BadRequest
from webapp.requests import answer, body_as, decode, latency_ms
from webapp.schemas import BatchAnswer, BatchItem, BatchResult, PostBatch

blueprint = Blueprint("batch", __name__, url_prefix="/api")


class _Group(NamedTuple):
    positions: list[int]
    drafts: list[Draft]


@blueprint.post("/messages:batch")
def post_batch() -> Response:
    """Acknowledges all valid items; each of the others says what is wrong with it."""
    request.max_content_length = web().settings.batch_body_bytes
    items = body_as(PostBatch).messages
    results: dict[int, BatchResult] = {}
    groups: dict[str, _Group] = defaultdict(lambda: _Group([], []))
    for position, item in enumerate(items):
        try:
            thread_id, draft = _draft(bytes(item))
        except (BadRequest, InvalidMessage) as error:
            status = error.status if isinstance(error, BadRequest) else 422
            results[position] = BatchResult(status=status, code=error.code, detail=str(error))
            continue
        groups[thread_id].positions.append(position)
        groups[thread_id].drafts.append(draft)
    refused = len(results)
    durability = _store(groups, results)
    return answer(
        BatchAnswer(
            results=[results[position] for position in range(len(items))],
            accepted=len(items) - refused,
            refused=refused,
            tier_used="redis",
            durability=durability,
            background_persistence=len(items) > refused,
            latency_ms=latency_ms(),
        )
    )


def _draft(item: bytes) -> tuple[str, Draft]:
    body = decode(item, BatchItem)
    check_thread_id(body.thread_id)
    check_content(body.message)
    check_metadata(body.metadata)
    if body.idempotency_key is not None:
        check_idempotency_key(body.idempotency_key)
    return body.thread_id, Draft(body.role, body.message, body.metadata, body.idempotency_key)


def _store(groups: dict[str, _Group], results: dict[int, BatchResult]) -> str:
    process = web()
    named = [(thread_id, group.drafts) for thread_id, group in groups.items()]
    stored = process.services.messages.post_batch(caller().user_id, named)
    for group, acknowledgements in zip(groups.values(), stored, strict=True):
        for position, done in zip(group.positions, acknowledgements, strict=True):
            process.wake(done.wake_slot)
            results[position] = BatchResult(
                status=200,
                message=done.message,
                repeated=True if done.repeated else msgspec.UNSET,
            )
    return process.services.redis_durability()

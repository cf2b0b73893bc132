"""The route of batches: up to 1000 messages, one acknowledgement, a result for each item."""

from collections import defaultdict
from typing import NamedTuple, get_args

import msgspec
from flask import Blueprint, Response, request

from models.message import InvalidMessage, Tier
from storage.failover.chain import Degraded
from storage.message_storage import Acknowledgement, Draft
from webapp.context import caller, web
from webapp.drafts import checked_draft
from webapp.errors import BadRequest
from webapp.requests import answer, body_as, decode, latency_ms
from webapp.schemas import BatchAnswer, BatchItem, BatchResult, PostBatch

_ORDER: tuple[Tier, ...] = get_args(Tier)

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
    done = _store(groups, results)
    farthest = max(done, key=lambda one: _ORDER.index(one.tier_used), default=None)
    durability = farthest.durability if farthest else web().services.redis_durability()
    degraded = farthest.degraded if farthest else Degraded()
    return answer(
        BatchAnswer(
            results=[results[position] for position in range(len(items))],
            accepted=len(items) - refused,
            refused=refused,
            tier_used=farthest.tier_used if farthest else "redis",
            durability=durability,
            background_persistence=any(one.durability != "committed" for one in done),
            latency_ms=latency_ms(),
            failover_reason=degraded.failover_reason or msgspec.UNSET,
            warning=degraded.warning or msgspec.UNSET,
        )
    )


def _draft(item: bytes) -> tuple[str, Draft]:
    body = decode(item, BatchItem)
    key = body.idempotency_key
    return body.thread_id, checked_draft(
        body.thread_id, body.role, body.message, body.metadata, key
    )


def _store(groups: dict[str, _Group], results: dict[int, BatchResult]) -> list[Acknowledgement]:
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
    return [done for acknowledgements in stored for done in acknowledgements]

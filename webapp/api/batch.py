"""The route of batches: up to 1000 messages, one acknowledgement, a result for each item."""

from collections import defaultdict
from typing import NamedTuple, get_args

import msgspec
from flask import Blueprint, Response, request

from models.caveats import Degraded
from models.message import InvalidMessage, Tier, check_idempotency_key
from storage.errors import KeyReused
from storage.messages.posts import Draft
from storage.messages.storage_service import Acknowledgement
from webapp.http.context import caller, web
from webapp.http.drafts import checked_draft
from webapp.http.errors import BadRequest, fault_of
from webapp.http.log_lines import request_id
from webapp.http.operation import KEY, Operation
from webapp.http.requests import answer, body_as, decode, latency_ms
from webapp.http.schemas import BatchAnswer, BatchItem, BatchResult, PostBatch

_ORDER: tuple[Tier, ...] = get_args(Tier)

blueprint = Blueprint("batch", __name__, url_prefix="/api")


class _Group(NamedTuple):
    positions: list[int]
    drafts: list[Draft]


@Operation("Post up to 1000 messages", {200: BatchAnswer}, PostBatch, headers=(KEY,))
@blueprint.post("/messages:batch")
def post_batch() -> Response:
    """Acknowledges all valid items; the result of each other one says what is wrong with it."""
    request.max_content_length = web().settings.batch_body_bytes
    items = body_as(PostBatch).messages
    key = request.headers.get("Idempotency-Key")
    if key is not None:
        check_idempotency_key(key)
    results: dict[int, BatchResult] = {}
    groups: dict[str, _Group] = defaultdict(lambda: _Group([], []))
    for position, item in enumerate(items):
        try:
            thread_id, draft = _draft(bytes(item), _key_of(key, position))
        except (BadRequest, InvalidMessage) as error:
            status = error.status if isinstance(error, BadRequest) else 422
            results[position] = BatchResult(status=status, code=error.code, detail=str(error))
            continue
        groups[thread_id].positions.append(position)
        groups[thread_id].drafts.append(draft)
    done = _store(groups, results)
    farthest = max(done, key=lambda one: _ORDER.index(one.tier_used), default=None)
    durability = farthest.durability if farthest else web().services.redis_durability()
    degraded = farthest.degraded if farthest else Degraded()
    return answer(
        BatchAnswer(
            results=[results[position] for position in range(len(items))],
            accepted=len(done),
            refused=len(items) - len(done),
            tier_used=farthest.tier_used if farthest else "redis",
            durability=durability,
            background_persistence=any(one.durability != "committed" for one in done),
            latency_ms=latency_ms(),
            failover_reason=degraded.failover_reason or msgspec.UNSET,
            warning=degraded.warning or msgspec.UNSET,
        ),
        headers={"Idempotency-Replayed": "true"} if _is_repeat(done) else None,
    )


def _key_of(key: str | None, position: int) -> str | None:
    """The key of one item, made from the batch's. No caller can give one with a line break."""
    return None if key is None else f"{key}\n{position}"


def _is_repeat(done: list[Acknowledgement]) -> bool:
    return bool(done) and all(one.repeated for one in done)


def _draft(item: bytes, key: str | None) -> tuple[str, Draft]:
    """A checked item; its own key takes precedence over the batch's."""
    body = decode(item, BatchItem)
    draft = checked_draft(
        body.thread_id, body.role, body.message, body.metadata, body.idempotency_key
    )
    return body.thread_id, draft if draft.idempotency_key else draft._replace(idempotency_key=key)


def _store(groups: dict[str, _Group], results: dict[int, BatchResult]) -> list[Acknowledgement]:
    process = web()
    named = [(thread_id, group.drafts) for thread_id, group in groups.items()]
    stored = process.services.messages.post_batch(caller().user_id, named)
    taken = []
    for group, answers in zip(groups.values(), stored, strict=True):
        for position, done in zip(group.positions, answers, strict=True):
            if isinstance(done, KeyReused):
                status, code, detail, *_ = fault_of(done, request_id())
                results[position] = BatchResult(status=status, code=code, detail=detail)
                continue
            process.wake(done.wake_slot)
            taken.append(done)
            results[position] = BatchResult(
                status=200,
                message=done.message,
                repeated=True if done.repeated else msgspec.UNSET,
            )
    return taken

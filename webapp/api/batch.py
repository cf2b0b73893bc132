"""The route of batches: up to 1000 messages, one acknowledgement, a result for each item."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, cast, get_args

import msgspec
from flask import Blueprint, Response, request

from models.caveats import Acknowledgement, Degraded
from models.message import InvalidMessage, Message, Tier, check_idempotency_key
from storage.errors import KeyReused
from storage.messages.posts import Draft
from webapp.http.body.drafts import checked_draft
from webapp.http.body.reading import body_as, decode
from webapp.http.context import caller, web
from webapp.http.errors import BadRequest, fault_of
from webapp.http.log_lines import request_id
from webapp.http.operation import KEY, Operation
from webapp.http.requests import answer, latency_ms
from webapp.http.schemas import BatchAnswer, BatchItem, BatchResult, PostBatch, SoundBatch

_ORDER: tuple[Tier, ...] = get_args(Tier)
_sound = msgspec.json.Decoder(SoundBatch)

blueprint = Blueprint("batch", __name__, url_prefix="/api")


class _Group(NamedTuple):
    positions: list[int]
    drafts: list[Draft]


@Operation("Post up to 1000 messages", {200: BatchAnswer}, PostBatch, headers=(KEY,))
@blueprint.post("/messages:batch")
def post_batch() -> Response:
    """Acknowledges all valid items; the result of each other one says what is wrong with it."""
    request.max_content_length = web().settings.batch_body_bytes
    items = _items(bytes(body_as(msgspec.Raw)))
    key = request.headers.get("Idempotency-Key")
    if key is not None:
        check_idempotency_key(key)
    results: dict[int, BatchResult] = {}
    groups: dict[str, _Group] = defaultdict(lambda: _Group([], []))
    for position, item in enumerate(items):
        try:
            thread_id, draft = _draft(item, position, _key_of(key, position))
        except (BadRequest, InvalidMessage) as error:
            results[position] = _refused(error)
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


def _items(body: bytes) -> Sequence[BatchItem | msgspec.Raw]:
    """The items of a batch, read at once; where one is wrong, as they are, to be read one by one.
    Raises `BadRequest`."""
    try:
        return _sound.decode(body).messages
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return decode(body, PostBatch).messages


def _draft(item: BatchItem | msgspec.Raw, position: int, key: str | None) -> tuple[str, Draft]:
    """A checked item; its own key takes precedence over the batch's."""
    body = item if isinstance(item, BatchItem) else _read(bytes(item), position)
    draft = checked_draft(
        body.thread_id, body.role, body.required_text(), body.metadata, body.idempotency_key
    )
    return body.thread_id, draft if draft.idempotency_key else draft._replace(idempotency_key=key)


def _read(item: bytes, position: int) -> BatchItem:
    return decode(item, BatchItem, at=f"$.messages[{position}]")


def _store(groups: dict[str, _Group], results: dict[int, BatchResult]) -> list[Acknowledgement]:
    process = web()
    named = [(thread_id, group.drafts) for thread_id, group in groups.items()]
    stored = process.services.messages.post_batch(caller().user_id, named)
    taken = []
    slots = set()
    for group, answers in zip(groups.values(), stored, strict=True):
        for position, done in zip(group.positions, answers, strict=True):
            if isinstance(done, KeyReused):
                results[position] = _refused(done)
                continue
            slots.add(done.wake_slot)
            taken.append(done)
            results[position] = BatchResult(
                status=200,
                # As it is stored, which is not written again.
                message=cast(Message, msgspec.Raw(done.record)),
                repeated=True if done.repeated else msgspec.UNSET,
            )
    for slot in slots:
        process.wake(slot)
    return taken


def _refused(error: Exception) -> BatchResult:
    """The result of an item that is not taken, as a problem would say it."""
    fault = fault_of(error, request_id())
    return BatchResult(
        status=fault.status,
        code=fault.code,
        detail=fault.detail,
        errors=fault.errors or msgspec.UNSET,
    )

"""What a post is answered with whose Idempotency-Key has made a message before."""

from collections.abc import Callable

import msgspec

from models import codec, ids
from models.message import Message
from storage.errors import KeyReused, NotFound, TierUnavailable
from storage.messages.retrieval_service import Retrieved, UnifiedMessageRetrievalService
from storage.resilience import budget


def made_before(
    retrieval: UnifiedMessageRetrievalService,
    asked: Message,
    made: str,
    hash_of: Callable[[str], str],
) -> Retrieved | None:
    """The message with the id `made`, for one who asks for the same again; None where it is gone,
    by itself or with its thread: then the key is free. `hash_of` gives the hash of its first
    version, as far as that is known.

    Raises `KeyReused` where something else was asked for; of a message that was edited since, as
    far as the hash of what it was is known. Raises `TierUnavailable` where nobody who answers has
    the message or its hash.
    """
    try:
        found = retrieval.find(asked.user_id, made)
    except NotFound:
        return None
    except TierUnavailable:
        if budget.is_spent():
            # Nobody is out; there was only no time left to ask.
            raise
        if retrieval.is_gone(asked.user_id, asked.thread_id, made):
            return None
        known = hash_of(made)
        if not known:
            raise
        # Only the tier that acknowledged it has it, and that one is out.
        first = _as_first(asked, made)
        if first.content_hash != known:
            raise KeyReused from None
        return Retrieved(first, "redis", None)
    if found.message.deleted_at is not None:
        return None
    if found.message.version == 1:
        is_same = _says(found.message) == _says(asked)
    else:
        is_same = hash_of(made) in {"", _as_first(asked, made).content_hash}
    if not is_same:
        raise KeyReused
    return found


def _as_first(asked: Message, made: str) -> Message:
    """The first version of the message `made`, if it said what is asked for now: with its id and
    time, what says the same is the same message."""
    moment = ids.timestamp(ids.time_us_of(made))
    return codec.seal(msgspec.structs.replace(asked, id=made, created_at=moment, updated_at=moment))


def _says(message: Message) -> tuple[str, str, str]:
    return message.role, message.content, codec.canonical_metadata(message.metadata)

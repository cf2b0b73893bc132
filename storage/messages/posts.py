"""New messages on their way: drafts minted and sealed, in parts that a tier takes at once."""

from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from models import codec, ids
from models.appends import Append, NewMessage
from models.ids import Clock
from models.message import Message
from storage.resilience.bites import bites

Answer = TypeVar("Answer")


class Draft(NamedTuple):
    """A message as a caller gives it, already validated."""

    role: str
    content: str
    metadata: dict[str, Any]
    idempotency_key: str | None = None


class Waiting(msgspec.Struct, frozen=True):
    """A draft that is not acknowledged yet: its place among its thread's, and the message that its
    key made before, where that one is gone."""

    at: int
    draft: Draft
    instead_of: str = ""


class Post(Generic[Answer]):
    """New messages of one thread: those without an answer yet, and the answers by their places."""

    def __init__(self, thread_id: str, drafts: Sequence[Draft]) -> None:
        self.waiting = [Waiting(at, draft) for at, draft in enumerate(drafts)]
        self.answers: dict[int, Answer] = {}
        self._thread_id = thread_id
        self._newest_us = 0

    def parts(self, user_id: str, clock: Clock, most_bytes: int) -> Iterator["PostPart[Answer]"]:
        """What waits, minted above the newest that the thread has, in order; it waits no more."""
        waited, messages, new = self._minted(user_id, clock)
        first = 0
        for piece, _ in bites(new, [len(one.record) for one in new], most_bytes):
            end = first + len(piece)
            append = Append(user_id, self._thread_id, piece, follows=first > 0)
            yield PostPart(self, append, waited[first:end], messages[first:end])
            first = end

    def whole(self, user_id: str, clock: Clock) -> "PostPart[Answer]":
        """Likewise, all of it as one part."""
        waited, messages, new = self._minted(user_id, clock)
        return PostPart(self, Append(user_id, self._thread_id, new), waited, messages)

    def mint_above(self, newest: str, waited: Sequence[Waiting]) -> None:
        """Has these wait again, for ids above this one of the thread."""
        self._newest_us = max(self._newest_us, ids.time_us_of(newest))
        self.waiting += waited

    def _minted(
        self, user_id: str, clock: Clock
    ) -> tuple[list[Waiting], list[Message], list[NewMessage]]:
        waited, self.waiting = self.waiting, []
        shard = ids.shard_of(user_id, self._thread_id)
        messages = [
            self._sealed(user_id, shard, max(clock.now_us(), self._newest_us + 1 + at), one.draft)
            for at, one in enumerate(waited)
        ]
        new = [
            NewMessage(
                message.id,
                codec.encode(message),
                one.draft.idempotency_key,
                one.instead_of,
                message.content_hash,
            )
            for message, one in zip(messages, waited, strict=True)
        ]
        return waited, messages, new

    def _sealed(self, user_id: str, shard: int, time_us: int, draft: Draft) -> Message:
        moment = ids.timestamp(time_us)
        return codec.seal(
            Message(
                version=1,
                id=ids.mint(time_us, shard),
                thread_id=self._thread_id,
                user_id=user_id,
                role=draft.role,
                content=draft.content,
                metadata=draft.metadata,
                created_at=moment,
                updated_at=moment,
            )
        )


class PostPart(NamedTuple, Generic[Answer]):
    """So much of a thread's new messages as a tier takes at once."""

    post: Post[Answer]
    append: Append
    waited: Sequence[Waiting]
    messages: Sequence[Message]

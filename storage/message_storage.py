"""Takes messages in: mints, seals and acknowledges new ones, edits and deletes.

An acknowledgement means that the message is on Redis's disk, in the log and in the thread's
index, by one script that does all or nothing; or, where Redis is out, on another tier's. Carrying
it on to PostgreSQL is for others; the answer says whether this caller is to wake them.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from models import codec, ids
from models.ids import Clock
from models.message import Durability, Message, Tier
from models.streams import state_of
from storage.appends import Append, Behind, NewMessage, Stored
from storage.errors import (
    Damaged,
    NotFound,
    StreamRefused,
    TierError,
    TierUnavailable,
    VersionConflict,
)
from storage.failover.chain import Degraded, MessageFailoverService
from storage.faultpoints import faultpoint
from storage.message_retrieval import Retrieved, UnifiedMessageRetrievalService
from storage.metrics.instruments import Kind
from storage.streaming.open_streams import OpenStreams

_DURABILITY: dict[Tier, Durability] = {"postgresql": "committed", "clickhouse": "archived"}

CONFLICT_ATTEMPTS = 100
"""At each attempt of everyone at least one succeeds, so this many writers all get through."""


class Draft(NamedTuple):
    """A message as a caller gives it, already validated."""

    role: str
    content: str
    metadata: dict[str, Any]
    idempotency_key: str | None = None


class Acknowledgement(NamedTuple):
    """What a caller may be told. `record` is the message as it is stored; `wake_slot` is the slot
    whose worker this caller is to wake; `repeated` says that an earlier request with the same key
    made the message; `degraded` is what is not as it should be."""

    message: Message
    record: bytes
    tier_used: Tier
    durability: Durability
    wake_slot: int | None
    repeated: bool
    degraded: Degraded


class PreconditionFailed(Exception):
    """The caller's version is not the current one."""

    def __init__(self, current_version: int) -> None:
        super().__init__(f"the current version is {current_version}")
        self.current_version = current_version


class UnifiedMessageStorageService:
    """The write verbs of messages."""

    def __init__(
        self,
        failover: MessageFailoverService,
        retrieval: UnifiedMessageRetrievalService,
        streams: OpenStreams,
        *,
        clock: Clock,
        slots: int,
        redis_durability: Callable[[], Durability],
    ) -> None:
        self._failover = failover
        self._retrieval = retrieval
        self._streams = streams
        self._clock = clock
        self._slots = slots
        self._redis_durability = redis_durability

    def post(self, user_id: str, thread_id: str, draft: Draft) -> Acknowledgement:
        """Acknowledges one new message.

        Raises `TierUnavailable`: then it may or may not exist, and a retry with the same
        Idempotency-Key gives the same message.
        """
        return self.post_batch(user_id, [(thread_id, [draft])])[0][0]

    def post_batch(
        self, user_id: str, groups: Sequence[tuple[str, Sequence[Draft]]]
    ) -> list[list[Acknowledgement]]:
        """Acknowledges new messages of several threads, each thread's in order, all or none.

        Raises `TierUnavailable`, as `post` does.
        """
        answers: dict[int, list[Acknowledgement]] = {}
        newest_us = [0] * len(groups)
        for _ in range(CONFLICT_ATTEMPTS):
            open_groups = [at for at in range(len(groups)) if at not in answers]
            minted = [self._mint(user_id, *groups[at], newest_us[at]) for at in open_groups]
            appends = [
                Append(user_id, groups[at][0], _new_messages(messages, groups[at][1]))
                for at, messages in zip(open_groups, minted, strict=True)
            ]
            faultpoint("api.before_write")
            taken = self._failover.append(appends)
            faultpoint("api.after_write")
            for at, append, messages, (tier, answer) in zip(
                open_groups, appends, minted, taken, strict=True
            ):
                if isinstance(answer, Behind):
                    newest_us[at] = ids.time_us_of(answer.newest)
                else:
                    answers[at] = self._acknowledge(append, messages, tier, answer)
            if len(answers) == len(groups):
                return [answers[at] for at in range(len(groups))]
        raise TierUnavailable("redis", "too many writers in one thread")

    def edit(
        self,
        user_id: str,
        message_id: str,
        *,
        content: str | None,
        metadata: dict[str, Any] | None,
        if_version: int | None,
    ) -> Acknowledgement:
        """Acknowledges a new version.

        Raises `NotFound`, `PreconditionFailed`, `StreamRefused`, `Damaged` and `TierUnavailable`.
        """

        def revise(current: Message) -> Message:
            if state_of(current.metadata) == "open":
                detail = "this message is being streamed: finish it, or delete it"
                raise StreamRefused("message_streaming", detail)
            return msgspec.structs.replace(
                current,
                content=current.content if content is None else content,
                metadata=current.metadata if metadata is None else metadata,
            )

        return self._revise(user_id, message_id, revise, if_version, tombstone=False)

    def delete(self, user_id: str, message_id: str, *, if_version: int | None) -> Acknowledgement:
        """Acknowledges a tombstone, which holds nothing of what was written.

        Raises `NotFound`, `PreconditionFailed` and `TierUnavailable`.
        """

        def bury(current: Message) -> Message:
            return msgspec.structs.replace(current, content="", metadata={})

        return self._revise(user_id, message_id, bury, if_version, tombstone=True)

    def finish(
        self, user_id: str, message_id: str, final: Callable[[Message], Message]
    ) -> Acknowledgement:
        """Acknowledges the version that `final` makes of the current one; raises what it raises,
        `NotFound` and `TierUnavailable`."""
        return self._revise(user_id, message_id, final, None, tombstone=False)

    def known(self, user_id: str, message_id: str) -> Acknowledgement:
        """The acknowledgement, once more, of the version that there is. Raises as `edit` does."""
        message, tier, *_ = self._retrieval.get(user_id, message_id)
        known = self._acknowledgement(tier, message, codec.encode(message), None)
        return known._replace(repeated=True)

    def _revise(
        self,
        user_id: str,
        message_id: str,
        change: Callable[[Message], Message],
        if_version: int | None,
        *,
        tombstone: bool,
    ) -> Acknowledgement:
        for _ in range(CONFLICT_ATTEMPTS):
            current = _base(self._retrieval.get(user_id, message_id), tombstone=tombstone)
            if if_version is not None and current.version != if_version:
                raise PreconditionFailed(current.version)
            moment = ids.timestamp(self._clock.now_us())

            def make(version: int, current: Message = current, moment: str = moment) -> Message:
                return codec.seal(
                    msgspec.structs.replace(
                        change(current),
                        version=version,
                        updated_at=moment,
                        deleted_at=moment if tombstone else None,
                    )
                )

            try:
                kind: Kind = "delete" if tombstone else "edit"
                tier, revised, wake = self._failover.revise(current, make, kind)
            except VersionConflict:
                continue
            if state_of(current.metadata) == "open":
                # A worker forgets it later, should this not come to pass.
                with suppress(TierError):
                    self._streams.drop(message_id)
            slot = self._slot_of(message_id) if wake else None
            return self._acknowledgement(tier, revised, codec.encode(revised), slot)
        raise TierUnavailable("redis", "too many writers of one message")

    def _mint(
        self, user_id: str, thread_id: str, drafts: Sequence[Draft], newest_us: int
    ) -> list[Message]:
        """The drafts as sealed messages, in order, above the newest that the thread has."""
        shard = ids.shard_of(user_id, thread_id)
        return [
            _new(user_id, thread_id, shard, max(self._clock.now_us(), newest_us + 1 + at), draft)
            for at, draft in enumerate(drafts)
        ]

    def _acknowledge(
        self, append: Append, messages: Sequence[Message], tier: Tier, stored: Stored
    ) -> list[Acknowledgement]:
        slot = self._slot_of(messages[0].id) if stored.wake else None
        return [
            self._acknowledgement(tier, message, new.record, slot)
            if made == message.id
            else self._repeat(append.user_id, message, made, slot)
            for message, new, made in zip(messages, append.messages, stored.ids, strict=True)
        ]

    def _acknowledgement(
        self, tier: Tier, message: Message, record: bytes, slot: int | None
    ) -> Acknowledgement:
        durability = _DURABILITY.get(tier) or self._redis_durability()
        degraded = self._failover.degraded(tier)
        return Acknowledgement(message, record, tier, durability, slot, False, degraded)

    def _repeat(
        self, user_id: str, message: Message, made: str, slot: int | None
    ) -> Acknowledgement:
        """The acknowledgement of the message that an earlier request with the same key made."""
        try:
            found, tier, *_ = self._retrieval.find(user_id, made)
        except NotFound:
            # The key outlived its message, which went with its whole thread: say what it was.
            found = msgspec.structs.replace(message, id=made, content="", metadata={})
            tier = "redis"
        except TierUnavailable:
            # Only the tier that acknowledged it has it, and that one is out. A repeat says what
            # the first request said, so with the first one's id and time it is that message.
            moment = ids.timestamp(ids.time_us_of(made))
            found = codec.seal(
                msgspec.structs.replace(message, id=made, created_at=moment, updated_at=moment)
            )
            tier = "redis"
        known = self._acknowledgement(tier, found, codec.encode(found), slot)
        return known._replace(repeated=True)

    def _slot_of(self, message_id: str) -> int:
        return ids.shard_in(message_id) % self._slots


def _base(found: Retrieved, *, tombstone: bool) -> Message:
    """What a new version rests on. Raises `Damaged` where its text or its time may not be what was
    written, unless nothing of that is kept: whoever deletes a damaged message gets rid of it."""
    if found.is_intact:
        return found.message
    message = found.message
    is_at_home = ids.shard_in(message.id) == ids.shard_of(message.user_id, message.thread_id)
    if not tombstone or not is_at_home:
        raise Damaged(message.id)
    return msgspec.structs.replace(message, created_at=ids.timestamp(ids.time_us_of(message.id)))


def _new_messages(messages: Sequence[Message], drafts: Sequence[Draft]) -> list[NewMessage]:
    return [
        NewMessage(message.id, codec.encode(message), draft.idempotency_key)
        for message, draft in zip(messages, drafts, strict=True)
    ]


def _new(user_id: str, thread_id: str, shard: int, time_us: int, draft: Draft) -> Message:
    moment = ids.timestamp(time_us)
    return codec.seal(
        Message(
            version=1,
            id=ids.mint(time_us, shard),
            thread_id=thread_id,
            user_id=user_id,
            role=draft.role,
            content=draft.content,
            metadata=draft.metadata,
            created_at=moment,
            updated_at=moment,
        )
    )

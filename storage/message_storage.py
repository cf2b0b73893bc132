"""Takes messages in: mints, seals and acknowledges new ones, edits and deletes.

An acknowledgement means that the message is on Redis's disk, in the log and in the thread's
index, by one script that does all or nothing. Carrying it on to PostgreSQL is for others; the
answer says whether this caller is to wake them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from models import codec, ids
from models.ids import Clock
from models.message import Durability, Message, Tier
from storage.combining import Combiner
from storage.errors import NotFound, TierError, TierUnavailable, VersionConflict
from storage.message_retrieval import UnifiedMessageRetrievalService
from storage.redis_tier import Append, Behind, NewMessage, RedisTier, Stored

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
    made the message."""

    message: Message
    record: bytes
    tier_used: Tier
    durability: Durability
    wake_slot: int | None
    repeated: bool


class PreconditionFailed(Exception):
    """The caller's version is not the current one."""

    def __init__(self, current_version: int) -> None:
        super().__init__(f"the current version is {current_version}")
        self.current_version = current_version


class UnifiedMessageStorageService:
    """The write verbs of messages."""

    def __init__(
        self,
        redis: RedisTier,
        retrieval: UnifiedMessageRetrievalService,
        *,
        clock: Clock,
        durability: Callable[[], Durability],
        idempotency_seconds: int,
    ) -> None:
        self._redis = redis
        self._retrieval = retrieval
        self._clock = clock
        self._durability = durability
        self._appends: Combiner[Append, Stored | Behind | TierError] = Combiner(
            lambda appends: redis.append(appends, idempotency_seconds)
        )

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
            stored = self._appends.ask(appends)
            for at, append, messages, answer in zip(
                open_groups, appends, minted, stored, strict=True
            ):
                if isinstance(answer, TierError):
                    raise answer
                if isinstance(answer, Behind):
                    newest_us[at] = ids.time_us_of(answer.newest)
                else:
                    answers[at] = self._acknowledge(append, messages, answer)
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

        Raises `NotFound`, `PreconditionFailed` and `TierUnavailable`.
        """

        def revise(current: Message) -> Message:
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
            current = self._retrieval.get(user_id, message_id).message
            if if_version is not None and current.version != if_version:
                raise PreconditionFailed(current.version)
            now = ids.timestamp(self._clock.now_us())
            revised = codec.seal(
                msgspec.structs.replace(
                    change(current),
                    version=current.version + 1,
                    updated_at=now,
                    deleted_at=now if tombstone else None,
                )
            )
            record = codec.encode(revised)
            try:
                wake = self._redis.revise(
                    user_id,
                    current.thread_id,
                    message_id,
                    record,
                    rests_on=current.version,
                    tombstone=tombstone,
                )
            except VersionConflict:
                continue
            slot = self._redis.slot_of_message(message_id) if wake else None
            return Acknowledgement(revised, record, "redis", self._durability(), slot, False)
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
        self, append: Append, messages: Sequence[Message], stored: Stored
    ) -> list[Acknowledgement]:
        user_id, thread_id, _ = append
        slot = self._redis.slot_of_thread(user_id, thread_id) if stored.wake else None
        durability = self._durability()
        return [
            Acknowledgement(message, new.record, "redis", durability, slot, False)
            if made == message.id
            else self._repeat(user_id, message, made, slot)
            for message, new, made in zip(messages, append.messages, stored.ids, strict=True)
        ]

    def _repeat(
        self, user_id: str, message: Message, made: str, slot: int | None
    ) -> Acknowledgement:
        """The acknowledgement of the message that an earlier request with the same key made."""
        try:
            found, tier, _ = self._retrieval.find(user_id, made)
        except NotFound:
            # The key outlived its message, which went with its whole thread: say what it was.
            found = msgspec.structs.replace(message, id=made, content="", metadata={})
            tier = "redis"
        return Acknowledgement(found, codec.encode(found), tier, self._durability(), slot, True)


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

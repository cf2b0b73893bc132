"""Takes messages in: mints, seals and acknowledges new ones, edits and deletes.

Carrying on to PostgreSQL is for others; the answer says whether this caller is to wake them.
"""

import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec

from models import codec, ids
from models.appends import IdTooOld, Key, Stored
from models.caveats import Acknowledgement, durability
from models.ids import Clock
from models.message import CONFLICT_ATTEMPTS, Durability, Message, Tier, check_content
from models.streams import state_of
from storage.errors import (
    Contended,
    Damaged,
    KeyReused,
    StreamRefused,
    TierError,
    VersionConflict,
)
from storage.messages.append_plan import Answer
from storage.messages.failover_service import PART_BYTES, MessageFailoverService, Taken
from storage.messages.posts import Draft, Post, PostPart
from storage.messages.repeats import made_before
from storage.messages.retrieval_service import Retrieved, UnifiedMessageRetrievalService
from storage.redis.chunks import OpenStreams
from storage.resilience.faultpoints import faultpoint
from storage.telemetry.instruments import Kind

_Answer = Acknowledgement | KeyReused
_Post = Post[_Answer]


class Unsettled(NamedTuple):
    """A post that Redis has not simply taken, and what came of asking it."""

    part: PostPart[_Answer]
    answer: Answer | Exception


Submitted = Acknowledgement | Unsettled
"""What comes of a message that was submitted."""


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

        Raises `KeyReused`, and `TierUnavailable`: then it may or may not exist, and a retry with
        the same Idempotency-Key gives the same message.
        """
        ((answer,),) = self._carry_out(user_id, [Post(thread_id, [draft])])
        if isinstance(answer, KeyReused):
            raise answer
        return answer

    def post_batch(
        self, user_id: str, groups: Sequence[tuple[str, Sequence[Draft]]]
    ) -> list[list[_Answer]]:
        """Acknowledges new messages of several threads, each thread's in order, but for those whose
        key stands for another message. Between those of a thread others may write where they are
        large; one whose key was free again comes after the others.

        Raises `TierUnavailable`, as `post` does: then each of them may or may not exist.
        """
        return self._carry_out(user_id, [Post(thread_id, drafts) for thread_id, drafts in groups])

    def submit(
        self, user_id: str, thread_id: str, draft: Draft, done: Callable[[Submitted], object]
    ) -> None:
        """Asks Redis for one new message, and returns at once; `done` is called in another thread,
        with the acknowledgement, or with what `settle` is to carry on with."""
        part: PostPart[_Answer] = Post(thread_id, [draft]).whole(user_id, self._clock)
        (message,), (new,) = part.messages, part.append.messages
        started = time.perf_counter()
        faultpoint("api.before_write")

        def answered(answers: Sequence[Answer], error: Exception | None) -> None:
            faultpoint("api.after_write")
            answer = answers[0] if error is None else error
            if isinstance(answer, Stored) and answer.ids[0] == message.id:
                self._failover.acknowledged("redis", time.perf_counter() - started)
                slot = self._slot_of(message.id) if answer.wake else None
                done(self._acknowledgement("redis", message, new.record, slot))
            else:
                done(Unsettled(part, answer))

        self._failover.submit(part.append, answered)

    def settle(self, unsettled: Unsettled) -> Acknowledgement:
        """Carries on with a post that Redis has not simply taken. Raises as `post` does, and what
        asking Redis raised that is no answer of a tier."""
        part, answer = unsettled
        if not isinstance(answer, Stored | IdTooOld | TierError):
            raise answer
        taken = self._failover.append([part.append], [answer])
        ((done,),) = self._carry_out(part.append.user_id, [part.post], [(part, taken[0])])
        if isinstance(done, KeyReused):
            raise done
        return done

    def _carry_out(
        self,
        user_id: str,
        posts: Sequence[_Post],
        taken: Sequence[tuple[PostPart[_Answer], Taken]] = (),
    ) -> list[list[_Answer]]:
        """The answers of posts, of which some parts were taken already."""
        for _ in range(CONFLICT_ATTEMPTS):
            for part, (tier, answer) in taken:
                if isinstance(answer, IdTooOld):
                    part.post.mint_above(answer.newest, part.waited)
                else:
                    self._take(part, tier, answer)
            parts = [
                part
                for post in posts
                for part in post.parts(user_id, self._clock, PART_BYTES["redis"])
            ]
            if not parts:
                return [[post.answers[at] for at in sorted(post.answers)] for post in posts]
            faultpoint("api.before_write")
            answers = self._failover.append([part.append for part in parts])
            faultpoint("api.after_write")
            taken = list(zip(parts, answers, strict=True))
        raise Contended("redis", "too many writers in one thread")

    def edit(
        self,
        user_id: str,
        message_id: str,
        *,
        content: str | None,
        metadata: dict[str, Any] | None,
        if_version: Container[int] | None,
    ) -> Acknowledgement:
        """Acknowledges a new version; `if_version` must hold the current one where it is given.

        Raises `InvalidMessage` for a text that is empty where there is no metadata, `NotFound`,
        `PreconditionFailed`, `StreamRefused`, `Damaged` and `TierUnavailable`.
        """

        def revise(current: Message) -> Message:
            if state_of(current.metadata) == "open":
                detail = "this message is being streamed: finish it, or delete it"
                raise StreamRefused("message_streaming", detail)
            text = current.content if content is None else content
            known = current.metadata if metadata is None else metadata
            check_content(text, known)
            return msgspec.structs.replace(current, content=text, metadata=known)

        return self._revise(user_id, message_id, revise, if_version, tombstone=False)

    def delete(
        self, user_id: str, message_id: str, *, if_version: Container[int] | None
    ) -> Acknowledgement:
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

    def acknowledge_existing(self, user_id: str, message_id: str) -> Acknowledgement:
        """The acknowledgement, once more, of the version that there is. Raises as `edit` does."""
        return self._again(self._retrieval.get(user_id, message_id), None)

    def _revise(
        self,
        user_id: str,
        message_id: str,
        change: Callable[[Message], Message],
        if_version: Container[int] | None,
        *,
        tombstone: bool,
    ) -> Acknowledgement:
        for _ in range(CONFLICT_ATTEMPTS):
            current = _base(self._retrieval.get(user_id, message_id), tombstone=tombstone)
            if if_version is not None and current.version not in if_version:
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
        raise Contended("redis", "too many writers of one message")

    def _take(self, part: PostPart[_Answer], tier: Tier, stored: Stored) -> None:
        """Notes the answers; where what a key made is gone its draft goes on waiting."""
        post, append, waited, messages = part
        slot = self._slot_of(messages[0].id) if stored.wake else None
        for one, message, new, made in zip(
            waited, messages, append.messages, stored.ids, strict=True
        ):
            if made == message.id:
                done = self._acknowledgement(tier, message, new.record, slot)
                post.answers[one.at] = done
                continue
            try:
                key = Key(append.user_id, append.thread_id, new.idempotency_key or "")
                hash_of = partial(self._failover.keys.hash_of, key)
                before = made_before(self._retrieval, message, made, hash_of)
            except KeyReused as error:
                post.answers[one.at] = error
            else:
                if before is None:
                    # Above it: of two messages of one key the later stays.
                    post.mint_above(made, [msgspec.structs.replace(one, instead_of=made)])
                else:
                    post.answers[one.at] = self._again(before, slot)

    def _acknowledgement(
        self, tier: Tier, message: Message, record: bytes, slot: int | None
    ) -> Acknowledgement:
        means = durability(tier, self._redis_durability)
        degraded = self._failover.degraded(tier)
        return Acknowledgement(message, record, tier, means, slot, False, degraded)

    def _again(self, found: Retrieved, slot: int | None) -> Acknowledgement:
        record = codec.encode(found.message)
        done = self._acknowledgement(found.source, found.message, record, slot)
        return done._replace(repeated=True)

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

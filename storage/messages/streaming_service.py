"""Streaming messages: opened, appended to, finished; one message, one final version.

The chunks of an open message are in Redis alone, each fsynced before its answer, until the next
version has the whole text. Where nobody finishes, a worker does.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import structlog

from models import ids
from models.caveats import Acknowledgement
from models.message import MAX_CONTENT_BYTES, InvalidMessage, Message
from models.streams import StreamState, marked, state_of
from storage.errors import NotFound, StreamRefused, TierError, TierUnavailable
from storage.messages.posts import Draft
from storage.messages.retrieval_service import UnifiedMessageRetrievalService
from storage.messages.storage_service import UnifiedMessageStorageService
from storage.redis.chunks import Appended, OpenStreams, Streamed
from storage.redis.log_quota import LogQuota

log = structlog.get_logger(__name__)

GIVE_IT_WHOLE = "what was streamed is not in Redis any more; finish with the whole text as message"


class OpenedStream(NamedTuple):
    """The acknowledged message, the state of its text, and how many bytes of it there are."""

    acknowledgement: Acknowledgement
    state: StreamState
    length: int


class Shown(NamedTuple):
    """A message as it is stored, and the text so far of one that is open.

    `text` is None for all others, and where Redis does not say."""

    message: Message
    text: str | None


class _Final(Exception):
    """The message is no longer open."""

    def __init__(self, message: Message) -> None:
        super().__init__("no longer open")
        self.message = message


class StreamingService:
    """The verbs of streaming messages. Safe to run anywhere, any number of times at once."""

    def __init__(
        self,
        messages: UnifiedMessageStorageService,
        retrieval: UnifiedMessageRetrievalService,
        streams: OpenStreams,
        quota: LogQuota,
        *,
        idle_seconds: float,
    ) -> None:
        self._messages = messages
        self._retrieval = retrieval
        self._streams = streams
        self._quota = quota
        self._idle_seconds = idle_seconds

    def open(self, user_id: str, thread_id: str, draft: Draft) -> OpenedStream:
        """Acknowledges a message whose text is to come, and begins its stream.

        Raises `TierUnavailable` as every post does. Where only Redis is out, the first chunk
        begins the stream.
        """
        opened = draft._replace(metadata=marked(draft.metadata, "open"))
        done = self._messages.post(user_id, thread_id, opened)
        message, length = done.message, _size(done.message.content)
        if state_of(message.metadata) == "open":
            with suppress(TierError):
                length = self._streams.open(message)
        return OpenedStream(done, state_of(message.metadata), length)

    def append(self, user_id: str, message_id: str, text: str, offset: int | None) -> Appended:
        """Appends a chunk; gives the length, in bytes of UTF-8, that the text has now.

        With an offset it may be repeated. Raises `NotFound`, `StreamRefused`, `InvalidMessage`
        where the whole would be too long, and `TierUnavailable` while Redis is out or full.
        """
        if not ids.is_id(message_id):
            raise NotFound
        self._quota.admit()
        done = self._streams.append(user_id, message_id, text, offset, is_open=False)
        if done.outcome == "unknown":
            message = self._open_message(user_id, message_id)
            self._streams.open(message, anew=True)
            done = self._streams.append(user_id, message_id, text, offset, is_open=True)
        if done.outcome == "appended":
            return done
        raise _refusal(done)

    def finish(
        self, user_id: str, message_id: str, content: str | None, metadata: dict[str, Any] | None
    ) -> Acknowledgement:
        """Acknowledges the final version: what was streamed, or the content that is given.

        A repeat gives the version that there is. Raises `NotFound`, `StreamRefused` and
        `TierUnavailable`.
        """

        def final(current: Message) -> Message:
            state = state_of(current.metadata)
            if state == "finished":
                raise _Final(current)
            if content is not None:
                text = content
            elif state == "interrupted":
                raise interrupted(current)
            else:
                text = self._all_of(current)
            given = current.metadata if metadata is None else metadata
            return _version(current, text, given, "finished")

        try:
            return self._messages.finish(user_id, message_id, final)
        except _Final as already:
            message = already.message
            same_text = content is None or content == message.content
            same_metadata = metadata is None or metadata == message.metadata
            if message.version == 1 or not (same_text and same_metadata):
                raise not_streaming() from None
            return self._messages.acknowledge_existing(user_id, message_id)

    def interrupt_idle(self) -> int:
        """Finishes every stream to which no chunk came for long, with what it has and a mark that
        says so; gives how many. Raises `TierUnavailable`: the next look goes on."""
        count = 0
        for message_id in self._streams.idle(self._idle_seconds):
            streamed = self._streams.close(message_id, self._idle_seconds)
            if streamed is not None and self._interrupt(message_id, streamed):
                count += 1
        return count

    def _interrupt(self, message_id: str, streamed: Streamed) -> bool:
        def partial(current: Message) -> Message:
            if state_of(current.metadata) != "open":
                raise _Final(current)
            return _version(current, streamed.text, current.metadata, "interrupted")

        try:
            self._messages.finish(streamed.user_id, message_id, partial)
        except (NotFound, _Final):
            # Whoever finished or deleted it did not get to forget the stream.
            self._streams.drop(message_id)
            return False
        log.info("stream_interrupted", message_id=message_id, length=_size(streamed.text))
        return True

    def shown(self, found: Sequence[Message]) -> list[Shown]:
        """The same messages with the text so far of those that are open, in one look at Redis.

        Those without a stream are looked up again: they were finished meanwhile, or Redis lost
        their chunks, and then a stream is created again so that a worker finishes them.
        """
        shown = [Shown(message, None) for message in found]
        at_open = [at for at, one in enumerate(found) if state_of(one.metadata) == "open"]
        if not at_open:
            return shown
        with suppress(TierUnavailable):
            texts = self._streams.texts([found[at].id for at in at_open])
            for at, streamed in zip(at_open, texts, strict=True):
                text = streamed.text if streamed else None
                shown[at] = Shown(found[at], text) if streamed else self._again(found[at])
        return shown

    def _again(self, message: Message) -> Shown:
        try:
            newest = self._retrieval.get(message.user_id, message.id).message
        except NotFound:
            return Shown(message, None)
        if state_of(newest.metadata) != "open":
            return Shown(newest, None)
        self._streams.open(newest, anew=True)
        return Shown(newest, newest.content)

    def _open_message(self, user_id: str, message_id: str) -> Message:
        message = self._retrieval.get(user_id, message_id).message
        state = state_of(message.metadata)
        if state == "interrupted":
            raise interrupted(message)
        if state == "finished":
            raise not_streaming()
        return message

    def _all_of(self, message: Message) -> str:
        streamed = self._streams.close(message.id)
        if streamed is None or not streamed.is_whole:
            text = streamed.text if streamed else message.content
            raise StreamRefused("offset_mismatch", GIVE_IT_WHOLE, _size(text))
        return streamed.text


def not_streaming() -> StreamRefused:
    """The refusal for a message that is not open."""
    return StreamRefused("not_streaming", "this message is not being streamed")


def interrupted(message: Message) -> StreamRefused:
    """The refusal for one that a worker has finished."""
    detail = "no chunk came for too long; finish with the whole text as message"
    return StreamRefused("stream_interrupted", detail, _size(message.content))


def _refusal(done: Appended) -> Exception:
    if done.outcome == "mismatch":
        detail = f"the text has {done.length} bytes, or others at this offset"
        return StreamRefused("offset_mismatch", detail, done.length)
    if done.outcome == "long":
        detail = f"message must have at most {MAX_CONTENT_BYTES} bytes of UTF-8"
        return InvalidMessage("content_too_long", detail)
    return not_streaming() if done.outcome == "closed" else NotFound()


def _version(
    current: Message, content: str, metadata: dict[str, Any], state: StreamState
) -> Message:
    return msgspec.structs.replace(current, content=content, metadata=marked(metadata, state))


def _size(text: str) -> int:
    return len(text.encode())

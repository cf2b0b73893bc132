"""Messages whose text comes in chunks, as an agent has them, and what becomes of their streams."""

from collections.abc import Callable

import pytest

from models.message import Message
from storage.errors import StreamRefused
from storage.messages.posts import Draft
from storage.redis import keys
from wiring.process import Services

LONG_AGO = 1.0
"""When a stream was last written, in milliseconds since 1970."""


def opened(own: Services, user: str, text: str = "", key: str | None = None) -> Message:
    draft = Draft("assistant", text, {"model": "m"}, key)
    return own.streaming.open(user, "t", draft).acknowledgement.message


def append(own: Services, user: str, message: Message, text: str, offset: int | None = None) -> int:
    return own.streaming.append(user, message.id, text, offset).length


def finish(
    own: Services, user: str, message: Message, content: str | None = None, **metadata: str
) -> Message:
    return own.streaming.finish(user, message.id, content, metadata or None).message


def stored(own: Services, user: str, message: Message) -> Message:
    return own.failover.retrieval.get(user, message.id).message


def text_so_far(own: Services, message: Message) -> str | None:
    (shown,) = own.streaming.shown([message])
    return shown.text


def refused(code: str, act: Callable[[], object]) -> StreamRefused:
    with pytest.raises(StreamRefused) as caught:
        act()
    assert caught.value.code == code
    return caught.value


def leave(alone: Services, message: Message) -> None:
    """Has it that no chunk came for long."""
    slot = alone.tiers.redis.slot_of_message(message.id)
    assert alone.tiers.redis_client.zadd(keys.streams(slot), {message.id: LONG_AGO}) == 0


def stream_keys(alone: Services) -> list[bytes]:
    return list(alone.tiers.redis_client.keys("stream*"))


def lose_chunks(alone: Services) -> None:
    """Takes the streams away and nothing else, as a Redis does that came back with less."""
    assert alone.tiers.redis_client.delete(*stream_keys(alone))

"""What is to be acknowledged, and what came of it, whichever tier takes it."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class NewMessage(msgspec.Struct, frozen=True):
    """A sealed message on its way in: its id, its record, its Idempotency-Key if any, and its hash.

    What the key made up to `instead_of` is gone, and does not count any more.
    """

    id: str
    record: bytes
    idempotency_key: str | None
    instead_of: str = ""
    content_hash: str = ""


class Append(NamedTuple):
    """New messages of one thread, in order: acknowledged all or none.

    With `ids_are_final` their ids stay: a tier whose answer was lost may have them already. One
    that `follows` is the next part of the append before it: where that is behind, it is too.
    """

    user_id: str
    thread_id: str
    messages: Sequence[NewMessage]
    ids_are_final: bool = False
    follows: bool = False

    @property
    def is_keyed(self) -> bool:
        """Whether one of them has an Idempotency-Key."""
        return any([one.idempotency_key is not None for one in self.messages])  # noqa: C419

    @property
    def size(self) -> int:
        """How many bytes it has, about."""
        return sum(len(one.record) for one in self.messages)


class IdTooOld(NamedTuple):
    """Nothing was written: the thread already has an id at or above the lowest of these."""

    newest: str


class Stored(msgspec.Struct, frozen=True):
    """The ids as acknowledged (an earlier one for a repeated key) and whether to wake a worker."""

    ids: list[str]
    wake: bool


class Key(NamedTuple):
    """One key of one user in one thread."""

    user_id: str
    thread_id: str
    key: str


class Made(NamedTuple):
    """The message that a key made, its hash where that is known, and the id up to which what the
    key made before is gone."""

    message_id: str
    content_hash: str
    instead_of: str = ""


class Held(msgspec.Struct, frozen=True):
    """The id of a message that some tier has, and the thread that it is in."""

    user_id: str
    thread_id: str
    id: str


class IdRange(NamedTuple):
    """Ids of a thread, from one to another, among which a message may be already."""

    user_id: str
    thread_id: str
    low: str
    high: str

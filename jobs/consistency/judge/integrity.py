"""What a single copy of a message says of itself: whether it is intact, and whose it is."""

from typing import Literal, NamedTuple

from models import codec, ids
from models.message import Message

Flaw = Literal["damaged", "foreign"]
"""`damaged`: not what was sealed. `foreign`: sealed, but its id belongs to another thread."""


class TierCopy(NamedTuple):
    """One copy of a message in one tier; without a message where its bytes are none."""

    version: int
    message: Message | None
    flaw: Flaw | None

    @property
    def is_live(self) -> bool:
        """Whether it shows something."""
        return self.message is None or self.message.deleted_at is None


class IsolationVerifier:
    """Tells by the id alone whether a copy is in the hands of the thread that it was made for."""

    @staticmethod
    def is_at_home(message: Message) -> bool:
        """Whether the id carries the shard of the copy's own user and thread."""
        return ids.shard_in(message.id) == ids.shard_of(message.user_id, message.thread_id)


class DataIntegrityValidator:
    """Judges copies one by one, without comparing them."""

    @staticmethod
    def flaw_of(message: Message) -> Flaw | None:
        """What is wrong with a copy; None for one that is as it was sealed."""
        if not ids.is_id(message.id) or not _is_intact(message):
            return "damaged"
        if message.created_at != ids.timestamp(ids.time_us_of(message.id)):
            return "damaged"
        if message.deleted_at is not None and (message.content or message.metadata):
            return "damaged"
        return None if IsolationVerifier.is_at_home(message) else "foreign"

    @classmethod
    def copy(cls, message: Message) -> TierCopy:
        """A copy with its judgement."""
        return TierCopy(message.version, message, cls.flaw_of(message))

    @classmethod
    def record(cls, record: bytes, message_id: str) -> TierCopy:
        """A record of Redis, found under the key of an id, with its judgement."""
        try:
            message = codec.decode(record)
        except codec.Corrupt:
            return TierCopy(0, None, "damaged")
        if message.id != message_id:
            return TierCopy(message.version, message, "damaged")
        return cls.copy(message)


def _is_intact(message: Message) -> bool:
    try:
        return codec.is_intact(message)
    except (TypeError, ValueError, RecursionError):
        # Something that no door lets through, as a lone surrogate, has no canonical form.
        return False

"""Says where a message is: per tier present or not, which version, with which hash, since when."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import text

from models import codec, ids
from models.chain import Head
from models.message import Message, Tier
from models.streams import state_of
from storage.availability import hidden
from storage.availability.hidden import Watermarks
from storage.availability.reading import Reading, ReadTiers
from storage.errors import NotFound
from storage.postgres import thread_heads
from storage.postgres.backlog import refused

State = Literal["acknowledged", "persisted", "archived", "refused", "deleted", "erased"]
_Found = Mapping[Tier, Sequence[tuple[Message, str]] | None]

_IS_HELD = text("SELECT EXISTS (SELECT FROM held_versions WHERE id = :id)")


class ReceiptCopy(msgspec.Struct, kw_only=True, frozen=True):
    """One version in one tier. `intact` says whether it matches its own hash; `deleted` that it is
    a tombstone, which holds nothing of what was written."""

    version: int
    content_hash: str
    intact: bool
    deleted: bool
    since: str


class TierReceipt(msgspec.Struct, kw_only=True, frozen=True):
    """What one tier holds of a message; `present` is None where the tier did not answer.

    `pending` is said of Redis alone: the version is in the log, and no other tier was given it yet.
    """

    present: bool | None
    copies: list[ReceiptCopy] = []
    pending: bool | msgspec.UnsetType = msgspec.UNSET


class ChainPlace(msgspec.Struct, kw_only=True, frozen=True):
    """Where a version stands in the hash chain of its thread: its link, SHA-256 in hex, counted
    from 1, and how long the chain is and how it ends by now."""

    position: int
    link: str
    length: int
    head: str


class Receipt(msgspec.Struct, kw_only=True, frozen=True):
    """Where a message is, as far as the tiers know that answer.

    `state` names the farthest tier that has its newest version: `acknowledged`, `persisted` or
    `archived`. `refused`: PostgreSQL would not take that version, and an operator is to decide.
    `deleted`: by itself, with its thread or with its user; nobody is shown it any more, and a tier
    may still hold what was written. `erased`: deleted, and none does; of both `deleted` is true.
    `is_streaming`: chunks may still come, and what came of its text is in Redis alone. `chain` is
    None until the version has its link, a second or two after it was committed, and where a tier
    that knows it does not answer.
    """

    id: str
    thread_id: str
    version: int
    content_hash: str
    state: State
    deleted: bool
    tiers: dict[str, TierReceipt]
    chain: ChainPlace | None = None
    is_streaming: bool | msgspec.UnsetType = msgspec.UNSET


class OwnedReceipt(Receipt, kw_only=True, frozen=True):
    """A receipt that says whose message it is, for operators."""

    user_id: str


class _Aside(NamedTuple):
    """What PostgreSQL knows of a message beside its row: the highest version that it refused,
    whether a version is kept for a legal hold, and how its thread's chain ends."""

    refused: int
    is_held: bool
    head: Head | None


class ReceiptService:
    """Asks every tier about a message."""

    def __init__(self, tiers: ReadTiers) -> None:
        self._redis, self._postgres, self._clickhouse = tiers

    def receipt(self, user_id: str, message_id: str) -> Receipt:
        """The receipt of a message, deleted ones included.

        Raises `NotFound`, and `TierUnavailable` if no tier that answers has it but some are down.
        """
        if not ids.is_id(message_id):
            raise NotFound
        reading = Reading()
        questions: dict[Tier, Callable[[str, str], list[tuple[Message, str]]]] = {
            "redis": self._hot,
            "postgresql": self._committed,
            "clickhouse": self._clickhouse.versions,
        }
        found = {
            tier: reading.ask(tier, partial(ask, user_id, message_id))
            for tier, ask in questions.items()
        }
        copies = [message for tier in found.values() for message, _ in tier or ()]
        if not copies:
            raise next(iter(reading.down.values()), NotFound())
        newest = max(copies, key=lambda message: message.version)
        marks, aside = self._known(newest, reading)
        tiers: dict[str, TierReceipt] = {tier: _tier_receipt(has) for tier, has in found.items()}
        is_refused = aside is not None and aside.refused >= newest.version
        if tiers["redis"].present:
            # What does not answer any more is not believed to have been carried on.
            persisted = reading.ask("redis", partial(self._redis.is_evictable, message_id))
            pending = not persisted and not is_refused
            tiers["redis"] = msgspec.structs.replace(tiers["redis"], pending=pending)
        is_deleted = not marks.show(newest)
        if is_deleted:
            state = _state_of_deleted(found, aside, is_known=not reading.down)
        else:
            state = _state(newest, found, is_refused=is_refused)
        is_open = not is_deleted and state_of(newest.metadata) == "open"
        return Receipt(
            id=newest.id,
            thread_id=newest.thread_id,
            version=newest.version,
            content_hash=newest.content_hash,
            state=state,
            deleted=is_deleted,
            tiers=tiers,
            chain=self._place(newest, aside, reading),
            is_streaming=is_open or msgspec.UNSET,
        )

    def of_anybody(self, message_id: str) -> OwnedReceipt:
        """Likewise for a message of whomever, with its owner."""
        if not ids.is_id(message_id):
            raise NotFound
        reading = Reading()
        questions: dict[Tier, Callable[[str], str | None]] = {
            "redis": self._hot_owner,
            "postgresql": self._postgres.owner_of,
            "clickhouse": self._clickhouse.owner_of,
        }
        answers = (reading.ask(tier, partial(ask, message_id)) for tier, ask in questions.items())
        owner = next(filter(None, answers), None)
        if owner is None:
            raise next(iter(reading.down.values()), NotFound())
        receipt = self.receipt(owner, message_id)
        return OwnedReceipt(user_id=owner, **msgspec.structs.asdict(receipt))

    def _hot_owner(self, message_id: str) -> str | None:
        record = self._redis.message(message_id)
        return codec.decode(record).user_id if record else None

    def _hot(self, user_id: str, message_id: str) -> list[tuple[Message, str]]:
        record = self._redis.message(message_id)
        message = codec.decode(record) if record else None
        if message is None or message.user_id != user_id:
            return []
        return [(message, message.updated_at)]

    def _committed(self, user_id: str, message_id: str) -> list[tuple[Message, str]]:
        found = self._postgres.message(user_id, message_id, also_hidden=True)
        return [found] if found else []

    def _known(self, message: Message, reading: Reading) -> tuple[Watermarks, _Aside | None]:
        """What hides a message, and what PostgreSQL keeps aside of it, None where it is silent."""
        thread = hidden.thread_of(message)
        hot = reading.ask("redis", lambda: hidden.hot(self._redis, [thread]))
        committed, aside = reading.ask("postgresql", lambda: self._aside(message)) or ({}, None)
        return hidden.either(hot or {}, committed).get(thread, hidden.NOTHING), aside

    def _aside(self, message: Message) -> tuple[Mapping[hidden.Thread, Watermarks], _Aside]:
        thread = hidden.thread_of(message)
        with self._postgres.as_user(message.user_id) as connection:
            marks = hidden.committed(connection, [thread])
            head = thread_heads.find(connection, [thread]).get(thread)
            letters = [one for one in refused(connection) if one.message_id == message.id]
            is_held = connection.execute(_IS_HELD, {"id": message.id}).scalar_one()
        highest = max((one.version or 0 for one in letters), default=0)
        return marks, _Aside(highest, bool(is_held), head)

    def _place(self, message: Message, aside: _Aside | None, reading: Reading) -> ChainPlace | None:
        """Where a version stands in its thread's chain, as far as that is known."""
        if aside is None or aside.head is None:
            return None
        whose = message.user_id, message.thread_id, message.id
        links = reading.ask("clickhouse", lambda: self._clickhouse.links(*whose)) or ()
        for link in links:
            if link.version == message.version and link.position <= aside.head.length:
                return ChainPlace(
                    position=link.position,
                    link=link.link,
                    length=aside.head.length,
                    head=aside.head.link,
                )
        return None


def _tier_receipt(copies: Sequence[tuple[Message, str]] | None) -> TierReceipt:
    if copies is None:
        return TierReceipt(present=None)
    return TierReceipt(
        present=bool(copies),
        copies=[
            ReceiptCopy(
                version=message.version,
                content_hash=message.content_hash,
                intact=codec.is_intact(message),
                deleted=message.deleted_at is not None,
                since=since,
            )
            for message, since in copies
        ],
    )


def _state_of_deleted(found: _Found, aside: _Aside | None, *, is_known: bool) -> State:
    """Whether anything is left of a message that nobody is shown any more."""
    is_left = any(one.deleted_at is None for tier in found.values() for one, _ in tier or ())
    is_kept = aside is None or aside.is_held or aside.refused > 0
    return "erased" if is_known and not is_left and not is_kept else "deleted"


def _state(newest: Message, found: _Found, *, is_refused: bool) -> State:
    def has(tier: Tier) -> bool:
        return any(message.version == newest.version for message, _ in found[tier] or ())

    if has("clickhouse"):
        return "archived"
    if has("postgresql"):
        return "persisted"
    return "refused" if is_refused else "acknowledged"

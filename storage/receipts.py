"""Says where a message is: per tier present or not, which version, with which hash, since when."""

from collections.abc import Callable

import msgspec

from models import codec, ids
from models.message import Message
from storage.clickhouse_tier import ClickHouseTier
from storage.errors import NotFound, TierUnavailable
from storage.message_retrieval import watermark_of
from storage.postgres_tier import PostgresTier
from storage.redis_tier import RedisTier


class Copy(msgspec.Struct, kw_only=True, frozen=True):
    """One version in one tier. `intact` says whether it matches its own hash."""

    version: int
    content_hash: str
    intact: bool
    deleted: bool
    since: str


class TierReceipt(msgspec.Struct, kw_only=True, frozen=True):
    """What one tier holds of a message; `present` is None where the tier did not answer.

    `pending` is said of Redis alone: the version is in the log, on its way to PostgreSQL.
    """

    present: bool | None
    copies: list[Copy] = []
    pending: bool | msgspec.UnsetType = msgspec.UNSET


class Receipt(msgspec.Struct, kw_only=True, frozen=True):
    """Where a message is. `state` names the farthest tier that has its newest version:
    `acknowledged`, `persisted` or `archived`. `deleted`: it is gone from reads, for itself or with
    its thread, whatever tiers still have of it until the next maintenance run."""

    id: str
    thread_id: str
    version: int
    content_hash: str
    state: str
    deleted: bool
    tiers: dict[str, TierReceipt]


class ReceiptService:
    """Looks into every tier."""

    def __init__(
        self, redis: RedisTier, postgres: PostgresTier, clickhouse: ClickHouseTier
    ) -> None:
        self._redis = redis
        self._postgres = postgres
        self._clickhouse = clickhouse

    def receipt(self, user_id: str, message_id: str) -> Receipt:
        """The receipt of a message, deleted ones included.

        Raises `NotFound`, and `TierUnavailable` if no tier that answers has it but some are down.
        """
        if not ids.is_id(message_id):
            raise NotFound
        found: dict[str, list[tuple[Message, str]]] = {}
        down: list[TierUnavailable] = []
        looks: dict[str, Callable[[str, str], list[tuple[Message, str]]]] = {
            "redis": self._hot,
            "postgresql": self._committed,
            "clickhouse": self._clickhouse.versions,
        }
        for tier, look in looks.items():
            try:
                found[tier] = look(user_id, message_id)
            except TierUnavailable as error:
                down.append(error)
        copies = [message for tier in found.values() for message, _ in tier]
        if not copies:
            raise down[0] if down else NotFound
        newest = max(copies, key=lambda message: message.version)
        tiers = {tier: _tier_receipt(found.get(tier)) for tier in looks}
        if tiers["redis"].present:
            pending = not self._redis.is_evictable(message_id)
            tiers["redis"] = msgspec.structs.replace(tiers["redis"], pending=pending)
        return Receipt(
            id=newest.id,
            thread_id=newest.thread_id,
            version=newest.version,
            content_hash=newest.content_hash,
            state=_state(newest, found),
            deleted=newest.deleted_at is not None
            or message_id <= watermark_of(self._redis, self._postgres, user_id, newest.thread_id),
            tiers=tiers,
        )

    def _hot(self, user_id: str, message_id: str) -> list[tuple[Message, str]]:
        record = self._redis.message(message_id)
        message = codec.decode(record) if record else None
        if message is None or message.user_id != user_id:
            return []
        return [(message, message.updated_at)]

    def _committed(self, user_id: str, message_id: str) -> list[tuple[Message, str]]:
        found = self._postgres.message(user_id, message_id)
        return [found] if found else []


def _tier_receipt(copies: list[tuple[Message, str]] | None) -> TierReceipt:
    if copies is None:
        return TierReceipt(present=None)
    return TierReceipt(
        present=bool(copies),
        copies=[
            Copy(
                version=message.version,
                content_hash=message.content_hash,
                intact=codec.is_intact(message),
                deleted=message.deleted_at is not None,
                since=since,
            )
            for message, since in copies
        ],
    )


def _state(newest: Message, found: dict[str, list[tuple[Message, str]]]) -> str:
    def has(tier: str) -> bool:
        return any(message.version == newest.version for message, _ in found.get(tier, []))

    if has("clickhouse"):
        return "archived"
    return "persisted" if has("postgresql") else "acknowledged"

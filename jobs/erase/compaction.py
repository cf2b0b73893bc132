"""What the tiers' files still hold of what no query finds: seen to, and said in the receipt."""

from collections.abc import Callable

import msgspec

from jobs.erase.clickhouse import ClickHouseEraser
from jobs.erase.postgres import PostgresEraser
from jobs.erase.receipt import UserErasure
from jobs.erase.redis import REWRITING, RedisEraser
from models.message import Tier
from storage.errors import TierError

REWRITTEN = "the append-only file was written anew"
VACUUMED = "vacuumed; the write-ahead log and backups keep what they hold until they are recycled"
GONE = "the parts from before are gone"


class Tidying:
    """Has files given up or written anew."""

    def __init__(
        self, redis: RedisEraser, postgres: PostgresEraser, clickhouse: ClickHouseEraser
    ) -> None:
        self._redis = redis
        self._postgres = postgres
        self._clickhouse = clickhouse

    def tidied(self, erasure: UserErasure) -> UserErasure:
        """The receipt after one more step of it. Raises nothing."""
        to_vacuum = self._postgres.vacuum(erasure.to_vacuum)
        waiting = f"VACUUM waits for {', '.join(to_vacuum)}"
        files: dict[Tier, str] = {
            "redis": _said(lambda: self._append_only_file(erasure.files.get("redis"))),
            "postgresql": waiting if to_vacuum else VACUUMED,
            "clickhouse": _said(self._parts),
        }
        return msgspec.structs.replace(erasure, files=files, to_vacuum=to_vacuum)

    def _append_only_file(self, before: str | None) -> str:
        if before == REWRITTEN:
            return before
        if before == REWRITING and not self._redis.is_rewriting():
            return REWRITTEN
        return REWRITING if before == REWRITING else self._redis.rewrite_file()

    def _parts(self) -> str:
        old = self._clickhouse.old_parts()
        return f"{old} parts from before are about to go" if old else GONE


def _said(look: Callable[[], str]) -> str:
    try:
        return look()
    except TierError as error:
        return f"not seen to: {error.reason}"

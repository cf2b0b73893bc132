"""Short notices that every process must be able to read, whichever tier is out.

A notice is written to every tier that answers, and the newest one found counts. Each tier is asked
over connections of their own that pass no breaker and heed no drill: a notice is what a drill is
known by, and how a recovery is told while the tiers it mends are not there.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from redis import Redis
from sqlalchemy import Engine, text

from models.message import Tier
from storage.clickhouse.driver import ClickHouse
from storage.errors import NoTierAvailable, TierError
from storage.postgres.driver import translated
from storage.redis.driver import translated as redis_translated

log = structlog.get_logger(__name__)

TIERS: tuple[Tier, ...] = ("redis", "postgresql", "clickhouse")

_KEY = "threadkeep:notice:"
_WRITE = text(
    """
INSERT INTO notices AS known (name, at_us, body) VALUES (:name, :at_us, CAST(:body AS json))
ON CONFLICT (name) DO UPDATE SET at_us = excluded.at_us, body = excluded.body
WHERE known.at_us < excluded.at_us
"""
)
_READ = text("SELECT at_us, body::text AS body FROM notices WHERE name = :name")


class Notice(msgspec.Struct, frozen=True):
    """A notice as it stands, and when it was written, in microseconds since 1970."""

    at_us: int
    body: msgspec.Raw


class Notices:
    """The notices in all three tiers."""

    def __init__(self, client: Redis, engine: Engine, server: ClickHouse) -> None:
        self._client = client
        self._engine = engine
        self._server = server
        self._known_us = 0

    def write(
        self, name: str, body: Any, *, tiers: Sequence[str] = TIERS, only_one: bool = False
    ) -> None:
        """Writes a notice wherever it can be written of these tiers, or to the first that takes it.

        It is newer than all that was read here, also where whoever wrote that has a clock that is
        ahead. Raises `NoTierAvailable`.
        """
        self._known_us = max(time.time_ns() // 1000, self._known_us + 1)
        notice = Notice(self._known_us, msgspec.Raw(msgspec.json.encode(body)))
        ways = {
            "redis": self._write_redis,
            "postgresql": self._write_postgres,
            "clickhouse": self._write_clickhouse,
        }
        failures: list[TierError] = []
        for tier in tiers:
            try:
                ways[tier](name, notice)
            except TierError as error:
                failures.append(error)
            else:
                if only_one:
                    return
        if len(failures) == len(tiers):
            raise NoTierAvailable(failures)

    def read(
        self, name: str, *, first_answer: bool = False, tiers: Sequence[str] = TIERS
    ) -> msgspec.Raw | None:
        """The newest of what those of the tiers that answer have, or what the first of them says.

        Raises `NoTierAvailable`.
        """
        ways: dict[str, Callable[[str], Notice | None]] = {
            "redis": self._read_redis,
            "postgresql": self._read_postgres,
            "clickhouse": self._read_clickhouse,
        }
        found: list[Notice] = []
        failures: list[TierError] = []
        for tier in tiers:
            try:
                notice = ways[tier](name)
            except TierError as error:
                failures.append(error)
                continue
            found += [notice] if notice else []
            if first_answer:
                break
        if len(failures) == len(tiers):
            raise NoTierAvailable(failures)
        if not found:
            return None
        newest = max(found, key=lambda one: one.at_us)
        self._known_us = max(self._known_us, newest.at_us)
        return newest.body

    def _write_redis(self, name: str, notice: Notice) -> None:
        with redis_translated():
            self._client.set(_KEY + name, msgspec.json.encode(notice))

    def _write_postgres(self, name: str, notice: Notice) -> None:
        values = {"name": name, "at_us": notice.at_us, "body": bytes(notice.body).decode()}
        with translated(), self._engine.begin() as connection:
            connection.execute(_WRITE, values)

    def _write_clickhouse(self, name: str, notice: Notice) -> None:
        body = bytes(notice.body).decode()
        row = msgspec.json.encode({"name": name, "at_us": notice.at_us, "body": body})
        self._server.insert("notices", row, f"{name}:{notice.at_us}")

    def _read_redis(self, name: str) -> Notice | None:
        with redis_translated():
            found = self._client.get(_KEY + name)
        return msgspec.json.decode(found, type=Notice) if found else None

    def _read_postgres(self, name: str) -> Notice | None:
        with translated(), self._engine.connect() as connection:
            row = connection.execute(_READ, {"name": name}).one_or_none()
        return Notice(row.at_us, msgspec.Raw(row.body.encode())) if row else None

    def _read_clickhouse(self, name: str) -> Notice | None:
        lines = self._server.lines(
            f"SELECT at_us, body FROM notices WHERE name = '{name}' ORDER BY at_us DESC LIMIT 1"  # noqa: S608
        )
        if not lines:
            return None
        row = msgspec.json.decode(lines, type=_Row, strict=False)
        return Notice(row.at_us, msgspec.Raw(row.body.encode()))


class _Row(msgspec.Struct):
    at_us: int
    body: str

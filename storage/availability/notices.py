"""Short notices that every process must be able to read, whichever tier is down.

A notice is in every tier that answers, and the newest one counts. It passes no breaker and heeds no
drill, for drills are made known by notices.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from redis import Redis
from sqlalchemy import Engine

from models.message import Tier
from storage.clickhouse.driver import ClickHouse
from storage.errors import NoTierAvailable, TierError
from storage.postgres.driver import execute, rows_of, transact
from storage.redis.driver import translated as redis_translated

Answer = TypeVar("Answer")

TIERS: tuple[Tier, ...] = ("redis", "postgresql", "clickhouse")

_KEY = "threadkeep:notice:"
_WRITE = """
INSERT INTO notices AS known (name, at_us, body) VALUES (:name, :at_us, CAST(:body AS json))
ON CONFLICT (name) DO UPDATE SET at_us = excluded.at_us, body = excluded.body
WHERE known.at_us < excluded.at_us
"""
_READ = "SELECT at_us, body::text AS body FROM notices WHERE name = :name"


class Notice(msgspec.Struct, frozen=True):
    """A notice, and when it was written, in microseconds since 1970."""

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
        """Writes a notice to all of these tiers that answer, or `only_one`, the first.

        It is newer than all that this process read, whatever the clocks of their writers say.
        Raises `NoTierAvailable`.
        """
        self._known_us = max(time.time_ns() // 1000, self._known_us + 1)
        notice = Notice(self._known_us, msgspec.Raw(msgspec.json.encode(body)))
        row = {"name": name, "at_us": notice.at_us, "body": bytes(notice.body).decode()}
        line, token = msgspec.json.encode(row), f"{name}:{notice.at_us}"
        ways: dict[str, Callable[[], object]] = {
            "redis": lambda: self._client.set(_KEY + name, msgspec.json.encode(notice)),
            "postgresql": lambda: transact(self._engine, execute, _WRITE, row),
            "clickhouse": lambda: self._server.insert("notices", line, token),
        }
        _asked(tiers, lambda tier: ways[tier](), only_one=only_one)

    def read(
        self, name: str, *, first_answer: bool = False, tiers: Sequence[str] = TIERS
    ) -> msgspec.Raw | None:
        """The newest notice of these tiers, or that of the first which answers; None for none.

        Raises `NoTierAvailable`.
        """
        ways: dict[str, Callable[[str], Notice | None]] = {
            "redis": self._read_redis,
            "postgresql": self._read_postgres,
            "clickhouse": self._read_clickhouse,
        }
        found = _asked(tiers, lambda tier: ways[tier](name), only_one=first_answer)
        newest = max(filter(None, found), key=lambda one: one.at_us, default=None)
        if newest is None:
            return None
        self._known_us = max(self._known_us, newest.at_us)
        return newest.body

    def _read_redis(self, name: str) -> Notice | None:
        found = self._client.get(_KEY + name)
        return msgspec.json.decode(found, type=Notice) if found else None

    def _read_postgres(self, name: str) -> Notice | None:
        rows = rows_of(self._engine, _READ, name=name)
        return Notice(rows[0].at_us, msgspec.Raw(rows[0].body.encode())) if rows else None

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


def _asked(tiers: Sequence[str], ask: Callable[[str], Answer], *, only_one: bool) -> list[Answer]:
    """The answers of these tiers, or of the first that answers. Raises `NoTierAvailable`."""
    answers: list[Answer] = []
    failures: list[TierError] = []
    for tier in tiers:
        try:
            with redis_translated():
                answers.append(ask(tier))
        except TierError as error:
            failures.append(error)
        if answers and only_one:
            break
    if not answers:
        raise NoTierAvailable(failures)
    return answers

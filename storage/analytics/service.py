"""Figures of a user's messages, and for admins of everyone's, counted in ClickHouse up to `as_of`.
An answer is cached for some seconds; while ClickHouse is down the last one is given again, with a
warning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from models.caveats import warning_of
from models.message import Caveat, Tier
from settings import Settings
from storage.analytics.buckets import Window
from storage.analytics.cache import FiguresCache
from storage.analytics.clickhouse import ArchiveFigures
from storage.analytics.figures import Counted, EveryonesFigures, Point, Series, Summary, TierSize
from storage.analytics.hidden import Hidden, Mark, as_of
from storage.errors import TierError, TierUnavailable
from storage.postgres.driver import execute
from storage.postgres.reads import PostgresTier
from storage.redis.driver import RedisGateway

Answer = TypeVar("Answer", Summary, Series)

BYTES_OF_A_GB = 1_000_000_000
_DATABASE_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(eq=False)
class AnalyticsService:
    """The counting verbs over the tiers. The settings say what a GB of each costs a month."""

    _archive: ArchiveFigures
    _hidden: Hidden
    _cache: FiguresCache
    _postgres: PostgresTier
    _redis: RedisGateway
    _settings: Settings

    def summary(
        self, user_id: str, *, since: str | None, until: str | None, with_everyone: bool
    ) -> Summary:
        """A user's figures. Raises `TierUnavailable`."""
        name = f"summary {since} {until} {with_everyone}"

        def count() -> Summary:
            own = Counted(user_id, since, until)
            moment, marks, warning = self._coverage(own)
            figures, _ = self._archive.figures(own, marks)
            everyone = self._everyone(Counted(None, since, until)) if with_everyone else UNSET
            return Summary(**asdict(figures), as_of=moment, everyone=everyone, warning=warning)

        return self._answer(user_id, name, Summary, count)

    def series(self, user_id: str, counted: Counted, metric: str, window: Window) -> Series:
        """One figure bucket by bucket, asked for by a user, of theirs or of everyone. Raises
        `TierUnavailable`."""
        wanted = counted._replace(since=window.since, until=window.until)
        of_all = counted.user_id is None
        name = (
            f"series {metric} {window.bucket} {wanted.since} {wanted.until} {wanted.role} {of_all}"
        )

        def count() -> Series:
            moment, marks, warning = self._coverage(wanted)
            values = self._archive.series(metric, window.bucket, wanted, marks)
            points = [
                Point(at=at, value=values.get(seconds, 0.0)) for seconds, at in window.starts()
            ]
            described: Any = {"metric": metric, "bucket": window.bucket}
            return Series(**described, points=points, as_of=moment, warning=warning)

        return self._answer(user_id, name, Series, count)

    def _answer(
        self, user_id: str, name: str, shape: type[Answer], count: Callable[[], Answer]
    ) -> Answer:
        kept = self._cache.read(user_id, name)
        if kept is not None and kept.is_fresh:
            return msgspec.json.decode(kept.body, type=shape)
        try:
            counted = count()
        except TierUnavailable as error:
            if kept is None or error.tier != "clickhouse":
                raise
            last = msgspec.json.decode(kept.body, type=shape)
            warning: Caveat = "degraded_mode_clickhouse_unavailable"
            return msgspec.structs.replace(last, warning=warning)
        self._cache.keep(user_id, name, msgspec.json.encode(counted))
        return counted

    def _coverage(self, counted: Counted) -> tuple[str, Sequence[Mark], Caveat | UnsetType]:
        """How far ClickHouse is, what it has that is hidden, and which tiers could not be asked.
        Called before counting: what is written meanwhile may be counted."""
        down: set[str] = set()
        moments: list[int | None] = []
        marks: list[Mark] = []
        asks = {"redis": self._hidden.unpersisted, "postgresql": self._hidden.committed}
        for tier, ask in asks.items():
            try:
                since_us, found = ask(counted.user_id)
            except TierError:
                down.add(tier)
            else:
                moments.append(since_us)
                marks += found
        if "postgresql" in down:
            # Nobody else knows what waits on the way; so far it is for certain.
            moment = self._archive.arrived_at(counted) or as_of([0])
        else:
            moment = as_of(moments)
        return moment, marks, warning_of(down) or UNSET

    def _everyone(self, counted: Counted) -> EveryonesFigures:
        _, marks, _ = self._coverage(counted)
        figures, users = self._archive.figures(counted, marks)
        return EveryonesFigures(**asdict(figures), active_users=users, tiers=self._tiers())

    def _tiers(self) -> dict[Tier, TierSize]:
        asks: dict[Tier, Callable[[], tuple[int, float | UnsetType]]] = {
            "redis": self._redis_size,
            "postgresql": self._postgres_size,
            "clickhouse": self._archive.size,
        }
        found: dict[Tier, TierSize] = {}
        for tier, ask in asks.items():
            try:
                size, compression = ask()
            except TierError:
                continue
            price: float = getattr(self._settings, f"{tier}_price")
            cost = round(size / BYTES_OF_A_GB * price, 4)
            found[tier] = TierSize(bytes=size, cost_per_month=cost, compression=compression)
        return found

    def _redis_size(self) -> tuple[int, UnsetType]:
        info = self._redis.ask(lambda client: client.info("memory"))
        return int(info["used_memory"]), UNSET

    def _postgres_size(self) -> tuple[int, UnsetType]:
        with self._postgres.as_operator() as connection:
            return int(execute(connection, _DATABASE_SIZE).scalar_one()), UNSET

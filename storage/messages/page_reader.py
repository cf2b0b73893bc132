"""Reads one range of a thread over the tiers, from the top down, no further than needed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models import codec, ids
from models.hot_page import HotPage
from models.message import Message, Tier
from storage.availability.lease import Completeness
from storage.availability.reading import Reading, ReadTiers
from storage.resilience.bites import PAGE_BYTES


class TierPart(NamedTuple):
    """Messages of a range in order, tombstones included.

    `horizon` is the id up to which the part is known to be whole; None means to the range's end.
    """

    messages: list[Message]
    sources: set[Tier]
    horizon: str | None

    @classmethod
    def of(
        cls, source: Tier, messages: list[Message], count: int, *, is_cut: bool = False
    ) -> "TierPart":
        """What a tier gave when asked for `count`: fewer means that there are no more, unless it
        was cut."""
        full = is_cut or len(messages) >= count
        return cls(messages, {source} if messages else set(), messages[-1].id if full else None)


def merge(parts: Sequence[TierPart], order: str) -> TierPart:
    """One list with the highest version of each id, no further than every part is whole.

    Parts come fastest tier first; one that adds nothing newer is not a source. What a part holds
    beyond another's horizon is left for the next step: there could be
    more between.
    """
    nearest = min if order == "asc" else max
    horizons = [part.horizon for part in parts if part.horizon is not None]
    horizon = nearest(horizons) if horizons else None
    newest: dict[str, Message] = {}
    sources: set[Tier] = set()
    for part in parts:
        for message in part.messages:
            if horizon is not None and _is_past(message.id, horizon, order):
                continue
            known = newest.get(message.id)
            if known is None or known.version < message.version:
                newest[message.id] = message
                sources |= part.sources
    ordered = [newest[name] for name in sorted(newest, reverse=order != "asc")]
    return TierPart(ordered, sources, horizon)


def _is_past(message_id: str, horizon: str, order: str) -> bool:
    return message_id > horizon if order == "asc" else message_id < horizon


class Range(NamedTuple):
    """Part of a thread: `low` < id < `high`, at most so many messages from the end that `order`
    begins with."""

    user_id: str
    thread_id: str
    low: str
    high: str
    order: str
    at_most: int

    def beyond(self, position: str) -> "Range":
        """The rest of the range after a position."""
        if self.order == "asc":
            return self._replace(low=max(self.low, position))
        return self._replace(high=min(self.high, position))

    def above(self, watermark: str | None) -> "Range":
        """The part of the range that a deletion has left."""
        return self._replace(low=max(self.low, watermark or self.low))


class RangeReader:
    """One range asked of the tiers, from the top down, no further than needed: of Redis at once."""

    def __init__(
        self,
        tiers: ReadTiers,
        wanted: Range,
        reading: Reading,
        complete: Completeness,
    ) -> None:
        self._redis, self._postgres, self._clickhouse = tiers
        self._wanted = wanted
        self._reading = reading
        self._complete = complete

        self._hot = reading.ask("redis", lambda: self._redis.page(*wanted, PAGE_BYTES))
        if self._hot is not None:
            self._wanted = wanted.above(self._hot.watermark)

    def stored(self) -> list[tuple[str, bytes]]:
        """The ids and records of the range as they are in Redis, where they are all of it and none
        is hidden; else nothing."""
        hot = self._hot
        if hot is None or not self._complete.redis_complete:
            return []
        return stored_records(hot, self._wanted)

    def run(self) -> TierPart:
        """The merged part of the range that is known for certain."""
        hot = self._hot
        if hot is None:
            return merge(self._ask_postgres_and_clickhouse(), self._wanted.order)
        if self._is_answered_by(hot):
            return merge([_hot_part(hot, self._wanted)], self._wanted.order)
        is_waiting = self._is_waiting()
        below = self._ask_postgres_and_clickhouse()
        # Only now: PostgreSQL may know of a deletion that Redis has not heard of.
        merged = merge([_hot_part(hot, self._wanted), *below], self._wanted.order)
        copies = self._hot_copies(merged)
        if is_waiting and len(copies) < len(merged.messages):
            # What was in the log at first may have been committed and evicted meanwhile.
            below = self._ask_postgres_and_clickhouse()
            merged = merge([_hot_part(hot, self._wanted), *below], self._wanted.order)
        merged = _with_newer(merged, copies)
        self._ensure_recent_in_redis(hot, merged, below)
        return merged

    def _is_answered_by(self, hot: HotPage) -> bool:
        return self._complete.redis_complete and _is_complete(hot, self._wanted)

    def _ask_postgres_and_clickhouse(self) -> list[TierPart]:
        boundary = ids.HIGHEST
        parts = []
        page = self._reading.ask(
            "postgresql", lambda: self._postgres.page(*self._wanted, PAGE_BYTES)
        )
        if page is not None:
            self._wanted = self._wanted.above(page.watermark)
            if self._complete.postgres_complete:
                boundary = page.boundary
            count = self._wanted.at_most
            parts.append(TierPart.of("postgresql", page.messages, count, is_cut=page.is_cut))
        horizon = parts[0].horizon if parts else None
        if _needs_archive(self._wanted, boundary, horizon):
            below = self._wanted._replace(high=min(self._wanted.high, boundary))
            # What was deleted there while nobody else could take it is known nowhere else.
            tombstones = not self._complete.postgres_complete
            found = self._reading.ask(
                "clickhouse", lambda: self._clickhouse.page(*below, tombstones=tombstones)
            )
            if found is not None:
                count = self._wanted.at_most
                parts.append(TierPart.of("clickhouse", found.messages, count, is_cut=found.is_cut))
            elif not parts and "redis" in self._reading.down:
                raise self._reading.failure()
        return parts

    def _is_waiting(self) -> bool:
        """Whether the log may have something of the thread that PostgreSQL lacks."""
        named = self._wanted.user_id, self._wanted.thread_id
        return self._reading.ask("redis", lambda: self._redis.is_waiting(*named)) is not False

    def _hot_copies(self, part: TierPart) -> dict[str, Message]:
        """What Redis has of messages by their ids: an edit or a deletion that is still pending is
        known to it alone."""
        slot = self._redis.slot_of_thread(self._wanted.user_id, self._wanted.thread_id)
        names = [message.id for message in part.messages]
        records = self._reading.ask("redis", lambda: self._redis.messages(slot, names))
        return {copy.id: copy for copy in map(codec.decode, filter(None, records or ()))}

    def _ensure_recent_in_redis(
        self, hot: HotPage, merged: TierPart, below: list[TierPart]
    ) -> None:
        """Only a page that adjoins the hot one, read from the newest down, extends it."""
        wanted = self._wanted
        has_floor = hot.floor is not None and not hot.is_distrusted
        adjoins = wanted.high > (hot.floor or "") if has_floor else wanted.high == ids.HIGHEST
        if wanted.order == "asc" or not adjoins or self._reading.down:
            return
        from_below = {message.id for part in below for message in part.messages}
        records = [
            (message.id, codec.encode(message))
            for message in merged.messages
            if message.id in from_below and message.deleted_at is None
        ]
        if not has_floor and not records:
            # An index says that its thread exists; none is made for one that may not.
            return
        self._reading.ask(
            "redis",
            lambda: self._redis.warm(
                wanted.user_id,
                wanted.thread_id,
                records,
                seen_floor=hot.floor,
                floor=merged.horizon or ids.LOWEST,
            ),
        )


def _with_newer(part: TierPart, copies: Mapping[str, Message]) -> TierPart:
    """The part with those copies that are newer."""
    newest = [
        max(message, copies.get(message.id, message), key=lambda version: version.version)
        for message in part.messages
    ]
    return part._replace(messages=newest)


def stored_records(hot: HotPage, wanted: Range) -> list[tuple[str, bytes]]:
    """The ids and records of a range that Redis alone knows, if it may be believed and none of them
    is hidden; else nothing."""
    if not _is_complete(hot, wanted):
        return []
    records = [(name, record) for name, record in hot.records if record is not None]
    is_hiding = bool(records) and min(records[0], records[-1])[0] <= wanted.low
    return [] if is_hiding else records


def _is_complete(hot: HotPage, wanted: Range) -> bool:
    """Whether Redis alone knows this range: nothing in it lies below the floor or has left."""
    if hot.floor is None or None in [record for _, record in hot.records]:
        return False
    if wanted.order == "asc":
        return wanted.low >= hot.floor
    if hot.is_cut or len(hot.records) == wanted.at_most:
        return hot.records[-1][0] >= hot.floor
    return wanted.low >= hot.floor


def _hot_part(hot: HotPage, wanted: Range) -> TierPart:
    found = [
        codec.decode(record)
        for message_id, record in hot.records
        if record is not None and wanted.low < message_id < wanted.high
    ]
    full = hot.is_cut or len(hot.records) == wanted.at_most
    return TierPart(found, {"redis"} if found else set(), hot.records[-1][0] if full else None)


def _needs_archive(wanted: Range, boundary: str, horizon: str | None) -> bool:
    if wanted.low >= boundary:
        return False
    # Newest first, a full page above the boundary leaves nothing to look for below it.
    return wanted.order == "asc" or horizon is None or horizon < boundary

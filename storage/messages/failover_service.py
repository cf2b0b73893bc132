"""The chain a write goes down: Redis, else PostgreSQL, else ClickHouse, else nobody.

A write whose answer was lost goes on with the same id, so wherever it was taken it is one message.
Requests of the same moment share a call; what is large goes in parts.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from models.appends import Append, IdTooOld, Stored
from models.caveats import Degraded, degraded
from models.message import VERSION_STEP, Message, Thread, Tier
from storage.availability.probes import Breakers
from storage.errors import NoTierAvailable, TierError, TierRejected, TierUnavailable
from storage.messages.append_plan import Answer, Ask
from storage.messages.clickhouse_writes import DirectClickHouse, version_after
from storage.messages.idempotency import IdempotencyGuard
from storage.messages.postgres_writes import DirectPostgres
from storage.messages.redis_writes import RedisWrites
from storage.redis.driver import MOST_BYTES
from storage.resilience.bites import bites
from storage.resilience.combiner import Combiner, Done
from storage.telemetry.instruments import Instruments, Kind, code_of

PART_BYTES: dict[Tier, int] = {
    # One round trip: a part of a part must not be there alone.
    "redis": MOST_BYTES,
    # One transaction, for which others wait.
    "postgresql": 512 * 1024,
    # Which wants few inserts.
    "clickhouse": 4 * 1024 * 1024,
}
"""What one call to a tier brings it at most, unless one message is larger."""


class Taken(NamedTuple):
    """Who took new messages, and the answer."""

    tier: Tier
    answer: Stored | IdTooOld


Record = TypeVar("Record", Message, Thread)


class Written(NamedTuple, Generic[Record]):
    """Who took a version of a message or of a thread, which it is, and whether to wake a worker."""

    tier: Tier
    record: Record
    wake: bool


class Attempt(NamedTuple, Generic[Record]):
    """A tier's way to take a version, and the number it would have there."""

    tier: Tier
    version: int
    write: Callable[[Record], bool | None]


class MessageFailoverService:
    """The write verbs over whichever tier can take them."""

    def __init__(
        self,
        redis: RedisWrites,
        postgres: DirectPostgres,
        clickhouse: DirectClickHouse,
        keys: IdempotencyGuard,
        breakers: Breakers,
        instruments: Instruments,
    ) -> None:
        self._instruments = instruments
        self.keys = keys
        self._redis = redis
        self._postgres = postgres
        self._clickhouse = clickhouse
        self._postgres_breaker = breakers.postgresql
        tiers: dict[Tier, Ask] = {
            "redis": redis.append,
            "postgresql": keys.checking("postgresql", postgres.append),
            "clickhouse": keys.checking("clickhouse", clickhouse.append),
        }
        self._combiners = {
            tier: Combiner(tier, append, PART_BYTES[tier]) for tier, append in tiers.items()
        }

    def submit(self, append: Append, done: Done[Answer]) -> None:
        """Has Redis alone asked for new messages, and returns at once; `done` is called in another
        thread, with the answer to this one append."""
        self._combiners["redis"].submit((append,), append.size, done)

    def append(
        self, appends: Sequence[Append], of_redis: Sequence[Answer] | None = None
    ) -> list[Taken]:
        """Acknowledges new messages, each append's all or none. `of_redis` is what Redis has
        answered to each, if it was asked already.

        Raises `NoTierAvailable` where no tier takes one of them, and `TierRejected` where
        PostgreSQL refuses one as it is: what others of the same call wrote stays, and a retry
        finds it. A Redis that refuses, say because somebody else wrote under a key of ours, is
        passed over.
        """
        started = time.perf_counter()
        taken: dict[int, Taken] = {}
        failures: list[TierError] = []
        for tier, combiner in self._combiners.items():
            ids_are_final = any(failure.is_ambiguous for failure in failures)
            for places, size in _parts(tier, appends, taken):
                asked = [appends[at]._replace(ids_are_final=ids_are_final) for at in places]
                try:
                    if tier == "clickhouse":
                        # Before requests are combined: those without a key wait for nobody.
                        self._clickhouse.await_others(asked)
                    if tier == "redis" and of_redis is not None:
                        answers = of_redis
                    else:
                        answers = combiner.ask(asked, size)
                except TierError as error:
                    answers = [error] * len(asked)
                self._sort(tier, places, answers, taken, failures)
                if isinstance(answers[0], TierUnavailable):
                    # The rest would only be late there, too.
                    break
            if len(taken) == len(appends):
                self._count(appends, taken, time.perf_counter() - started)
                return [taken[at] for at in range(len(appends))]
        raise self._refused("post", NoTierAvailable(failures))

    def revise(
        self, current: Message, make: Callable[[int], Message], kind: Kind = "edit"
    ) -> Written[Message]:
        """Acknowledges the version that `make` gives for a number, resting on the current one.

        Raises `VersionConflict` where that is no longer the newest, and `NoTierAvailable`.
        """
        version = current.version
        return self._first(
            kind,
            make,
            Attempt("redis", version + 1, partial(self._redis.revise, current)),
            Attempt("postgresql", version + VERSION_STEP, self._postgres.revise),
            Attempt("clickhouse", version_after(version), self._clickhouse.revise),
        )

    def put_thread(self, current: Thread | None, make: Callable[[int], Thread]) -> Written[Thread]:
        """Acknowledges a version of a thread's own data, resting on the current one if any.

        Raises as `revise` does. ClickHouse has no threads, so it takes none.
        """
        version = current.version if current else 0
        return self._first(
            "thread",
            make,
            Attempt("redis", version + 1, partial(self._redis.put_thread, current)),
            Attempt("postgresql", version + VERSION_STEP, self._postgres.put_thread),
        )

    def acknowledged(self, tier: Tier, seconds: float, messages: int = 1) -> None:
        """Counts new messages that a tier took in so many seconds."""
        self._instruments.acknowledged(tier, "post", seconds, messages)

    def degraded(self, tier: Tier) -> Degraded:
        """What the caller of a write that this tier took is told."""
        return degraded(tier, is_postgresql_down=not self._postgres_breaker.is_closed)

    def _sort(
        self,
        tier: Tier,
        places: Sequence[int],
        answers: Sequence[Answer],
        taken: dict[int, Taken],
        failures: list[TierError],
    ) -> None:
        """Puts what a tier took in its places, and what it could not take among the failures."""
        for at, answer in zip(places, answers, strict=True):
            if not isinstance(answer, TierError):
                taken[at] = Taken(tier, answer)
            elif isinstance(answer, TierUnavailable) or tier == "redis":
                failures.append(answer)
            else:
                raise self._refused("post", answer)

    def _count(self, appends: Sequence[Append], taken: dict[int, Taken], seconds: float) -> None:
        """Counts the messages that each tier acknowledged."""
        counts: Counter[Tier] = Counter()
        for at, append in enumerate(appends):
            if isinstance(taken[at].answer, Stored):
                counts[taken[at].tier] += len(append.messages)
        for tier, messages in counts.items():
            self.acknowledged(tier, seconds, messages)

    def _refused(self, kind: Kind, error: TierError) -> TierError:
        """The error, counted as the answer to a write."""
        self._instruments.refused(kind, code_of(error))
        return error

    def _first(
        self, kind: Kind, make: Callable[[int], Record], *attempts: Attempt[Record]
    ) -> Written[Record]:
        """The version as the first living tier took it."""
        started = time.perf_counter()
        failures: list[TierError] = []
        for tier, version, write in attempts:
            try:
                record = make(version)
                wake = write(record)
            except TierError as error:
                if isinstance(error, TierRejected) and error.tier != "redis":
                    self._instruments.refused(kind, code_of(error))
                    raise
                failures.append(error)
            else:
                self._instruments.acknowledged(tier, kind, time.perf_counter() - started)
                return Written(tier, record, bool(wake))
        raise self._refused(kind, NoTierAvailable(failures))


def _parts(
    tier: Tier, appends: Sequence[Append], taken: dict[int, Taken]
) -> Iterator[tuple[Sequence[int], int]]:
    """The places of what a tier is asked for in one call each, and its bytes.

    A part may follow the one before it, whose answer stands in `taken` by then: where that was
    behind the first of the part is too, for only that one can be of the same thread.
    """
    left = [at for at in range(len(appends)) if at not in taken]
    for part, size in bites(left, [appends[at].size for at in left], PART_BYTES[tier]):
        places, before = part, taken.get(part[0] - 1)
        if appends[part[0]].follows:
            if before is None:
                # What it follows is not there, and it must not come before that.
                return
            if isinstance(before.answer, IdTooOld):
                taken[part[0]], places = before, part[1:]
        if places:
            yield places, size

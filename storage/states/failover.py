"""The tiers of a state, fastest first: which has the newest version, and which takes the next."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from models import codec
from models.caveats import Degraded, degraded, warning_of
from models.message import VERSION_STEP, Caveat, Tier
from models.state import StateName, StateRecord, StoredCheckpoint
from storage.availability.lease import Lease
from storage.errors import (
    NoTierAvailable,
    TierError,
    TierRejected,
    TierUnavailable,
    VersionConflict,
)
from storage.redis.log_quota import LogQuota
from storage.redis.states import StateCacheManager
from storage.resilience.breaker import Breaker
from storage.states.clickhouse import StateCopies
from storage.states.postgres import StateRows
from storage.telemetry.instruments import Instruments, code_of

Make = Callable[[int], StateRecord]


class FoundState(NamedTuple):
    """The newest known version, a tombstone or an expired one included. `is_certain`: no tier that
    is down can have a newer one."""

    whose: StateName
    record: StateRecord | None
    source: Tier
    is_certain: bool
    warning: Caveat | None

    @property
    def version(self) -> int:
        """0 for none."""
        return self.record.version if self.record else 0


class SavedVersion(NamedTuple):
    """A version and the tiers that have it, in the order in which they took it; the slot whose
    worker is to be woken, or, once it is in PostgreSQL, the numbers of its queued copies for
    ClickHouse."""

    record: StateRecord
    tiers: list[Tier]
    wake_slot: int | None
    numbers: list[int]
    degraded: Degraded


class Overtaken(VersionConflict):
    """PostgreSQL has a newer version, which may or may not rest on this one."""


@dataclass(eq=False)
class StateChain:
    """Reads and writes of states over whichever tier can serve them."""

    _cache: StateCacheManager
    _rows: StateRows
    _copies: StateCopies
    _lease: Lease
    _quota: LogQuota
    _postgres_breaker: Breaker
    _instruments: Instruments

    def find(
        self, whose: StateName, *, must_be_known: bool = True, for_writing: bool = False
    ) -> FoundState:
        """The newest version. Raises `NoTierAvailable` where no tier can tell whether there is one;
        unless it `must_be_known`, none is found then.

        A writer that cannot reach Redis reads only once no other process is answered from Redis
        alone: else it would overwrite a version that another process wrote meanwhile.
        """
        lease = self._lease.current()
        failures: list[TierError] = []
        hot = None
        try:
            hot = self._cache.load_primary_state(whose)
            if hot is not None and lease.redis_complete:
                return FoundState(whose, hot, "redis", True, self._degraded().warning)
        except TierError as error:
            failures.append(error)
        try:
            if failures and for_writing:
                self._rows.enter()
            return self._committed(whose, hot, is_redis_out=bool(failures))
        except TierError as error:
            failures.append(error)
        if hot is not None:
            is_certain = self._lease.last_known().redis_complete
            return FoundState(whose, hot, "redis", is_certain, warning_of({"postgresql"}))
        return self._copied(whose, failures, must_be_known)

    def again(
        self, found: FoundState, conflict: VersionConflict, *, must_be_known: bool = True
    ) -> FoundState:
        """The newest version after a conflict, which carries it where Redis is believed alone."""
        if conflict.current and found.source == "redis" and self._lease.current().redis_complete:
            hot = codec.decode_state(conflict.current)
            return found._replace(record=hot, is_certain=True, warning=self._degraded().warning)
        return self.find(found.whose, must_be_known=must_be_known, for_writing=True)

    def save(self, found: FoundState, make: Make) -> SavedVersion:
        """Acknowledges the version that `make` gives for a number, over the version found.

        Raises `VersionConflict`, `Overtaken`, `ErasedSince` and `NoTierAvailable`.
        """
        started = time.perf_counter()
        try:
            saved = self._save(found, make)
        except TierError as error:
            self._instruments.refused("state", code_of(error))
            raise
        self._instruments.acknowledged(saved.tiers[0], "state", time.perf_counter() - started)
        return saved

    def _save(self, found: FoundState, make: Make) -> SavedVersion:
        try:
            self._quota.admit()
            version = found.version + 1
            if not found.is_certain:
                # It cannot know the newest, and must be above all that were counted.
                version = max(version, time.time_ns() // 1_000_000)
            record = make(version)
            return self._save_in_redis(found, record)
        except TierError as error:
            if error.tier != "redis":
                # A busy PostgreSQL is no reason to bypass Redis: while any process does, every
                # write needs PostgreSQL.
                raise NoTierAvailable([error]) from error
            failure = error
        try:
            record = make(found.version + VERSION_STEP)
            numbers = self._rows.commit_beside(record, found.version)
        except TierRejected:
            raise
        except TierError as error:
            raise NoTierAvailable([failure, error]) from error
        return SavedVersion(record, ["postgresql"], None, numbers, degraded("postgresql"))

    def commit(self, saved: SavedVersion) -> SavedVersion:
        """Has PostgreSQL take what Redis has."""
        return _committed(saved, self._rows.commit(saved.record)[1])

    def archive(self, saved: SavedVersion) -> None:
        """Has ClickHouse take the copies of what PostgreSQL has."""
        self._copies.ship(saved.record.whose.user_id, saved.numbers)

    def checkpoints(
        self, whose: StateName, *, after: int, before: int, count: int, whole: bool
    ) -> list[StoredCheckpoint]:
        """Checkpoints of a run with `after` < version < `before`, newest first, from PostgreSQL or
        else from ClickHouse; without `whole` their states may be empty. Raises `TierError`."""
        bounds = {"after": after, "before": before, "count": count}
        try:
            return self._rows.checkpoints(whose, whole=whole, **bounds)
        except TierError as error:
            try:
                return self._copies.checkpoints(whose, **bounds)
            except TierError as second:
                raise NoTierAvailable([error, second]) from second

    def _committed(
        self, whose: StateName, hot: StateRecord | None, *, is_redis_out: bool
    ) -> FoundState:
        row = self._rows.load(whose)
        if hot is not None and (row is None or hot.version >= row.version):
            return FoundState(whose, hot, "redis", True, None)
        if row is not None and not is_redis_out:
            # Where that fails the next reader tries again.
            with suppress(TierError):
                self._cache.cache_state_in_redis(row)
        warning = warning_of({"redis"}) if is_redis_out else None
        return FoundState(whose, row, "postgresql", True, warning)

    def _copied(
        self, whose: StateName, failures: list[TierError], must_be_known: bool
    ) -> FoundState:
        is_redis_out = len(failures) > 1
        warning = warning_of({"postgresql", "redis"} if is_redis_out else {"postgresql"})
        try:
            copy = self._copies.load(whose)
        except TierError as error:
            copy = None
            failures.append(error)
        if copy is None and (is_redis_out or must_be_known):
            # It may exist in a tier that does not answer.
            raise NoTierAvailable(failures)
        return FoundState(whose, copy, "clickhouse", False, warning)

    def _save_in_redis(self, found: FoundState, record: StateRecord) -> SavedVersion:
        """While others may bypass Redis, PostgreSQL decides between them and Redis; while it is
        down nobody does."""
        if self._lease.current().redis_complete:
            saved = self._put(found, record)
            return saved if self._lease.current().redis_complete else self._confirmed(saved)
        try:
            saved, numbers = self._rows.commit_with(
                record, found.version, lambda: self._put(found, record)
            )
        except TierUnavailable as error:
            if error.passing and self._lease.current().redis_complete:
                # It waited for others, and PostgreSQL need not be asked any more.
                return self._save_in_redis(found, record)
            if error.tier != "postgresql" or error.tried:
                raise
            return self._put(found, record)
        return _committed(saved, numbers)

    def _put(self, found: FoundState, record: StateRecord) -> SavedVersion:
        try:
            wake = self._cache.save_primary_state(record, expected_version=found.version)
        except VersionConflict as conflict:
            hot = codec.decode_state(conflict.current)
            if found.record is not None and hot.version < found.version:
                # The newer version bypassed Redis, which has not been told of it yet.
                self._cache.cache_state_in_redis(found.record)
            raise
        slot = self._cache.slot_of(record.whose) if wake else None
        return SavedVersion(record, ["redis"], slot, [], self._degraded())

    def _confirmed(self, saved: SavedVersion) -> SavedVersion:
        """What Redis took just as another process began to bypass it. Raises `Overtaken` where that
        one may have been first."""
        try:
            version, numbers = self._rows.commit(saved.record)
        except TierUnavailable as error:
            if error.tried:
                raise
            return saved
        if version > saved.record.version:
            raise Overtaken(b"")
        return _committed(saved, numbers)

    def _degraded(self) -> Degraded:
        return degraded("redis", is_postgresql_down=not self._postgres_breaker.is_closed)


def _committed(saved: SavedVersion, numbers: list[int]) -> SavedVersion:
    return saved._replace(tiers=[*saved.tiers, "postgresql"], numbers=numbers)

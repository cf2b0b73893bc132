"""States of sessions and runs: written, read, merged, deleted, and restored from a checkpoint.

A write is conditional on the newest known version; of two at once, one has to read again.
"""

from collections.abc import Callable, Container
from functools import partial

import msgspec

from models import ids
from models.caveats import durability
from models.ids import Clock
from models.message import CONFLICT_ATTEMPTS, Caveat, Durability, FailoverReason, Tier
from models.state import (
    EMPTY,
    Checkpoint,
    Level,
    StateName,
    StateRecord,
    WholeCheckpoint,
    check_size,
    merged,
)
from settings import Settings
from storage.errors import Contended, NotFound, TierError, TierUnavailable, VersionConflict
from storage.redis.records import ErasedSince
from storage.states.failover import Overtaken, SavedVersion, StateChain

MAX_VERSION = 2**63 - 1


class StaleVersion(Exception):
    """The caller's version is not the current one; 0 stands for none."""

    def __init__(self, current_version: int) -> None:
        super().__init__(
            f"the current version is {current_version}" if current_version else "there is no state"
        )
        self.current_version = current_version


class StateAnswer(msgspec.Struct, frozen=True):
    """A version as acknowledged: which tiers have it, how durable that is, and a warning if a tier
    did not take it. `wake_slot` is the slot whose worker the caller is to wake."""

    record: StateRecord
    tier_used: Tier
    tiers: list[Tier]
    durability: Durability
    wake_slot: int | None
    warning: Caveat | None
    failover_reason: FailoverReason | None


class StateRead(msgspec.Struct, frozen=True):
    """A version, the tier it came from, and a warning if a tier did not answer."""

    record: StateRecord
    source: Tier
    warning: Caveat | None


class StateService:
    """Reads and writes of states. Each raises `TierUnavailable` where no tier can serve it."""

    def __init__(
        self,
        chain: StateChain,
        clock: Clock,
        settings: Settings,
        *,
        redis_durability: Callable[[], Durability],
    ) -> None:
        self._chain = chain
        self._clock = clock
        self._lifetimes = {"session": settings.session_seconds, "run": settings.run_state_seconds}
        self._checkpoint_every = settings.checkpoint_every
        self._redis_durability = redis_durability

    def get(self, whose: StateName) -> StateRead:
        """The newest version. Raises `NotFound` for none, a deleted and an expired one."""
        found = self._chain.find(whose)
        record = found.record
        if record is None or not record.is_live(ids.timestamp(self._clock.now_us())):
            raise NotFound
        return StateRead(record, found.source, found.warning)

    def put(
        self,
        whose: StateName,
        state: msgspec.Raw,
        *,
        expected_version: Container[int] | None = None,
        ttl_seconds: int | msgspec.UnsetType | None = msgspec.UNSET,
        level: Level = "auto",
    ) -> StateAnswer:
        """Acknowledges a state as the next version.

        Raises `StaleVersion` where the current version, 0 for none, is not in `expected_version`.
        Without it the last writer wins.
        """
        replaces = expected_version is None
        return self._write(
            whose, lambda _: state, expected_version, ttl_seconds, level, replaces=replaces
        )

    def patch(
        self,
        whose: StateName,
        patch: msgspec.Raw,
        *,
        expected_version: Container[int] | None = None,
        ttl_seconds: int | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> StateAnswer:
        """Acknowledges the current state with a merge patch applied; none is as an empty one.

        Raises `StaleVersion`, and `InvalidMessage` where the result is too large.
        """

        def change(current: StateRecord | None) -> msgspec.Raw:
            state = merged(current.state if current else EMPTY, patch)
            check_size(state)
            return state

        return self._write(whose, change, expected_version, ttl_seconds, "auto")

    def delete(
        self, whose: StateName, *, expected_version: Container[int] | None = None
    ) -> StateAnswer:
        """Acknowledges a tombstone; checkpoints go with it. Raises `NotFound`, `StaleVersion`."""

        def gone(current: StateRecord | None) -> None:
            if current is None:
                raise NotFound

        return self._write(whose, gone, expected_version, None, "auto")

    def checkpoints(
        self, whose: StateName, *, limit: int, before: int | None
    ) -> tuple[list[Checkpoint], int | None]:
        """Checkpoints of a run, newest first, below a version, and the next cursor.

        Raises `NotFound` for a run without a state.
        """
        after = self.get(whose).record.cleared_through
        top = MAX_VERSION if before is None else before
        found = self._chain.checkpoints(
            whose, after=after, before=top, count=limit + 1, whole=False
        )
        shown = [checkpoint for checkpoint, _ in found[:limit]]
        return shown, shown[-1].version if len(found) > limit else None

    def checkpoint(self, whose: StateName, version: int) -> WholeCheckpoint:
        """One of them, whole. Raises `NotFound`."""
        if version <= self.get(whose).record.cleared_through:
            raise NotFound
        for one, state in self._chain.checkpoints(
            whose, after=version - 1, before=version + 1, count=1, whole=True
        ):
            return WholeCheckpoint(
                version=one.version,
                checkpoint=one.checkpoint,
                created_at=one.created_at,
                state=state,
            )
        raise NotFound

    def restore(self, whose: StateName, version: int) -> StateAnswer:
        """Acknowledges a checkpoint's state as the newest version. Raises `NotFound`."""
        return self.put(whose, self.checkpoint(whose, version).state)

    def _write(
        self,
        whose: StateName,
        change: Callable[[StateRecord | None], msgspec.Raw | None],
        expected_version: Container[int] | None,
        ttl_seconds: int | msgspec.UnsetType | None,
        level: Level,
        *,
        replaces: bool = False,
    ) -> StateAnswer:
        """`replaces`: what is written does not depend on what was there."""
        not_before_us = 0
        found = self._chain.find(whose, must_be_known=not replaces, for_writing=True)
        for _ in range(CONFLICT_ATTEMPTS):
            now_us = max(self._clock.now_us(), not_before_us)
            current = found.record
            live = current if current and current.is_live(ids.timestamp(now_us)) else None
            version = live.version if live else 0
            if expected_version is not None and version not in expected_version:
                raise StaleVersion(version)
            # What was before a deletion, or before it expired, was another life.
            cleared = live.cleared_through if live else found.version
            state = change(live)
            make = partial(self._record, whose, state, cleared, now_us, ttl_seconds, level)
            try:
                return self._answer(self._chain.save(found, make), level)
            except VersionConflict as conflict:
                if isinstance(conflict, Overtaken) and expected_version is not None:
                    reason = "somebody wrote beside it at the same moment"
                    raise TierUnavailable("redis", reason, passing=True) from conflict
                found = self._chain.again(found, conflict, must_be_known=not replaces)
            except ErasedSince as error:
                # This write comes after the erasure, whatever the eraser's clock says.
                not_before_us = (error.through_us // 1000 + 1) * 1000
        raise Contended("redis", "too many writers of one state")

    def _record(
        self,
        whose: StateName,
        state: msgspec.Raw | None,
        cleared_through: int,
        now_us: int,
        ttl_seconds: int | msgspec.UnsetType | None,
        level: Level,
        version: int,
    ) -> StateRecord:
        """A version; a tombstone without a state."""
        moment = ids.timestamp(now_us)
        is_kept = level != "auto" or version % self._checkpoint_every == 0
        return StateRecord(
            version=version,
            updated_at=moment,
            kind=whose.kind,
            user_id=whose.user_id,
            name=whose.name,
            expires_at=None if state is None else self._expiry(whose, now_us, ttl_seconds),
            deleted_at=moment if state is None else None,
            checkpoint=level,
            is_checkpoint=is_kept and whose.kind == "run" and state is not None,
            cleared_through=version if state is None else cleared_through,
            state=EMPTY if state is None else state,
        )

    def _expiry(
        self, whose: StateName, now_us: int, ttl_seconds: int | msgspec.UnsetType | None
    ) -> str | None:
        if ttl_seconds is None:
            return None
        if isinstance(ttl_seconds, msgspec.UnsetType):
            ttl_seconds = self._lifetimes[whose.kind]
        return ids.timestamp(now_us + ttl_seconds * 1_000_000)

    def _answer(self, saved: SavedVersion, level: Level) -> StateAnswer:
        """Writes the version to the tiers that its level asks for, as far as they answer."""
        failover_reason, warning = saved.degraded
        try:
            if level != "auto" and "postgresql" not in saved.tiers:
                saved = self._chain.commit(saved)
        except TierError:
            # A worker writes it from the log once PostgreSQL is back.
            warning = "degraded_mode_postgresql_unavailable"
        tiers = list(saved.tiers)
        try:
            if level == "full" and tiers[-1] == "postgresql":
                self._chain.archive(saved)
                tiers.append("clickhouse")
        except TierError:
            warning = warning or "degraded_mode_clickhouse_unavailable"
        return StateAnswer(
            record=saved.record,
            tier_used=tiers[0],
            tiers=tiers,
            durability=durability(tiers[-1], self._redis_durability),
            wake_slot=saved.wake_slot,
            warning=warning,
            failover_reason=failover_reason,
        )

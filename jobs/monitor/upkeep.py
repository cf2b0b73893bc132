"""Scheduled upkeep: findings that need a person, and copies in Redis that could never be evicted,
since a crash between a commit and its settling loses their lifetime."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import select

from models import ids
from models.tables import messages
from storage.availability.checks.finding import Finding
from storage.postgres.driver import rows_of
from storage.redis import keys
from storage.redis.pending_log import CommittedBatch
from storage.tiers import Tiers

log = structlog.get_logger(__name__)


class CopyLifetimes(NamedTuple):
    """Counts of message copies in Redis: all, those without a lifetime, and those given one now."""

    copies: int = 0
    for_ever: int = 0
    mended: int = 0


class UpkeepService:
    """Safe to run anywhere, also twice at once."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._known: dict[tuple[str, str], Finding] = {}

    def report(self, findings: Sequence[Finding]) -> list[Finding]:
        """Logs which findings are new or resolved since the last report; gives those of now."""
        problems = {(one.tier, one.check): one for one in findings if not one.ok}
        for place, problem in problems.items():
            if place not in self._known:
                log.warning("needs_attention", **_facts(problem), advice=problem.advice)
        for place, problem in self._known.items():
            if place not in problems:
                log.info("well_again", **_facts(problem))
        self._known = problems
        return list(problems.values())

    def restore_lifetimes(self) -> CopyLifetimes:
        """Gives a lifetime to every copy without one, unless its version is still pending. Raises
        `TierUnavailable`."""
        total = CopyLifetimes()
        for slot in range(self._tiers.pending_log.slots):
            for names in filter(None, self._tiers.redis_door.scan(keys.message_prefix(slot) + "*")):
                step = self._restore(slot, names)
                total = CopyLifetimes(*(sum(pair) for pair in zip(total, step, strict=True)))
        if total.mended:
            log.warning("lifetimes_mended", copies=total.mended)
        return total

    def _restore(self, slot: int, names: list[str]) -> CopyLifetimes:
        for_ever = self._without_lifetime(names)
        by_id = {name.removeprefix(keys.message_prefix(slot)): name for name in for_ever}
        query = select(
            messages.c.id, messages.c.user_id, messages.c.thread_id, messages.c.version
        ).where(messages.c.id.in_([one for one in by_id if ids.is_id(one)]))
        rows = rows_of(self._tiers.job_engine, query)
        if not rows:
            return CopyLifetimes(len(names), len(for_ever))
        # The script compares versions itself, so a write that comes meanwhile keeps its copy.
        versions = {by_id[row.id]: row.version for row in rows}
        indexes = sorted({keys.index(slot, row.user_id, row.thread_id) for row in rows})
        self._tiers.pending_log.settle([CommittedBatch(slot, [], versions, indexes, {})])
        still = self._without_lifetime(list(versions))
        return CopyLifetimes(len(names), len(for_ever), len(versions) - len(still))

    def _without_lifetime(self, names: list[str]) -> list[str]:
        answers = self._tiers.redis_door.each(lambda pipeline, name: pipeline.ttl(name), names)
        return [name for name, seconds in zip(names, answers, strict=True) if seconds == -1]


def _facts(problem: Finding) -> dict[str, str]:
    return {"tier": problem.tier, "check": problem.check, "found": problem.found}

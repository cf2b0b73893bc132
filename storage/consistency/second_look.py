"""Looks at suspects until each is cleared or proven: what is on its way is no difference.

A message is named only when two looks in a row, with the roads carried in between, find the same
copies, and neither finds it on a road.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from models.message import Message
from storage.consistency.copies import (
    ArchivedRow,
    Copies,
    HotRecord,
    archive_boundary,
    archived_rows,
    committed_rows,
    erased_through,
    erasures,
    hot_records,
)
from storage.consistency.in_flight import Flights, flights
from storage.consistency.integrity import DataIntegrityValidator
from storage.consistency.verdict import Judge, Verdict
from storage.dead_letters.records import address_of
from storage.postgres_driver import translated
from storage.tiers import Tiers

BATCH = 1_000
POLL_SECONDS = 0.05
SETTLE_SECONDS = 15.0
"""What is not still by then is being written; the next check sees it again."""


class SecondLook:
    """Judges suspects over all three tiers. `carry` empties the roads as the workers do."""

    def __init__(
        self, tiers: Tiers, carry: Callable[[], None], validator: DataIntegrityValidator
    ) -> None:
        self._tiers = tiers
        self._carry = carry
        self._validator = validator

    def prove(self, suspects: Collection[str]) -> list[Verdict]:
        """The verdicts on those suspects with which something is wrong. Raises `TierError`."""
        ordered = sorted(suspects)
        proven: list[Verdict] = []
        for at in range(0, len(ordered), BATCH):
            proven += self._prove(ordered[at : at + BATCH])
        return proven

    def judge(self, names: Sequence[str]) -> tuple[list[Verdict], Flights]:
        """The verdicts on some messages as they are now, and which of them are on their way."""
        tiers = self._tiers
        with translated(), tiers.job_engine.connect() as connection:
            committed = committed_rows(connection, names)
            archived = archived_rows(tiers.job_clickhouse, names)
            hot = hot_records(tiers.redis_door, tiers.redis, names)
            owners = {(one.user_id, one.thread_id) for one in committed.values()}
            owners |= {(row.user_id, row.thread_id) for rows in archived.values() for row in rows}
            marks = erased_through(connection, owners)
            users = {name: _users(committed.get(name), archived, hot, name) for name in names}
            erased = erasures(connection, set().union(*users.values()))
            judge = Judge(self._validator, archive_boundary(connection))
            # Last, so that what moved while the copies were read is still seen on its way or as
            # a change at the next look.
            moving = flights(connection, tiers.job_clickhouse, tiers.pending_log, names)
        verdicts = []
        for name in names:
            rows = tuple(archived.get(name, ()))
            row = committed.get(name)
            threads = [(one.user_id, one.thread_id) for one in rows]
            threads += [(row.user_id, row.thread_id)] if row else []
            mark = max((marks.get(thread, "") for thread in threads), default="")
            copies = Copies(name, hot.get(name), row, rows, mark)
            of_them = [erased[user] for user in users[name] if user in erased]
            if gone := [one for one in of_them if name <= one.through]:
                verdicts.append(judge.erased(copies, all(one.is_done for one in gone)))
                continue
            verdicts.append(judge.judge(copies, is_refused=name in moving.refused))
        return verdicts, moving

    def _prove(self, names: Sequence[str]) -> list[Verdict]:
        proven: list[Verdict] = []
        before: dict[str, Verdict] = {}
        deadline = time.monotonic() + SETTLE_SECONDS
        while names:
            verdicts, moving = self.judge(names)
            still = [v for v in verdicts if v.wrong and v.id not in moving.moving]
            proven += [v for v in still if before.get(v.id) == v]
            before = {v.id: v for v in still}
            done = {v.id for v in proven} | {v.id for v in verdicts if not v.wrong}
            names = [name for name in names if name not in done]
            if time.monotonic() > deadline:
                break
            if names:
                self._carry()
                time.sleep(POLL_SECONDS)
        return proven


def _users(
    committed: Message | None,
    archived: Mapping[str, Sequence[ArchivedRow]],
    hot: Mapping[str, HotRecord],
    name: str,
) -> set[str]:
    """Whose message it is, as any copy says."""
    users = {row.user_id for row in archived.get(name, ())}
    if committed is not None:
        users.add(committed.user_id)
    if name in hot:
        users.add(address_of("message", hot[name].record).user_id or "")
    return users

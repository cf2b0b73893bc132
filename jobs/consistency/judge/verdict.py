"""Which copy of a message is right, and what is wrong with the others. Pure, no I/O.

A copy that matches its own hash and whose id is its thread's is sound. Of the sound copies a
tombstone is right, since a deletion is final, else the highest version; of one version in several
tiers PostgreSQL's, since all versions go through it. What no tier has sound stays as it is. What is
hidden with its thread or its user is missed nowhere, and wrong only where it should have left.
"""

from typing import NamedTuple

from jobs.consistency.judge.copies import Copies
from jobs.consistency.judge.integrity import DataIntegrityValidator, TierCopy
from jobs.consistency.report import Difference, Kind, Outcome, Pair
from models.message import Message, Tier
from storage.availability.hidden import Watermarks, thread_of

_PAIR_OF: dict[Tier, Pair] = {
    "redis": "redis-postgresql",
    "postgresql": "postgresql-clickhouse",
    "clickhouse": "postgresql-clickhouse",
}


class CopyVerdict(NamedTuple):
    """What is right, if anything is, and what is wrong where.

    `must_be_buried`: it went with its thread and no tier has a tombstone of it. `is_erased`: it
    went with its user, and is to be erased again. `is_hidden`: by one or the other.
    """

    copies: Copies
    truth: Message | None
    wrong: dict[Tier, Kind]
    must_be_buried: bool = False
    is_erased: bool = False
    is_hidden: bool = False

    @property
    def id(self) -> str:
        """The message's id."""
        return self.copies.id

    @property
    def owner(self) -> tuple[str, str] | None:
        """User and thread, as the right copy has them, or else any."""
        known = [self.truth, self.copies.committed, *(row.message for row in self.copies.archived)]
        return next((thread_of(one) for one in known if one is not None), None)

    @property
    def differences(self) -> list[Difference]:
        """What is wrong, a difference for each tier. What no tier has right is said at once to be
        unrepairable. Never what the message says."""
        user_id, thread_id = self.owner or (None, None)
        here, there = self.copies.committed, self.copies.archived
        found = (
            f"version {here.version if here else 'none'} in postgresql,"
            f" {there[0].version if there else 'none'} in clickhouse,"
            f" right is {self.truth.version if self.truth else 'none'}"
        )
        outcome: Outcome = "" if self.truth or self.is_erased else "unrepairable"
        return [
            Difference(_PAIR_OF[tier], tier, kind, self.id, user_id, thread_id, found, outcome)
            for tier, kind in self.wrong.items()
        ]


def judge(copies: Copies, boundary: str, *, is_refused: bool = False) -> CopyVerdict:
    """The verdict on one message; below the boundary ClickHouse may be alone. What PostgreSQL has
    refused stays in Redis as it is."""
    held = _held(copies)
    erasures = [mark for mark in copies.marks.values() if copies.id <= mark.erased]
    if erasures:
        # An erasure that is not done yet takes out by itself what is still there.
        left = held if all(mark.is_erased for mark in erasures) else {}
        wrong: dict[Tier, Kind] = dict.fromkeys(left, "resurrected")
        return CopyVerdict(copies, None, wrong, is_erased=True, is_hidden=True)
    if is_refused:
        held.pop("redis", None)
    sound = [copy.message for copy in held.values() if copy.message and not copy.flaw]
    # What ClickHouse still has beneath the row that counts there is sound, too.
    older = [row.message for row in copies.archived[1:] if row.message]
    sound += [one for one in older if DataIntegrityValidator.flaw_of(one) is None]
    # The first of equals wins, and the tiers come in order.
    truth = max(sound, key=lambda one: (one.deleted_at is not None, one.version), default=None)
    if truth is None:
        wrong = {tier: copy.flaw for tier, copy in held.items() if copy.flaw}
        return CopyVerdict(copies, None, wrong)
    if copies.hidden(truth):
        return _hidden(copies, held, truth, copies.marks[thread_of(truth)])
    wrong = {}
    expected: list[Tier] = [*held, "clickhouse"]
    if copies.id >= boundary:
        expected.insert(0, "postgresql")
    for tier in dict.fromkeys(expected):
        kind = _wrong(held.get(tier), truth)
        if kind is not None:
            wrong[tier] = kind
    if not wrong and copies.hot and not is_refused and not copies.hot.has_ttl:
        wrong["redis"] = "never_evicted"
    return CopyVerdict(copies, truth, wrong)


def _held(copies: Copies) -> dict[Tier, TierCopy]:
    """The copy of each tier that has one, PostgreSQL's first."""
    held: dict[Tier, TierCopy] = {}
    if copies.committed is not None:
        held["postgresql"] = DataIntegrityValidator.copy(copies.committed)
    if copies.archived:
        newest = copies.archived[0]
        held["clickhouse"] = (
            DataIntegrityValidator.copy(newest.message)
            if newest.message
            else TierCopy(newest.version, None, "damaged")
        )
    if copies.hot is not None:
        held["redis"] = DataIntegrityValidator.record(copies.hot.record, copies.id)
    return held


def _hidden(
    copies: Copies, held: dict[Tier, TierCopy], truth: Message, marks: Watermarks
) -> CopyVerdict:
    """The verdict on what went with its thread: until that is carried out in a tier it may be
    there, and need not."""
    is_buried, is_purged = truth.id <= marks.buried, truth.id <= marks.purged
    is_archived_alone = "postgresql" not in held and "clickhouse" in held
    done: dict[Tier, bool] = {
        "postgresql": is_buried,
        # Who erases what PostgreSQL lacks goes by what ClickHouse has.
        "redis": is_purged if is_archived_alone else is_buried,
        # A tombstone comes by way of PostgreSQL, and what has none waits for the purge.
        "clickhouse": is_buried if truth.deleted_at else is_purged,
    }
    wrong: dict[Tier, Kind] = {}
    for tier, copy in held.items():
        kind = _wrong(copy, truth, is_to_be_gone=True) if done[tier] else copy.flaw
        if kind is not None:
            wrong[tier] = kind
    must_be_buried = truth.deleted_at is None and any(done[tier] for tier in wrong)
    return CopyVerdict(copies, truth, wrong, must_be_buried, is_hidden=True)


def _wrong(copy: TierCopy | None, truth: Message, *, is_to_be_gone: bool = False) -> Kind | None:
    if copy is None:
        return "missing"
    if copy.flaw is not None:
        return copy.flaw
    if copy.is_live and (is_to_be_gone or truth.deleted_at is not None):
        return "resurrected"
    if copy.version != truth.version:
        return "older"
    return None if copy.message == truth else "different"

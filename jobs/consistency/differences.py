"""Verdicts as they are told: one difference for each tier in which a message is not right."""

from collections.abc import Iterable

from jobs.consistency.compare.rows import LostSlice
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.report import Difference, Pair
from models.message import Tier
from storage.clickhouse.fingerprints import week_begins


def lost(slices: Iterable[LostSlice]) -> list[Difference]:
    """Slices of the archive that have fewer messages than were proven to be there."""
    return [
        Difference(
            pair="postgresql-clickhouse",
            tier="clickhouse",
            kind="lost",
            id=f"week {week_begins(one.key.period)}, share {one.key.share}",
            found=f"{one.found:,} of {one.expected:,} messages",
        )
        for one in slices
    ]


def differences_of(verdicts: Iterable[CopyVerdict]) -> list[Difference]:
    """The verdicts as findings; what no tier has right is said at once to be past mending."""
    found = []
    for verdict in verdicts:
        user_id, thread_id = verdict.owner or (None, None)
        for tier, kind in verdict.wrong.items():
            found.append(
                Difference(
                    pair=_pair_of(tier),
                    tier=tier,
                    kind=kind,
                    id=verdict.id,
                    user_id=user_id,
                    thread_id=thread_id,
                    found=_versions(verdict),
                    outcome="" if verdict.truth or verdict.is_erased else "unrepairable",
                )
            )
    return found


def _pair_of(tier: Tier) -> Pair:
    return "redis-postgresql" if tier == "redis" else "postgresql-clickhouse"


def _versions(verdict: CopyVerdict) -> str:
    """Which version each tier has, and which is right; never what is in them."""
    copies = verdict.copies
    right = "none" if verdict.truth is None else str(verdict.truth.version)
    here = "none" if copies.committed is None else str(copies.committed.version)
    there = str(copies.archived[0].version) if copies.archived else "none"
    return f"version {here} in postgresql, {there} in clickhouse, right is {right}"

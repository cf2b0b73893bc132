"""What a check found, as it is shown and kept."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

import msgspec

Pair = Literal["postgresql-clickhouse", "redis-postgresql", "threads", "queues"]
Kind = Literal[
    "missing",
    "older",
    "different",
    "damaged",
    "foreign",
    "resurrected",
    "lost",
    "misplaced",
    "never_evicted",
    "evictable",
    "unlisted",
    "phantom",
    "miscounted",
    "waiting",
    "orphaned",
]
Outcome = Literal["", "repaired", "unrepairable", "changed"]
"""`changed`: somebody wrote it meanwhile; the next check says what became of it."""

PAIRS: tuple[Pair, ...] = get_args(Pair)
KEPT_DIFFERENCES = 5_000
"""So many are named in a kept report; the counts are of all."""


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to check: one user, one thread's name, both, or all."""

    user_id: str | None = None
    thread_id: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether that is everything."""
        return self.user_id is None and self.thread_id is None

    @property
    def values(self) -> dict[str, str | None]:
        """The parameters of a statement about it."""
        return msgspec.structs.asdict(self)

    def holds(self, user_id: str, thread_id: str) -> bool:
        """Whether a thread belongs to it."""
        return self.user_id in {None, user_id} and self.thread_id in {None, thread_id}


EVERYTHING = Scope()


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it should be: `id`, of a message, a thread or a queue, is `kind`
    in `tier`. Never what was written."""

    pair: Pair
    tier: str
    kind: Kind
    id: str
    user_id: str | None = None
    thread_id: str | None = None
    found: str = ""
    outcome: Outcome = ""

    @property
    def name(self) -> str:
        """The kind with its place, as `older_in_clickhouse`."""
        return f"{self.kind}_in_{self.tier}"

    @property
    def thread(self) -> tuple[str, str]:
        """The user and the thread that it is of."""
        return self.user_id or "", self.thread_id or ""


class Compared(NamedTuple):
    """What one comparison found: how many things it compared, the ids of messages that may be
    wrong, and differences of anything else."""

    number: int = 0
    suspects: frozenset[str] = frozenset()
    differences: tuple[Difference, ...] = ()

    def joined(self, other: "Compared") -> "Compared":
        """This and another, as one."""
        return Compared(
            self.number + other.number,
            self.suspects | other.suspects,
            self.differences + other.differences,
        )


class PairReport(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of tiers: how many things were compared, how many differ, how by kind and place,
    and what became of them."""

    compared: int = 0
    differing: int = 0
    kinds: dict[str, int] = {}
    repaired: int = 0
    unrepairable: int = 0
    seconds: float = 0.0


class ConsistencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A check. `data_consistency_score` is the share that agreed, in per cent, before any
    repair, and 100.0 only where nothing differs; None until the check is done. `differences` are
    the first ones, `differing` counts all. `reason` says why a check has failed."""

    id: int
    state: Literal["running", "done", "failed"]
    actor: str
    scope: Scope
    repair: bool
    started_at: str
    finished_at: str | None = None
    seconds: float | None = None
    data_consistency_score: float | None = None
    compared: int = 0
    differing: int = 0
    repaired: int = 0
    unrepairable: int = 0
    dead_letters: int = 0
    pairs: dict[Pair, PairReport] = {}
    differences: list[Difference] = []
    reason: str = ""

    @property
    def remaining(self) -> int:
        """How many differences are still there."""
        return self.differing - self.repaired


def score(compared: int, differing: int) -> float:
    """How much agrees, in per cent; 100.0 only where nothing differs."""
    if not differing:
        return 100.0
    share = 1 - min(1.0, differing / max(compared, differing))
    return min(99.9999, round(100 * share, 4))


def pair_report(
    pair: Pair, compared: int, differences: Iterable[Difference], seconds: float
) -> PairReport:
    """The figures of one pair; a thing that differs in two places is one that differs."""
    own = [one for one in differences if one.pair == pair]
    by_id: dict[str, set[Outcome]] = {}
    for one in own:
        by_id.setdefault(one.id, set()).add(one.outcome)
    return PairReport(
        compared=max(compared, len(by_id)),
        differing=len(by_id),
        kinds=dict(sorted(Counter(one.name for one in own).items())),
        repaired=sum(outcomes == {"repaired"} for outcomes in by_id.values()),
        unrepairable=sum("unrepairable" in outcomes for outcomes in by_id.values()),
        seconds=round(seconds, 3),
    )

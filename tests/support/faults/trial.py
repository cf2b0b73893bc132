"""One row of the fault tests: load on a stack, something broken meanwhile, and the verdict."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from selftest.bed.stack import Testbed
from selftest.faults.disturbance import Disturbance, kind
from selftest.faults.episodes import Episodes
from selftest.load.samples import RequestSample, WriteCounts, figures
from selftest.load.traffic import Load, Traffic
from selftest.record.findings import Invariant, Violation
from selftest.run import conclude, under_load
from support.waiting import eventually

_BELIEVED = text(
    """
SELECT keys_whole_from < clock_timestamp() AND NOT EXISTS (SELECT FROM redis_backfill)
AND NOT EXISTS (SELECT FROM redis_detours WHERE until > clock_timestamp()) FROM redis_state
"""
)

SEED = 7
CALM_SECONDS = 1.5
RECOVERY_SECONDS = 60


class Trial:
    """Load that runs. What is done to the stack is done through this.

    `gone` are ids of which a row destroyed the only copy: each of them that was acknowledged must
    be named by the verdict, and nothing else may be.
    """

    def __init__(self, bed: Testbed, traffic: Traffic, episodes: Episodes) -> None:
        self.bed = bed
        self.traffic = traffic
        self.episodes = episodes
        self.fault_began = 0.0
        self.gone: set[str] = set()
        self._logged = {name: len(bed.log_of(name)) for name in ("web", "worker", "redis-data")}

    def calm(self, seconds: float = CALM_SECONDS) -> None:
        """Lets the load run for a while with nothing broken."""
        self.traffic.pause(seconds)

    @contextmanager
    def broken(self, disturbance: Disturbance | str) -> Iterator[None]:
        """Holds a disturbance on while the block runs; by name, see `disturbance`."""
        chosen = kind(disturbance) if isinstance(disturbance, str) else disturbance
        self.fault_began = time.monotonic()
        with self.episodes.during(chosen):
            yield

    def breaks(self, disturbance: Disturbance | str, seconds: float = 0.0) -> WriteCounts:
        """Does it for so long; gives what became of the requests meanwhile."""
        with self.broken(disturbance):
            self.traffic.pause(seconds)
        return self.since(self.fault_began)

    def since(self, began: float) -> WriteCounts:
        """What became of the requests that began after a moment of the monotonic clock."""
        return figures(each for each in self.samples if each.began >= began)

    def now(self) -> float:
        """The moment, by the clock of samples."""
        return time.monotonic()

    def posts_since(self, began: float) -> WriteCounts:
        """Likewise of new messages alone.

        An edit rests on a version that only the broken tier may have: a 503 is right for it.
        """
        return figures(
            each for each in self.samples if each.began >= began and each.verb == "create"
        )

    def acknowledged(self, tier: str = "") -> int:
        """How many writes were acknowledged so far, by one tier or by all."""
        return sum(
            sample.status == 200 and sample.verb != "read" and tier in {"", sample.tier_used}
            for sample in self.samples
        )

    def wait_for_tier(self, tier: str, writes: int, since: float) -> None:
        """Waits until a tier has acknowledged so many writes since a moment."""
        eventually(lambda: self.since(since).acknowledged.get(tier, 0) >= writes, RECOVERY_SECONDS)

    @property
    def samples(self) -> list[RequestSample]:
        """Every answer so far."""
        return list(self.traffic.samples)

    def wait_for_more(self, writes: int, tier: str = "") -> None:
        """Waits until so many more writes are acknowledged."""
        wanted = self.acknowledged(tier) + writes
        eventually(lambda: self.acknowledged(tier) >= wanted, RECOVERY_SECONDS)

    def wait_until_redis_is_believed(self) -> None:
        """Waits until nobody asks PostgreSQL any more what Redis has been told by now."""
        eventually(self._is_believed, RECOVERY_SECONDS)
        # The leases follow within half a second.
        self.calm(1)

    def _is_believed(self) -> bool:
        with self.bed.services.tiers.job_engine.connect() as connection:
            return bool(connection.execute(_BELIEVED).scalar_one())

    def said(self, program: str) -> str:
        """What a program has logged since the load began."""
        return self.bed.log_of(program)[self._logged[program] :]

    def wait_until_said(self, program: str, words: str) -> None:
        """Waits until a program has logged something since the load began."""
        eventually(lambda: words in self.said(program), RECOVERY_SECONDS)


@contextmanager
def trial(bed: Testbed, folder: Path, load: Load, seed: int = SEED) -> Iterator[Trial]:
    """Runs load around the block, and afterwards fails with everything that is wrong."""
    episodes = Episodes(bed)
    with under_load(bed, folder, load, seed) as traffic:
        running = Trial(bed, traffic, episodes)
        running.calm()
        yield running
        running.calm()
    verdict = conclude(bed, traffic, episodes.past, lost=running.gone)
    _judge(running, verdict.violations)
    assert running.acknowledged() > 0


def _judge(running: Trial, violations: list[Violation]) -> None:
    others = [each for each in violations if each.evidence.get("id") not in running.gone]
    assert not others, "\n".join(map(str, others[:20]))
    named = {each.evidence["id"] for each in violations if each.invariant == Invariant.NO_LOSS}
    histories = running.traffic.account.histories()
    lost = {each.id for each in histories if each.must_be_seen and each.id in running.gone}
    assert named == lost

"""One row of the fault tests: load on a stack, something broken meanwhile, and the verdict."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selftest.disturbance import Disturbance, kind
from selftest.episodes import Episodes
from selftest.run import conclude, under_load
from selftest.samples import Figures, Sample, during, figures
from selftest.stack import Testbed
from selftest.traffic import Load, Traffic
from support.waiting import eventually

SEED = 7
CALM_SECONDS = 1.5
RECOVERY_SECONDS = 60


class Trial:
    """Load that runs. What is done to the stack is done through this."""

    def __init__(self, bed: Testbed, traffic: Traffic, episodes: Episodes) -> None:
        self.bed = bed
        self.traffic = traffic
        self.episodes = episodes
        self.fault_began = 0.0

    def calm(self, seconds: float = CALM_SECONDS) -> None:
        """Lets the load run for a while with nothing broken."""
        self.traffic.pause(seconds)

    @contextmanager
    def broken(self, disturbance: Disturbance | str) -> Iterator[None]:
        """Holds a disturbance on while the block runs; by name, see `selftest.disturbance`."""
        chosen = kind(disturbance) if isinstance(disturbance, str) else disturbance
        self.fault_began = time.monotonic()
        with self.episodes.during(chosen):
            yield

    def breaks(self, disturbance: Disturbance | str, seconds: float = 0.0) -> Figures:
        """Does it for so long; gives what became of the requests meanwhile."""
        with self.broken(disturbance):
            self.traffic.pause(seconds)
        return self.since(self.fault_began)

    def since(self, began: float) -> Figures:
        """What became of the requests since a moment of the monotonic clock."""
        return figures(during(self.samples, began, time.monotonic()))

    def now(self) -> float:
        """The moment, by the clock of samples."""
        return time.monotonic()

    def answered_after(self, began: float) -> Figures:
        """What became of the requests that began after a moment."""
        return figures(sample for sample in self.samples if sample.began >= began)

    def acknowledged(self) -> int:
        """How many writes were acknowledged so far."""
        return sum(sample.status == 200 and sample.verb != "read" for sample in self.samples)

    def wait_for_tier(self, tier: str, writes: int, since: float) -> None:
        """Waits until a tier has acknowledged so many writes since a moment."""
        eventually(lambda: self.since(since).acknowledged.get(tier, 0) >= writes, RECOVERY_SECONDS)

    @property
    def samples(self) -> list[Sample]:
        """Every answer so far."""
        return list(self.traffic.samples)

    def wait_for_more(self, writes: int) -> None:
        """Waits until so many more writes are acknowledged."""
        wanted = self.acknowledged() + writes
        eventually(lambda: self.acknowledged() >= wanted, RECOVERY_SECONDS)


@contextmanager
def trial(bed: Testbed, folder: Path, load: Load, seed: int = SEED) -> Iterator[Trial]:
    """Runs load around the block, and afterwards fails with everything that is wrong."""
    episodes = Episodes(bed)
    with under_load(bed, folder, load, seed) as traffic:
        running = Trial(bed, traffic, episodes)
        running.calm()
        yield running
        running.calm()
    violations = conclude(bed, traffic, episodes.past).violations
    assert not violations, "\n".join(map(str, violations[:20]))
    assert running.acknowledged() > 0

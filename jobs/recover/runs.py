"""A recovery: what was asked for, how far it is, and whether it is in time."""

import time
from typing import Literal

import msgspec

CLICKHOUSE: Literal["clickhouse"] = "clickhouse"
POSTGRESQL: Literal["postgresql"] = "postgresql"
Source = Literal["clickhouse", "postgresql"]
"""The tier that a recovery takes everything from."""

NOTICE = "disaster-recovery"
DEFAULT_TARGET_SECONDS = 300.0

State = Literal["requested", "running", "complete", "failed"]


class RecoveryRun(msgspec.Struct, kw_only=True, frozen=True):
    """One recovery. Times are seconds since 1970; `done` and `total` count what the stage is
    about."""

    id: str
    source: Source
    actor: str
    target_rto_seconds: float
    state: State = "requested"
    stage: str = "requested"
    done: int = 0
    total: int = 0
    asked_at: float = msgspec.field(default_factory=time.time)
    stage_at: float = 0.0
    told_at: float = 0.0
    finished_at: float | None = None
    counts: dict[str, int] = {}
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nobody is to go on with it."""
        return self.state in {"complete", "failed"}

    @property
    def recovery_complete(self) -> bool:
        """Whether everything is back."""
        return self.state == "complete"

    @property
    def recovery_tier(self) -> Source:
        """The tier that everything is taken from."""
        return self.source

    @property
    def progress(self) -> float:
        """The share of the stage that is done, 0 to 1."""
        if self.recovery_complete:
            return 1.0
        return round(min(1.0, self.done / self.total), 4) if self.total else 0.0

    @property
    def elapsed_seconds(self) -> float:
        """From the moment it was asked for until its end, or now."""
        end = self.finished_at if self.finished_at is not None else time.time()
        return max(0.0, round(end - self.asked_at, 3))

    @property
    def within_target(self) -> bool:
        """Whether it has taken no longer than it should."""
        return self.elapsed_seconds <= self.target_rto_seconds

    @property
    def eta_seconds(self) -> float | None:
        """How long the stage will take yet; None where that cannot be told."""
        if self.recovery_complete:
            return 0.0
        if self.state != "running" or not self.done or not self.total:
            return None
        spent = max(0.0, time.time() - self.stage_at)
        return round(spent / self.done * max(0, self.total - self.done), 3)


class RecoveryStatus(msgspec.Struct, kw_only=True, frozen=True):
    """How a recovery stands. `state` is `none`, `requested`, `running`, `complete` or `failed`;
    `progress` is the share of the stage, 0 to 1, and `eta_seconds` what is left of it."""

    recovery_complete: bool
    state: str
    progress: float = 0.0
    elapsed_seconds: float = 0.0
    eta_seconds: float | None = None
    target_rto_seconds: float | None = None
    within_target: bool | None = None
    id: str | None = None
    recovery_tier: str | None = None
    stage: str | None = None
    done: int = 0
    total: int = 0
    counts: dict[str, int] = {}
    error: str | None = None


def status_of(run: RecoveryRun | None) -> RecoveryStatus:
    """What a caller is told of the latest recovery, if there was any."""
    if run is None:
        return RecoveryStatus(recovery_complete=False, state="none")
    return msgspec.convert(run, RecoveryStatus, from_attributes=True)

"""Housekeeping by the clock."""

import time
from datetime import UTC, datetime

from celery import shared_task

from jobs.monitor.doctor import examine
from storage.postgres import idempotency
from storage.postgres.partitions import Partitions
from storage.states.postgres import forget_expired
from tasks.base import services


@shared_task(name="maintain.make_partitions")
def make_partitions() -> list[str]:
    """Makes the weekly partitions of the next weeks; gives the new names."""
    weeks = services().settings.partition_weeks_ahead
    return Partitions(services().tiers.job_engine).ensure_ahead(datetime.now(UTC), weeks)


@shared_task(name="maintain.forget_idempotency_keys")
def forget_idempotency_keys() -> int:
    """Drops expired idempotency keys; gives how many."""
    own = services()
    return idempotency.forget(own.tiers.job_engine, own.settings.idempotency_seconds)


@shared_task(name="maintain.forget_expired_states")
def forget_expired_states() -> int:
    """Drops expired and deleted states with their checkpoints; gives how many."""
    return forget_expired(services().tiers.job_engine)


@shared_task(name="maintain.look_after")
def look_after() -> list[str]:
    """Runs the doctor's checks, and logs new problems; gives those that need a person."""
    own = services()
    return [problem.line for problem in own.jobs.upkeep.report(examine(own.tiers))]


@shared_task(name="maintain.mend_lifetimes")
def mend_lifetimes() -> dict[str, int]:
    """Sets lifetimes on copies that would otherwise stay in Redis for ever."""
    return services().jobs.upkeep.restore_lifetimes()._asdict()


@shared_task(name="maintain.send_heads")
def send_heads() -> dict[str, int]:
    """Sends the ends of hash chains that grew to where they are kept as proof."""
    return {"sent": services().jobs.heads_webhook.send()}


@shared_task(name="threads.warm_lists")
def warm_lists() -> dict[str, int]:
    """Reads the first page of active users' threads where Redis has no valid copy of it."""
    return {"warmed": services().thread_cache_manager.warm_active()}


@shared_task(name="alerts.evaluate")
def evaluate() -> bool:
    """Evaluates the last window for when the processes' own threads are stuck, unless another
    process has; gives whether it did."""
    return services().performance.monitor.evaluate(time.time())

"""What is due by the clock."""

from datetime import UTC, datetime

from celery import shared_task

from storage import idempotency_keys
from storage.partitions import Partitions
from tasks.base import services


@shared_task(name="maintain.make_partitions")
def make_partitions() -> list[str]:
    """Makes the weekly partitions of the next weeks; gives the names that are new."""
    weeks = services().settings.partition_weeks_ahead
    return Partitions(services().job_engine).ensure_ahead(datetime.now(UTC), weeks)


@shared_task(name="maintain.forget_idempotency_keys")
def forget_idempotency_keys() -> int:
    """Drops keys that are older than they are remembered; gives how many."""
    own = services()
    return idempotency_keys.forget(own.job_engine, own.settings.idempotency_seconds)

"""What is due by the clock."""

from datetime import UTC, datetime

from celery import shared_task

from storage.partitions import Partitions
from tasks.base import services


@shared_task(name="maintain.make_partitions")
def make_partitions() -> list[str]:
    """Makes the weekly partitions of the next weeks; gives the names that are new."""
    weeks = services().settings.partition_weeks_ahead
    return Partitions(services().job_engine).ensure_ahead(datetime.now(UTC), weeks)

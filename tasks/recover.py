"""What was written beside a tier that was out is brought to it, as tasks."""

from celery import shared_task

from tasks.base import services


@shared_task(name="recover.backfill_redis")
def backfill_redis() -> dict[str, int]:
    """Tells Redis what PostgreSQL took in its place, and adopts one that was restarted."""
    return {"told": services().redis_recovery.reconcile()}


@shared_task(name="recover.replay")
def replay() -> dict[str, int]:
    """Brings to PostgreSQL what ClickHouse took in its place."""
    return {"brought": services().homecoming.replay()}

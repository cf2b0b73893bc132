"""Bringing a tier up to date, or rebuilding it, from another, as tasks."""

from celery import shared_task

from tasks.base import services


@shared_task(name="recover.backfill_redis")
def backfill_redis() -> dict[str, int]:
    """Backfills Redis with what PostgreSQL took in its place, and adopts a restarted Redis."""
    return {"told": services().failover.redis_recovery.reconcile()}


@shared_task(name="recover.replay")
def replay() -> dict[str, int]:
    """Replays to PostgreSQL what ClickHouse took in its place."""
    return {"brought": services().failover.handoff.replay()}


@shared_task(name="disaster.recover")
def recover() -> str | None:
    """Carries out a requested recovery that nobody is carrying out; gives the state it ended in,
    None without one."""
    run = services().jobs.disaster_recovery.go_on()
    return None if run is None else run.state

"""Draining the pending log to PostgreSQL, as tasks."""

from celery import shared_task

from tasks.base import services


@shared_task(name="persist.drain_shard")
def drain_shard(slot: int) -> dict[str, int]:
    """Drains all that one slot of the log holds."""
    drained = services().jobs.persistence.drain_all([slot])
    return {"slot": slot, "written": drained.written, "refused": drained.refused}


@shared_task(name="persist.sweep")
def sweep() -> dict[str, int]:
    """Drains all that the log holds."""
    drained = services().jobs.persistence.drain_backlog()
    return {"written": drained.written, "refused": drained.refused}

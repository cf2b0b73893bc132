"""Shipping PostgreSQL's outbox to ClickHouse, as a task."""

from celery import shared_task

from tasks.base import services


@shared_task(name="replicate.ship_outbox")
def ship_outbox() -> dict[str, int]:
    """Ships the rows of the outbox; gives counts."""
    shipped = services().jobs.replication.ship_all()
    return {"taken": shipped.taken, "shipped": shipped.shipped}

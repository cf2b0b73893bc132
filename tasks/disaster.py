"""Recoveries that were asked for, as a task."""

from celery import shared_task

from tasks.base import services


@shared_task(name="disaster.recover")
def recover() -> str | None:
    """Carries out what was asked for and nobody carries out; gives how it ended."""
    run = services().disaster_recovery.go_on()
    return None if run is None else run.state

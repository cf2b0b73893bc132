"""Is it well? As a task, for a worker whose own look stands still."""

import time

from celery import shared_task

from tasks.base import services


@shared_task(name="alerts.evaluate")
def evaluate() -> bool:
    """Judges the last window, unless somebody has; gives whether it did."""
    return services().performance.monitor.evaluate(time.time())

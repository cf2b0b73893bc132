"""The evaluation of alerts, as a task for when the processes' own threads are stuck."""

import time

from celery import shared_task

from tasks.base import services


@shared_task(name="alerts.evaluate")
def evaluate() -> bool:
    """Evaluates the last window, unless another process has; gives whether it did."""
    return services().performance.monitor.evaluate(time.time())

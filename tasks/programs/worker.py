"""What a worker loads and nobody else does: the tasks, and its steps beside Celery's own."""

from tasks import archive, consistency, erase, maintain, persist, recover, replicate
from tasks.poller import Poller
from tasks.programs.startup_check import Guard

TASKS = (archive, consistency, erase, maintain, persist, recover, replicate)
__all__ = ["TASKS", "Guard", "Poller"]

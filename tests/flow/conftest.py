"""What flow tests need beside the API: a look at what the worker was told."""

from collections.abc import Callable, Iterator

import pytest
from celery import Celery

from support.processes import Launched


@pytest.fixture(scope="session")
def drains_run(stack: Launched) -> Iterator[Callable[[], int]]:
    """How many drain tasks the worker has run because somebody told it to."""
    # The prefix of `tasks.celery_app`, whose own settings need an environment.
    watcher = Celery(broker=stack.env["CELERY_BROKER_URL"])
    watcher.conf.broker_transport_options = {"global_keyprefix": "celery:"}

    def count() -> int:
        stats = watcher.control.inspect(timeout=1).stats() or {}
        return sum(worker["total"].get("persist.drain_shard", 0) for worker in stats.values())

    yield count
    watcher.close()

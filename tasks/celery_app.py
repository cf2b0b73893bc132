"""The Celery application: `celery -A tasks.celery_app …`.

A task is a wake-up, never the record: Celery on Redis can lose one however it is set, and a lost
one costs a second. So tasks carry no content, keep no results, and may run twice at any moment.
Celery's time limits do not reach tasks in threads; each statement that a task makes has a deadline
of its own instead.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from celery import Celery, signals
from kombu import Exchange, Queue

import settings
from beat_schedule import SCHEDULE
from storage.resilience import faultpoints
from tasks import queues
from tasks.base import JobTask
from tasks.logs import configure
from tasks.poller import Poller
from tasks.startup_check import Guard, judged


def configuration() -> dict[str, Any]:
    """Celery's settings; read when the application is first used, not when it is imported."""
    own = settings.load()
    # Found wrong by the thread that looks at the log, they would leave a worker that does nothing.
    faultpoints.injections(own)
    return {
        "broker_url": own.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Whoever holds a connection may want one more for what it sends: with fewer of them than
        # threads, Flower's would wait for each other for ever. They are opened as they are needed.
        "broker_pool_limit": 64,
        "broker_transport_options": {
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "health_check_interval": 5,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "global_keyprefix": "celery:",
        },
        "visibility_timeout": 120,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_default_queue": queues.MAINTENANCE,
        "task_routes": queues.ROUTES,
        # As Celery would make them; named here, Flower knows them all and how long they are.
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in queues.ALL],
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_enable_prefetch_count_reduction": False,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": True,
        "beat_schedule": SCHEDULE,
        "beat_max_loop_interval": 5,
        "timezone": "UTC",
    }


class Configuration(Mapping[str, Any]):
    """`configuration()` when it is first looked into, and again if that failed.

    Celery calls a function given to it only once, and goes on without what it should have said.

    The programs of Celery look here before anything else. What is wrong ends them with one line and
    status 1; the others have read their settings before.
    """

    @cached_property
    def _values(self) -> dict[str, Any]:
        try:
            return configuration()
        except settings.SettingsError as error:
            sys.exit(f"threadkeep: {error}")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


app = Celery(
    "threadkeep",
    task_cls=JobTask,
    include=[
        "tasks.alerts",
        "tasks.archive",
        "tasks.consistency",
        "tasks.erase",
        "tasks.maintain",
        "tasks.persist",
        "tasks.recover",
        "tasks.replicate",
    ],
    set_as_current=True,
)
app.config_from_object(Configuration())
app.steps["worker"].update({Guard, Poller})
signals.beat_init.connect(judged, weak=False)


@signals.setup_logging.connect(weak=False)
def _configure_logs(loglevel: int | str | None = None, **_: Any) -> None:
    """Keeps Celery from configuring logging: worker and beat log as the web process does."""
    configure(loglevel if isinstance(loglevel, int) else logging.INFO)

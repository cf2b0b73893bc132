"""The Celery application: `celery -A tasks.celery_app …`.

A task is a wake-up, never the record: Celery on Redis may lose one in any configuration, which
costs a second. So tasks carry no content, keep no results, and may run twice at any moment.
Celery's time limits do not reach tasks in threads; each statement of a task has a deadline of its
own instead.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from celery import Celery, signals
from kombu import Exchange, Queue

import programs
import settings
from beat_schedule import SCHEDULE
from storage.resilience import faultpoints
from tasks import queues
from tasks.base import JobTask
from tasks.logs import configure


def configuration() -> dict[str, Any]:
    """Celery's settings; read when the application is first used, not when it is imported."""
    # Whoever sends tasks needs no more, be it beat or a process that reads more.
    own = programs.load("beat")
    # Checked here: a polling thread that failed on them would leave a worker that does nothing.
    faultpoints.injections(own)
    return {
        "broker_url": own.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A thread that holds one connection may need another to send: with fewer connections than
        # threads, Flower would deadlock. They are opened on demand.
        "broker_pool_limit": 64,
        "broker_transport_options": {
            "visibility_timeout": 120,
            "unacked_restore_interval": 30,
            "unacked_restore_throttle": 1,
            # No task has a priority: one list a queue, where there would be four to wait for.
            "priority_steps": [0],
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
        # As Celery would make them; named here, so that Flower shows all of them and their lengths.
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in queues.ALL],
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_enable_prefetch_count_reduction": False,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": True,
        "beat_schedule": SCHEDULE,
        "beat_max_loop_interval": 5,
        "beat_scheduler": "tasks.programs.scheduler:Scheduler",
        "timezone": "UTC",
    }


class Configuration(Mapping[str, Any]):
    """`configuration()`, called on first access, and again if that failed.

    Celery calls a function given to it only once, and continues without its result if it fails.

    Celery's programs read this before anything else. A wrong setting ends them with one line and
    status 1; the other programs have read their settings before.
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
    set_as_current=True,
)
app.config_from_object(Configuration())
# By name: a worker alone loads them, and with them the tasks. Others only send names.
app.steps["worker"].update({"tasks.programs.worker:Guard", "tasks.programs.worker:Poller"})


@signals.setup_logging.connect(weak=False)
def _configure_logs(loglevel: int | str | None = None, **_: Any) -> None:
    """Keeps Celery from configuring logging: worker and beat log as the web process does."""
    configure(loglevel if isinstance(loglevel, int) else logging.INFO)

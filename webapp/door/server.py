"""The web processes: `python -m webapp.door.server`, granian with a door of our own.

granian's WSGI mode holds a thread while a body comes in, and its other modes need an event loop,
which costs each message more than the rest of the server does. So its protocol for event loops
(RSGI) is used without a loop: the thread that receives something calls the door.
"""

import argparse
import gc
import threading
from functools import partial
from typing import Any

from flask import Flask
from granian import Granian
from granian._granian import CallbackScheduler, RSGIWorker
from granian._signals import set_sync_signals
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.mp import WorkerProcess

from webapp.door.door import DirectLoop, Door
from webapp.door.silent_connections import SilentConnections
from webapp.http.file_limit import raise_file_limit

CONNECTIONS = 4096
"""In each process, if it may open as many files: silent ones must not crowd out others."""
FILES_BESIDE = 512
SILENT_MILLISECONDS = 30_000
"""The longest wait for the headers of a request, since the connection or the last answer.
`webapp.door.silent_connections` closes some of them earlier."""
DOOR_THREADS = 2
"""Threads that take requests in and give them to others. Each more costs every message, since they
contend for the interpreter."""
KILL_SECONDS = 6


_Worker: Any = RSGIWorker
"""granian's type hints are those of an older version."""


class _Scheduler(CallbackScheduler):
    def __init__(self, loop: DirectLoop, door: Door, *_: None) -> None:
        """The base class takes five arguments."""
        super().__init__()
        self._schedule_fn = door


@WorkerProcess.wrap_target  # type: ignore[untyped-decorator]
def serve(
    worker_id: int,
    app: Flask,
    sock: Any,
    ipc: Any,
    loop: Any,
    runtime_mode: Any,
    runtime_threads: int,
    runtime_blocking_threads: int,
    turns: int,
    idle_seconds: int,
    connections: int,
    task_impl: Any,
    http: HTTPModes,
    http1: HTTP1Settings,
    http2: HTTP2Settings | None,
    websockets: bool,
    files: Any,
    access_log: str | None,
    ssl: tuple[Any, ...],
    scope_options: dict[str, Any],
    metrics: Any,
    *,
    port: int,
) -> None:
    """Runs one process, once its application is there."""
    ended = threading.Event()
    told_to_stop = set_sync_signals()  # type: ignore[no-untyped-call]
    told_to_stop.add_cb(ended.set)
    door, direct = Door(app, turns, SilentConnections(port, connections)), DirectLoop()
    worker = _Worker(
        worker_id,
        sock,
        ipc,
        runtime_threads,
        runtime_blocking_threads,
        DOOR_THREADS,
        idle_seconds,
        connections,
        http,
        http1,
        http2,
        websockets,
        files,
        *ssl,
        metrics,
    )
    door.begin()
    worker.serve_mtr(_Scheduler(direct, door, None, None, None), direct, told_to_stop)
    ended.wait()


def main() -> None:
    """Serves until told to stop."""
    options = _options()
    files = raise_file_limit()
    # The processes share this memory as long as no garbage collection touches it.
    gc.collect()
    gc.freeze()
    Granian(
        "webapp.wsgi:application",
        factory=True,
        address=options.host,
        port=options.port,
        # Selects granian's own checks of options; WSGI's fit best.
        interface=Interfaces.WSGI,
        workers=options.workers,
        blocking_threads=options.threads,
        backpressure=max(1, min(CONNECTIONS, files - FILES_BESIDE)),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=SILENT_MILLISECONDS),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=KILL_SECONDS,
        log_level=LogLevels.warning,
    ).serve(spawn_target=partial(serve, port=options.port))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=32, help="requests answered at once")
    return parser.parse_args()


if __name__ == "__main__":
    main()

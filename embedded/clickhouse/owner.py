"""The process that owns a chDB folder: ``python -m embedded.clickhouse.owner --path DIR``.

chDB allows one process for each folder, so that this one serves the others over HTTP.
"""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from embedded.clickhouse import code_pages, request
from embedded.clickhouse.engine import LIBRARY, ClickHouseError, Engine, Statement
from embedded.clickhouse.http import HttpServer
from embedded.clickhouse.server import KEY_VARIABLE
from embedded.supervision import privileges

FINISH_SECONDS = 2.0
SETTLED_SECONDS = 20.0


def main() -> None:
    """Serve until SIGTERM or SIGINT, or end with status 1 and the reason."""
    options = _options()
    password = os.environ.get(KEY_VARIABLE)
    if not password:
        sys.exit(f"ClickHouse does not start: {KEY_VARIABLE} is missing")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if options.uid is not None:
        _give_up_rights(options)
    try:
        engine = Engine(options.path)
        if options.database:
            name = options.database.replace("`", "")
            engine.run(Statement(f"CREATE DATABASE IF NOT EXISTS `{name}`".encode()))
        server = HttpServer((options.host, options.port), engine, password)
    except (ClickHouseError, OSError) as error:
        sys.exit(f"ClickHouse does not start: {error}")
    code_pages.give_back(LIBRARY)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # What came up meanwhile, migrations among it, is seldom needed again either.
    if not stop.wait(SETTLED_SECONDS):
        code_pages.give_back(LIBRARY)
        stop.wait()
    server.shutdown()
    server.server_close()
    _finish(engine)


def _give_up_rights(options: argparse.Namespace) -> None:
    """Become the account, after loading the code that it may not read."""
    request.load_decoders()
    os.chdir(options.path)
    privileges.become(options.uid, options.gid, signal.SIGKILL)


def _finish(engine: Engine) -> None:
    """Let running statements finish for a moment, then end.

    Acknowledged writes are on disk already; the client of any other sees the connection break and
    retries.
    """
    end = time.monotonic() + FINISH_SECONDS
    while engine.busy() and time.monotonic() < end:
        time.sleep(0.02)
    if engine.busy():
        # Python would wait for a statement that cannot be interrupted.
        os._exit(0)
    engine.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a chDB folder over ClickHouse's HTTP.")
    parser.add_argument("--path", type=Path, required=True, help="the folder, created if missing")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--database", default="", help="created at start if missing")
    parser.add_argument("--uid", type=int, help="the account to become, with its --gid")
    parser.add_argument("--gid", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()

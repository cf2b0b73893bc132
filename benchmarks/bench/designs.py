"""The designs that are compared, each on servers of its own kind over one stack's databases."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, create_engine, text

import settings
from benchmarks import costs, load
from benchmarks.peers import one_task, sqlalchemy_commit
from embedded.ports import free_port
from embedded.supervision import procfs
from selftest.bed.launching import Launched, StackFailed
from webapp.http.auth import Tokens

USERS = "bench-"
"""How the names of the clients' users begin."""
LANDED_SECONDS = 300
POLL_SECONDS = 0.05
GRANIAN = (
    "granian --interface wsgi --factory --host 127.0.0.1 --port {port} --workers 2"
    " --blocking-threads 64 --backpressure 512 --no-ws --log-level error {target}"
)
UVICORN = (
    "uvicorn --factory --host 127.0.0.1 --port {port} --workers 2 --loop uvloop --http httptools"
    " --log-level error --no-access-log {target}"
)
GUNICORN = (
    "gunicorn --bind 127.0.0.1:{port} --workers 2 --worker-class gthread"
    f" --threads {sqlalchemy_commit.THREADS} --keep-alive 60 --log-level error {{target}}()"
)
CELERY = (
    "celery -A benchmarks.peers.one_task:celery worker --concurrency 2 --loglevel error"
    " --queues one_task --without-gossip"
)

OURS = "threadkeep"
FASTAPI = "FastAPI + asyncpg"
FLASK = "Flask + SQLAlchemy"
ONE_TASK = "one Celery task per message"
EMPTY = "empty route, token checked"


class Design(NamedTuple):
    """A design under test."""

    name: str
    url: str
    programs: Callable[[], costs.Programs]
    """The processes that work for it at this moment."""
    landed: Callable[[], int] | None = None
    """How many of the clients' messages are committed, where that happens after the answer."""
    is_settled: Callable[[], bool] = lambda: True
    """Whether no copy is under way any more."""


class Bench:
    """A stack, and what measures it: a database engine, tokens, and the designs."""

    def __init__(self, stack: Launched, cleanup: ExitStack) -> None:
        """Peers are started when they are asked for, and stopped with `cleanup`."""
        os.environ.update(stack.env)
        own = settings.load()
        self.stack = stack
        # The peers have tables of their own, which only the owner of the schema makes.
        self.engine = create_engine(own.owner_url)
        self.tokens = Tokens(own)
        self._cleanup = cleanup

    def token(self, user_id: str) -> str:
        """A token that outlives the run."""
        return self.tokens.issue(user_id, is_admin=False, ttl_seconds=86_400)

    def ours(self) -> Design:
        """Threadkeep: all programs and servers of the stack."""
        return Design(
            OURS,
            self.stack.url,
            lambda: costs.everything(self.stack),
            lambda: self._count(
                f"SELECT coalesce(sum(message_count), 0) FROM threads WHERE user_id LIKE '{USERS}%'"
            ),
            lambda: not self._count("SELECT count(*) FROM clickhouse_outbox"),
        )

    def empty_route(self) -> Design:
        """The floor: the HTTP server of Threadkeep's Flask application around an empty route."""
        return self._served(EMPTY, GRANIAN, "empty_route")

    def peers(self) -> list[Design]:
        """The other designs, over the same PostgreSQL, Redis and broker."""
        one_task.Base.metadata.create_all(self.engine)
        sqlalchemy_commit.CommitBase.metadata.create_all(self.engine)
        return [
            self._served(FASTAPI, UVICORN, "asyncpg_commit", "postgres"),
            self._served(FLASK, GUNICORN, "sqlalchemy_commit", "postgres"),
            self._one_task(),
        ]

    def _one_task(self) -> Design:
        servers = ("postgres", "redis-data", "redis-broker")
        served = self._served(ONE_TASK, GRANIAN, "one_task", *servers)
        worker = self._cleanup.enter_context(process(CELERY))
        return served._replace(
            programs=lambda: {**served.programs(), "worker": procfs.session_members(worker)},
            landed=lambda: self._count("SELECT count(*) FROM one_task_messages"),
        )

    def _served(self, name: str, line: str, module: str, *servers: str) -> Design:
        port = free_port()
        target = f"benchmarks.peers.{module}:create_app"
        web = self._cleanup.enter_context(process(line.format(port=port, target=target)))
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: load.listens(url))
        members = self.stack.members
        return Design(
            name,
            url,
            lambda: {"web": procfs.session_members(web)} | {one: members(one) for one in servers},
        )

    def _count(self, query: str) -> int:
        return count(self.engine, query)


def count(engine: Engine, query: str) -> int:
    """The one number that a query gives."""
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


@contextmanager
def process(line: str, **variables: str) -> Iterator[int]:
    """Runs a script of this environment during the block, with these variables; gives the session
    that it leads."""
    scripts = Path(sys.executable).parent
    with subprocess.Popen(
        [str(scripts / word) if at == 0 else word for at, word in enumerate(line.split())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | variables,
        start_new_session=True,
    ) as program:
        try:
            yield program.pid
        finally:
            program.terminate()
            try:
                program.wait(timeout=10)
            except subprocess.TimeoutExpired:
                program.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for a condition. Raises `StackFailed` if it does not come true in time."""
    deadline = time.monotonic() + LANDED_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StackFailed("what was acknowledged did not land in time")
        time.sleep(POLL_SECONDS)

"""What the tests of the embedded servers share: a supervisor of their own, and clients."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import redis
import requests

from embedded.supervision import procfs
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
NAMED = {"REDIS_URL": "x", "DATABASE_URL": "x", "CLICKHOUSE_URL": "x"}
AWKWARD = [
    "line\u2028paragraph\u2029next\x85",
    "\r\n",
    "'single' \"double\" `back`",
    "back\\slash \\N \\n",
    "\ttab\t",
    "a;b\n\n;\nDROP TABLE notes;\n",
    "\N{GRINNING FACE} \N{FAMILY} \ud7ff\U0010ffff",
    "nul\0byte",
    "%(x)s %s :name {name:String} {}",
    "",
    "   ",
    "-- comment /*",
    "$tag$ text",
]

# A supervisor in a process of its own: prints its pids and URLs once, and serves until stopped.
DRIVER = """
import json, os, sys
from contextlib import suppress
from pathlib import Path
from embedded.errors import StackInterrupted
from embedded.stack import Stack
options = json.loads(sys.argv[1])
# Told to stop between its last word and its serving, it stops all the same, by this exception.
with suppress(StackInterrupted), Stack(Path(options["data"])) as stack:
    urls = stack.start_servers(options["environ"])
    stack.start_programs(options["programs"], lambda _: dict(os.environ))
    print(json.dumps({"urls": urls, "pids": stack.pids()}), flush=True)
    stack.run()
"""
# A web server whose workers outlive it, as real ones do, and which does not care for SIGTERM.
STUBBORN = "sh -c 'trap : TERM; sleep 1000 & setsid sleep 1000 & while true; do sleep 0.1; done'"
MINUTES_OF_COUNTING = (
    "SELECT sum(a * b::numeric) FROM generate_series(1, 100000) a, generate_series(1, 100000) b"
)
BUSY_BACKENDS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE query LIKE 'SELECT sum%' AND state = 'active' AND pid <> pg_backend_pid()"
)


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    eventually(condition, seconds)


@contextmanager
def driven(data: Path, environ: dict[str, str], **programs: str) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor as a process of its own; whatever a test does with it, it ends."""
    options = {"data": str(data), "environ": environ, "programs": programs}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with driver:
        try:
            yield driver
        finally:
            driver.kill()


def said(driver: subprocess.Popen[str]) -> tuple[dict[str, str], dict[str, int]]:
    assert driver.stdout is not None
    state = json.loads(driver.stdout.readline())
    return state["urls"], state["pids"]


def running_in(data: Path) -> list[str]:
    """Command lines of whatever still works for a stack."""
    lines = []
    for found in procfs.entries():
        try:
            command = (procfs.PROC / str(found.pid) / "cmdline").read_bytes()
        except OSError:
            continue
        marked = procfs.has_variable(found.pid, "EMBEDDED_STACK", str(data))
        at_home = procfs.current_folder(found.pid).startswith(str(data))
        if marked or at_home:
            lines.append(command.replace(b"\0", b" ").decode())
    return lines


def ask_postgres(url: str, statement: str) -> list[tuple[object, ...]]:
    link = psycopg2.connect(url.replace("+psycopg2", ""))
    link.autocommit = True
    with closing(link), link.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


class ClickHouse:
    """The HTTP interface with nothing between."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = f"http://{parts.hostname}:{parts.port}"
        self.password = parts.password or ""
        self.http = requests.Session()
        self.http.auth = ("default", self.password)

    def send(self, statement: str, data: bytes | None = None, **params: str) -> requests.Response:
        params = {"database": "threadkeep", **params}
        if data is None:
            return self.http.post(self.address, params=params, data=statement.encode())
        return self.http.post(self.address, params={**params, "query": statement}, data=data)

    def ask(self, statement: str, data: bytes | None = None, **params: str) -> str:
        reply = self.send(statement, data, **params)
        assert reply.status_code == 200, reply.text
        return reply.text


def answers(urls: dict[str, str]) -> bool:
    try:
        for variable in ("REDIS_URL", "CELERY_BROKER_URL"):
            with redis.Redis.from_url(urls[variable]) as client:
                client.ping()
        ask_postgres(urls["DATABASE_URL"], "SELECT 1")
        server = ClickHouse(urls["CLICKHOUSE_URL"])
        with closing(server.http):
            server.ask("SELECT 1")
    except (redis.RedisError, psycopg2.OperationalError, requests.RequestException):
        return False
    return True

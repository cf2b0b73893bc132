"""The embedded stack: real servers, killed, frozen and started again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clickhouse_connect
import psycopg2
import pytest
import redis
import requests
import sqlalchemy as sa
from clickhouse_sqlalchemy import engines, types
from clickhouse_sqlalchemy.exceptions import DatabaseException

from embedded import procfs
from embedded.errors import AlreadyRunning, StackError
from embedded.stack import Stack

# Python 3.12 and later warn of any fork beside other threads; here only the tests have threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

ROOT = Path(__file__).resolve().parents[2]
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
from pathlib import Path
from embedded.stack import Stack
options = json.loads(sys.argv[1])
with Stack(Path(options["data"])) as stack:
    urls = stack.start_servers(options["environ"])
    stack.start_programs(options["programs"], dict(os.environ))
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
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.05)


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
        at_home = procfs._link(found.pid, "cwd").startswith(str(data))
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
        self.address = url.replace("clickhouse+http://default:@", "http://").rsplit("/", 1)[0]
        self.http = requests.Session()

    def send(self, statement: str, data: bytes | None = None, **params: str) -> requests.Response:
        params = {"database": "threadkeep", **params}
        if data is None:
            return self.http.post(self.address, params=params, data=statement.encode())
        return self.http.post(self.address, params={**params, "query": statement}, data=data)

    def ask(self, statement: str, data: bytes | None = None, **params: str) -> str:
        reply = self.send(statement, data, **params)
        assert reply.status_code == 200, reply.text
        return reply.text


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack") / "data", max_memory="64mb") as stack:
        yield stack


@pytest.fixture(scope="module")
def urls(stack: Stack) -> dict[str, str]:
    return stack.start_servers({})


@pytest.fixture
def clickhouse(urls: dict[str, str]) -> Iterator[ClickHouse]:
    server = ClickHouse(urls["CLICKHOUSE_URL"])
    with closing(server.http):
        server.ask("DROP TABLE IF EXISTS notes SYNC")
        server.ask(
            "CREATE TABLE notes (id UInt64, at DateTime64(6, 'UTC') DEFAULT '2020-01-01',"
            " text String DEFAULT 'none') ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1"
        )
        yield server


def test_valkey_has_the_settings_each_promise_needs(urls: dict[str, str]) -> None:
    wanted = {
        "REDIS_URL": {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "maxmemory-policy": "volatile-lru",
            "maxmemory": str(64 * 1024 * 1024),
            "save": "",
            "bind": "127.0.0.1",
            "protected-mode": "yes",
        },
        "CELERY_BROKER_URL": {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        },
    }
    for variable, settings in wanted.items():
        with redis.Redis.from_url(urls[variable], decode_responses=True) as client:
            found = client.config_get(*settings)
        assert found == settings


def test_postgres_has_the_settings_each_promise_needs(urls: dict[str, str]) -> None:
    wanted = {
        "synchronous_commit": "on",
        "fsync": "on",
        "timezone": "UTC",
        "listen_addresses": "127.0.0.1",
        "server_encoding": "UTF8",
        "log_min_error_statement": "panic",
    }
    found = {name: ask_postgres(urls["DATABASE_URL"], f"SHOW {name}")[0][0] for name in wanted}
    assert found == wanted


def test_a_failed_statement_leaves_no_content_in_the_log(
    stack: Stack, urls: dict[str, str]
) -> None:
    ask_postgres(urls["DATABASE_URL"], "CREATE TABLE quiet (text TEXT CHECK (text = ''))")
    with pytest.raises(psycopg2.IntegrityError):
        ask_postgres(urls["DATABASE_URL"], "INSERT INTO quiet VALUES ('my secret words')")
    log = (stack._data / "logs" / "postgres.log").read_text()
    assert "quiet" in log
    assert "secret" not in log


def test_a_second_stack_on_the_same_data_refuses(stack: Stack, urls: dict[str, str]) -> None:
    with pytest.raises(AlreadyRunning) as refusal, Stack(stack._data):
        pass
    assert str(stack._data) in str(refusal.value)
    assert str(os.getpid()) in str(refusal.value)
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        assert client.ping()


@pytest.mark.parametrize("name", ["redis-data", "redis-broker", "postgres", "clickhouse"])
def test_a_killed_server_comes_back_with_its_data(
    stack: Stack, urls: dict[str, str], clickhouse: ClickHouse, name: str
) -> None:
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        client.set("kept", "yes")
    ask_postgres(urls["DATABASE_URL"], "CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS one")
    clickhouse.ask("INSERT INTO notes (id) VALUES (1)")
    before = stack.pids()
    os.kill(before[name], signal.SIGKILL)
    restarted: list[str] = []

    def is_back() -> bool:
        restarted.extend(stack.poll())
        return bool(restarted)

    wait_for(is_back)
    assert restarted == [name]
    wait_for(lambda: answers(urls))
    after = stack.pids()
    assert {other for other in before if before[other] != after[other]} == {name}
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        assert client.get("kept") == b"yes"
    assert ask_postgres(urls["DATABASE_URL"], "SELECT one FROM kept") == [(1,)]
    assert clickhouse.ask("SELECT count() FROM notes") == "1\n"


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


def test_postgres_restarts_although_a_busy_backend_outlives_the_postmaster(
    stack: Stack, urls: dict[str, str]
) -> None:
    def count_for_minutes() -> None:
        with pytest.raises(psycopg2.OperationalError):
            ask_postgres(urls["DATABASE_URL"], MINUTES_OF_COUNTING)

    busy = threading.Thread(target=count_for_minutes)
    busy.start()
    wait_for(lambda: ask_postgres(urls["DATABASE_URL"], BUSY_BACKENDS) == [(1,)])
    os.kill(stack.pids()["postgres"], signal.SIGKILL)
    wait_for(lambda: stack.poll() == ["postgres"])
    busy.join(timeout=10)
    assert not busy.is_alive()
    wait_for(lambda: answers(urls))
    assert not (stack._supervisor._slots["postgres"].due_at)


def test_servers_named_by_the_environment_are_not_started(tmp_path: Path) -> None:
    with Stack(tmp_path / "data") as stack:
        assert stack.start_servers(NAMED) == {}
        assert set(stack.pids()) == {"guardian"}
    with Stack(tmp_path / "data") as stack:
        environ = {"REDIS_URL": "", "DATABASE_URL": "x", "CLICKHOUSE_URL": "x"}
        started = stack.start_servers({**environ, "CELERY_BROKER_URL": "x"})
        assert set(started) == {"REDIS_URL"}


def test_addresses_stay_the_same_between_two_starts(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "x", "CLICKHOUSE_URL": "x"}
    started = []
    for _ in range(2):
        with Stack(tmp_path / "data") as stack:
            started.append(stack.start_servers(environ))
    assert started[0] == started[1]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    log_folder = tmp_path / "data" / "redis-data" / "appendonlydir"
    log_folder.mkdir(parents=True)
    (log_folder / "appendonly.aof.manifest").write_text("this is no manifest\n")
    environ = {**NAMED, "REDIS_URL": "", "CELERY_BROKER_URL": "x"}
    with (
        pytest.raises(StackError, match=r"(?s)redis-data ended.*manifest"),
        Stack(tmp_path / "data") as stack,
    ):
        stack.start_servers(environ)
    assert running_in(tmp_path / "data") == []


def test_killing_the_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with driven(data, {}, stubborn=STUBBORN) as driver:
        _, pids = said(driver)
        assert {"redis-data", "postgres", "clickhouse", "stubborn"} < set(pids)
        assert len(running_in(data)) > len(pids)
        driver.kill()
    wait_for(lambda: running_in(data) == [], seconds=6)


def test_the_next_start_ends_what_is_left_of_a_killed_stack(tmp_path: Path) -> None:
    data = tmp_path / "data"
    environ = {"CLICKHOUSE_URL": "x"}
    with driven(data, environ, stubborn=STUBBORN) as driver:
        urls, pids = said(driver)
        ask_postgres(urls["DATABASE_URL"], "CREATE TABLE kept AS SELECT 1 AS one")
        # A frozen postmaster hears no polite signal, and without its guardian nobody insists.
        os.kill(pids["postgres"], signal.SIGSTOP)
        os.kill(pids["guardian"], signal.SIGSTOP)
        driver.kill()
    assert procfs.entry(pids["postgres"]) is not None
    events: list[str] = []
    with Stack(data, on_event=events.append) as stack:
        assert stack.start_servers(environ)["DATABASE_URL"] == urls["DATABASE_URL"]
        assert ask_postgres(urls["DATABASE_URL"], "SELECT one FROM kept") == [(1,)]
    assert any("postgres" in event and "earlier" in event for event in events)
    assert running_in(data) == []


def test_sigterm_stops_everything_in_time_even_frozen_and_deaf_processes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with driven(data, {}, stubborn=STUBBORN) as driver:
        _, pids = said(driver)
        os.kill(pids["redis-data"], signal.SIGSTOP)
        os.kill(pids["postgres"], signal.SIGSTOP)
        begin = time.monotonic()
        driver.terminate()
        assert driver.wait(timeout=15) == 0
        assert time.monotonic() - begin < 10
    assert running_in(data) == []


@pytest.mark.parametrize("delay", [0.1, 0.4, 0.9])
def test_sigterm_during_the_start_leaves_nothing(tmp_path: Path, delay: float) -> None:
    data = tmp_path / "data"
    with driven(data, {}) as driver:
        wait_for((data / "lock").exists)
        time.sleep(delay)
        driver.terminate()
        driver.wait(timeout=15)
    assert running_in(data) == []
    with Stack(data) as stack:
        assert len(stack.start_servers({})) == 4


def test_a_program_that_dies_again_and_again_is_restarted_ever_slower(tmp_path: Path) -> None:
    events: list[str] = []
    with Stack(tmp_path / "data", on_event=events.append) as stack:
        stack.start_programs({"brief": "sh -c 'exit 3'"}, dict(os.environ))
        wait_for(lambda: bool(stack.poll()) and len(events) >= 6)
    ends = [event for event in events if event.startswith("brief ended")]
    assert ends[:3] == [
        "brief ended with status 3, restart in 0.2 s",
        "brief ended with status 3, restart in 0.4 s",
        "brief ended with status 3, restart in 0.8 s",
    ]


def rows_of(texts: list[str]) -> bytes:
    lines = (json.dumps({"id": n, "text": text}) for n, text in enumerate(texts))
    return "\n".join(lines).encode()


def texts_in(clickhouse: ClickHouse) -> list[str]:
    lines = clickhouse.ask("SELECT hex(text) FROM notes ORDER BY id FORMAT JSONEachRow")
    found = [json.loads(line)["hex(text)"] for line in lines.splitlines()]
    return [bytes.fromhex(text).decode() for text in found]


def escaped(text: str) -> str:
    for plain, code in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\0", "\\0")):
        text = text.replace(plain, code)
    return text.replace("\r", "\\r")


BODIES = {
    "JSONEachRow": rows_of(AWKWARD),
    "TabSeparated": "".join(f"{n}\t{escaped(t)}\n" for n, t in enumerate(AWKWARD)).encode(),
    "CSV": "".join(
        '{},"{}"\n'.format(n, t.replace('"', '""')) for n, t in enumerate(AWKWARD)
    ).encode(),
    "Values": ",".join(
        "({},'{}')".format(n, escaped(t).replace("'", "\\'")) for n, t in enumerate(AWKWARD)
    ).encode(),
}


@pytest.mark.parametrize("layout", [*BODIES, "Native", "RowBinary"])
@pytest.mark.parametrize("apart", [True, False], ids=["data_in_body", "all_in_body"])
def test_awkward_text_survives_byte_for_byte(
    clickhouse: ClickHouse, layout: str, apart: bool
) -> None:
    data = BODIES.get(layout, b"")
    if not data:
        clickhouse.ask("INSERT INTO notes (id, text) FORMAT JSONEachRow", rows_of(AWKWARD))
        select = f"SELECT id, text FROM notes ORDER BY id FORMAT {layout}"
        data = clickhouse.send(select).content
        clickhouse.ask("TRUNCATE TABLE notes")
    statement = f"INSERT INTO notes (id, text) FORMAT {layout}"
    if apart:
        clickhouse.ask(statement, data)
    else:
        reply = clickhouse.http.post(
            clickhouse.address,
            params={"database": "threadkeep"},
            data=statement.encode() + b"\n" + data,
        )
        assert reply.status_code == 200, reply.text
    assert texts_in(clickhouse) == AWKWARD
    assert clickhouse.ask("SELECT DISTINCT at FROM notes") == "2020-01-01 00:00:00.000000\n"


def test_microseconds_survive(clickhouse: ClickHouse) -> None:
    row = b'{"id": 1, "at": "2024-02-29 23:59:59.123457"}'
    clickhouse.ask("INSERT INTO notes FORMAT JSONEachRow", row)
    assert clickhouse.ask("SELECT at, text FROM notes") == "2024-02-29 23:59:59.123457\tnone\n"


def test_the_same_deduplication_token_leaves_one_copy(clickhouse: ClickHouse) -> None:
    insert = "INSERT INTO notes (id) FORMAT JSONEachRow"
    for identity, token in ((1, "a"), (2, "a"), (3, "b")):
        row = json.dumps({"id": identity}).encode()
        clickhouse.ask(insert, row, insert_deduplication_token=token)
    insert = "INSERT INTO notes (id) SETTINGS insert_deduplication_token = 'b' FORMAT TSV"
    clickhouse.ask(insert, b"4\n")
    assert clickhouse.ask("SELECT id FROM notes ORDER BY id") == "1\n3\n"


def test_a_batch_with_one_bad_row_inserts_none(clickhouse: ClickHouse) -> None:
    rows = b'{"id": 1}\n{"id": "no number"}\n'
    reply = clickhouse.send("INSERT INTO notes (id) FORMAT JSONEachRow", rows)
    assert reply.status_code == 400
    assert clickhouse.ask("SELECT count() FROM notes") == "0\n"


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT nothing FROM notes", 404, "47"),
        ("SELEC 1", 400, "62"),
        ("SELECT 1; DROP TABLE notes", 400, "62"),
        ("SELECT CAST('x' AS UInt8)", 400, "6"),
        ("CREATE TABLE notes (id UInt8) ENGINE = Memory", 500, "57"),
    ],
)
def test_errors_are_clickhouses_own(
    clickhouse: ClickHouse, statement: str, status: int, code: str
) -> None:
    reply = clickhouse.send(statement)
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (status, code)
    assert f"Code: {code}. DB::Exception: " in reply.text
    assert clickhouse.ask("SELECT count() FROM notes") == "0\n"


def test_settings_and_parameters_come_with_the_address(clickhouse: ClickHouse) -> None:
    ask = "SELECT getSetting('max_threads')"
    usual = clickhouse.ask(ask)
    assert clickhouse.ask(ask, max_threads="7") == "7\n"
    assert clickhouse.ask(ask) == usual
    assert clickhouse.ask("SELECT getSetting('async_insert')", async_insert="1") == "false\n"
    assert clickhouse.ask("SELECT {n:UInt8} + 1, {s:String}", param_n="4", param_s="a\\tb") == (
        "5\ta\\tb\n"
    )
    no_name = {"max_threads = 1, x": "1"}
    reply = clickhouse.http.post(clickhouse.address, params=no_name, data="SELECT 1")
    assert reply.status_code == 400
    assert clickhouse.send("SELECT 1", no_such_setting="1").status_code == 404
    assert clickhouse.send("SELECT 1", database="nowhere").status_code == 404


def test_a_get_only_reads_and_a_web_page_does_nothing(clickhouse: ClickHouse) -> None:
    drop = {"database": "threadkeep", "query": "DROP TABLE notes"}
    assert clickhouse.http.get(clickhouse.address, params=drop).status_code == 403
    foreign = {"Origin": "https://example.org"}
    reply = clickhouse.http.post(clickhouse.address, data="SELECT 1", headers=foreign)
    assert reply.status_code == 403
    assert clickhouse.ask("SELECT count() FROM notes") == "0\n"


def test_a_long_read_holds_up_nobody(clickhouse: ClickHouse) -> None:
    slow = "SELECT sleepEachRow(0.5) FROM numbers(4) SETTINGS max_block_size = 1"
    other = ClickHouse(f"{clickhouse.address}/threadkeep")
    reader = threading.Thread(target=clickhouse.ask, args=(slow,))
    reader.start()
    time.sleep(0.2)
    with closing(other.http):
        begin = time.monotonic()
        assert other.http.get(f"{other.address}/ping").text == "Ok.\n"
        other.ask("INSERT INTO notes (id) FORMAT TSV", b"1\n")
        assert other.ask("SELECT count() FROM notes") == "1\n"
        assert time.monotonic() - begin < 1
    assert reader.is_alive()
    reader.join()


def test_clickhouse_sqlalchemy_works_unchanged(urls: dict[str, str]) -> None:
    engine = sa.create_engine(urls["CLICKHOUSE_URL"])
    table = sa.Table(
        "mapped",
        sa.MetaData(),
        sa.Column("id", types.UInt64, primary_key=True),
        sa.Column("text", types.String),
        engines.ReplacingMergeTree(order_by="id"),
    )
    with engine.connect() as link:
        link.execute(sa.text("DROP TABLE IF EXISTS mapped"))
        table.create(link)
        rows = [{"id": number, "text": text} for number, text in enumerate(AWKWARD)]
        link.execute(table.insert(), rows)
        found = link.execute(sa.select(table.c.text).order_by(table.c.id)).scalars().all()
        assert found == AWKWARD
        with pytest.raises(DatabaseException, match="Code: 60"):
            link.execute(sa.text("SELECT * FROM nowhere"))
    engine.dispose()


@pytest.mark.parametrize("compress", [False, "gzip", "lz4", "zstd"])
def test_clickhouse_connect_works_unchanged(clickhouse: ClickHouse, compress: bool | str) -> None:
    host, port = clickhouse.address.removeprefix("http://").split(":")
    client = clickhouse_connect.get_client(
        host=host, port=int(port), database="threadkeep", compress=compress
    )
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        [number, begin + timedelta(microseconds=number), text]
        for number, text in enumerate(AWKWARD * 1000)
    ]
    client.insert("notes", rows, column_names=["id", "at", "text"])
    found = client.query("SELECT text FROM notes ORDER BY id").result_columns[0]
    assert list(found) == AWKWARD * 1000
    assert client.command("SELECT max(toUnixTimestamp64Micro(at)) % 1000000 FROM notes") == 12_999
    client.close()


def test_killed_under_load_it_loses_no_acknowledged_insert(
    stack: Stack, urls: dict[str, str], clickhouse: ClickHouse
) -> None:
    stopped = threading.Event()
    acknowledged: list[int] = []

    def write(first: int) -> None:
        server = ClickHouse(urls["CLICKHOUSE_URL"])
        with closing(server.http):
            for number in range(first, first + 1_000_000):
                if stopped.is_set():
                    return
                row = json.dumps({"id": number}).encode()
                try:
                    server.ask("INSERT INTO notes (id) FORMAT JSONEachRow", row)
                except requests.RequestException:
                    continue
                acknowledged.append(number)

    writers = [threading.Thread(target=write, args=(n * 1_000_000,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for _ in range(3):
        before = len(acknowledged)
        wait_for(lambda before=before: len(acknowledged) > before + 50)  # type: ignore[misc]
        os.kill(stack.pids()["clickhouse"], signal.SIGKILL)
        wait_for(lambda: "clickhouse" in stack.poll())
    stopped.set()
    for writer in writers:
        writer.join()
    wait_for(lambda: answers(urls))
    stored = [int(line) for line in clickhouse.ask("SELECT id FROM notes").split()]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))

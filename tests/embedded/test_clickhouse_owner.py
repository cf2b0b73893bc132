"""The HTTP owner of chDB, as clients of ClickHouse see it."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clickhouse_connect
import pytest
import requests
import sqlalchemy as sa
from clickhouse_sqlalchemy import engines, types
from clickhouse_sqlalchemy.exceptions import DatabaseException

from embedded.stack import Stack
from support.stack.embedded_stack import (
    AWKWARD,
    ROOT,
    ClickHouse,
    answers,
    wait_for,
)

# Python 3.12 and later warn of any fork beside other threads; here only the tests have threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


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


def test_a_long_read_holds_up_nobody(clickhouse: ClickHouse, urls: dict[str, str]) -> None:
    slow = "SELECT sleepEachRow(0.5) FROM numbers(10) SETTINGS max_block_size = 1"
    other = ClickHouse(urls["CLICKHOUSE_URL"])
    reader = threading.Thread(target=clickhouse.ask, args=(slow,))
    reader.start()
    with closing(other.http):
        running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleepEachRow%'"
        wait_for(lambda: other.ask(running) == "1\n")
        assert other.http.get(f"{other.address}/ping").text == "Ok.\n"
        other.ask("INSERT INTO notes (id) FORMAT TSV", b"1\n")
        assert other.ask("SELECT count() FROM notes") == "1\n"
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
        host=host,
        port=int(port),
        password=clickhouse.password,
        database="threadkeep",
        compress=compress,
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
        wait_for(lambda before=before: len(acknowledged) > before + 50, 60)  # type: ignore[misc]
        os.kill(stack.pids()["clickhouse"], signal.SIGKILL)
        wait_for(lambda: "clickhouse" in stack.poll(), 60)
    stopped.set()
    for writer in writers:
        writer.join()
    wait_for(lambda: answers(urls))
    stored = [int(line) for line in clickhouse.ask("SELECT id FROM notes").split()]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


# With its rights a process may give up those to read its own code.
BINDING = """
import sys
from pathlib import Path
from embedded.clickhouse import owner, request
request.load_decoders()
loaded = set(sys.modules)
engine = owner.Engine(Path(sys.argv[1]))
owner.HttpServer(("127.0.0.1", 0), engine, "password").server_close()
engine.close()
print(*set(sys.modules) - loaded)
"""


def test_to_open_a_port_it_loads_no_more_code(tmp_path: Path) -> None:
    command = (sys.executable, "-c", BINDING, str(tmp_path / "data"))
    assert subprocess.check_output(command, cwd=ROOT, text=True) == "\n"

"""What no statement to the embedded ClickHouse does, whoever sends it."""

from collections.abc import Iterator

import pytest

from support.stack.embedded_stack import ClickHouse
from support.stack.processes import Launched

# Python 3.12 and later warn of any fork beside other threads; here only the tests have threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

REFUSED = {
    "a file": "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "a file in quotes": "SELECT * FROM `file`('/etc/passwd', 'LineAsString')",
    "a file in other quotes": "SELECT * FROM \"file\" /* a */ ('/etc/passwd', 'LineAsString')",
    "a file with an escape": "SELECT * FROM `f\\x69le`('/etc/passwd', 'LineAsString')",
    "a file after a line's comment": "SELECT 1 // '\n FROM file('/etc/passwd', 'LineAsString') --'",
    "a file between dollars": "SELECT a$b$ FROM file('/etc/passwd', 'LineAsString') AS t$b$",
    "a file after another space": "SELECT * FROM file\u00a0('/etc/passwd', 'LineAsString')",
    "a file as a value": "SELECT file('/etc/passwd')",
    "a file applied": "SELECT * APPLY file FROM (SELECT '/etc/passwd')",
    "a file applied in brackets": "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
    "a file below": "SELECT (SELECT count() FROM file('/etc/passwd', 'LineAsString'))",
    "a file beside": "WITH a AS (SELECT * FROM file('/etc/passwd')) SELECT * FROM a",
    "a file by its name": "SELECT * FROM default.`/etc/passwd`",
    "a file in rows": "SELECT * FROM format(Values, 's String', '(file(\\'/etc/passwd\\'))')",
    "a file inserted": "INSERT INTO doors VALUES (file('/etc/passwd'))",
    "a file selected": "INSERT INTO doors SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "a file written": "INSERT INTO FUNCTION file('doors.txt', 'LineAsString') VALUES ('a')",
    "a file as rows": "INSERT INTO doors FROM INFILE '/etc/passwd' FORMAT LineAsString",
    "a file for the answer": "SELECT 1 INTO OUTFILE 'doors.txt'",
    "a file as a template": (
        "SELECT 1 FORMAT Template SETTINGS format_template_row = '/etc/passwd'"
    ),
    "an address": "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "a bucket": "SELECT * FROM s3('http://127.0.0.1:1/a', 'LineAsString')",
    "another server": "SELECT * FROM remote('127.0.0.1:1', 'system.one')",
    "another database": "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "a program": "SELECT * FROM executable('id', 'LineAsString', 's String')",
    "Python": "SELECT * FROM Python(secret)",
    "a text as a statement": "SELECT * FROM eval('SELECT 1')",
    "a table on a file": "CREATE TABLE reaching (s String) ENGINE = File(LineAsString)",
    "a table on an address": "CREATE TABLE reaching (s String) ENGINE URL('http://127.0.0.1:1/')",
    "a table in quotes": "CREATE TABLE reaching (s String) ENGINE = `File`(LineAsString)",
    "a table from a function": "CREATE TABLE reaching AS url('http://127.0.0.1:1/', 'TSV')",
    "a disk": "CREATE TABLE reaching (n Int8) ENGINE = MergeTree ORDER BY n SETTINGS disk = 'a'",
    "a database of files": "CREATE DATABASE reaching ENGINE = Filesystem('/')",
    "a dictionary": "CREATE DICTIONARY reaching (n UInt8) PRIMARY KEY n SOURCE(FILE(path 'a'))",
    "a function": "CREATE FUNCTION reaching AS (x) -> x",
    "a user": "CREATE USER reaching",
    "a folder": "ATTACH TABLE reaching FROM '/etc' (s String) ENGINE = Memory",
    "a backup": "BACKUP TABLE doors TO File('/tmp/doors-backup')",
    "a restore": "RESTORE TABLE doors FROM File('/tmp/doors-backup')",
    "the system": "SYSTEM SHUTDOWN",
    "a setting": "SET dialect = 'prql'",
    "a file as an argument": "SELECT arrayMap(file, ['/etc/passwd'])",
    "a file as an argument in quotes": "SELECT arrayMap(`file`, ['/etc/passwd'])",
    "a file behind nested comments": "SELECT * FROM /* /* */ ' */ file('/etc/passwd') --'",
    "a file behind a comment": "SELECT 1 -- a\n, file('/etc/passwd')",
    "a comment of another kind": "SELECT 1 # a",
    "a file in a structure": (
        "SELECT y FROM values('x String, y String ALIAS file(\\'/etc/passwd\\')', ('a'))"
    ),
    "a file in a random structure": (
        "SELECT y FROM generateRandom('x UInt8, y String ALIAS file(\\'/etc/passwd\\')') LIMIT 1"
    ),
    "a file in a schema": (
        "SELECT structureToCapnProtoSchema('a UInt8 DEFAULT"
        " CAST(file(\\'/etc/passwd\\') AS UInt8)')"
    ),
    "a file in a setting": (
        "SELECT * FROM system.one SETTINGS max_threads = 1, select = 'file(\\'/etc/passwd\\')'"
    ),
    "a file in a setting after a number": ("SELECT 1. SETTINGS order = 'file(\\'/etc/passwd\\')'"),
    "a second statement after rows": (
        "INSERT INTO doors (SELECT 'a'); CREATE DATABASE reaching ENGINE = Filesystem"
    ),
    "a second statement beside": (
        "DROP TABLE IF EXISTS nothing PARALLEL WITH CREATE DATABASE reaching ENGINE = Filesystem"
    ),
    "a database with an engine": "CREATE DATABASE reaching ENGINE = Atomic",
    "the end of a database": "DROP DATABASE default",
    "the end of a quoted database": "DROP DATABASE IF EXISTS `default`;",
    "another name of a database": "RENAME DATABASE default TO other",
    "a database away": "DETACH DATABASE threadkeep",
    "a table of the system": "DROP TABLE system.one",
    "a table of the schema": "DROP TABLE information_schema.columns",
    "all tables of the system": "TRUNCATE ALL TABLES FROM system",
    "a table in the system": "CREATE TABLE `system`.doors (n UInt8) ENGINE = Memory",
    "a file in a setting behind a dot in quotes": (
        "SELECT 1 AS `.` SETTINGS format_template_row = '/etc/passwd' FORMAT Template"
    ),
    "a file in a filter behind a dot in quotes": (
        'SELECT 1 AS x, 2 AS "." SETTINGS'
        " additional_result_filter = 'throwIf(1, file(''/etc/passwd''))'"
    ),
    "a mark as a name": "SELECT 1 AS `;`",
    "a second statement behind a quoted format": (
        "INSERT INTO doors FORMAT `TSV`\nselect\n\nCREATE DATABASE reaching"
    ),
    "a second statement behind a table called table": (
        "INSERT INTO threadkeep.table FORMAT TSV\nselect\n\nCREATE DATABASE reaching"
    ),
    "a second statement behind rows of a query": (
        "INSERT INTO doors SELECT s FROM threadkeep.table FORMAT TSV\na\n\nCREATE DATABASE reaching"
    ),
    "a second statement behind a name before": (
        "WITH a AS (SELECT 1) INSERT INTO threadkeep.table FORMAT TSV\na\n\nDROP TABLE doors"
    ),
    "a file behind a quote that is none": (
        "INSERT INTO doors VALUES ([\"', '], file('/etc/passwd')),([\"', '], 'x')"
    ),
}


@pytest.fixture(scope="module")
def clickhouse_of(running: Launched) -> Iterator[ClickHouse]:
    server = ClickHouse(running.env["CLICKHOUSE_URL"])
    server.ask("CREATE TABLE doors (s String) ENGINE = Memory")
    yield server
    server.ask("DROP TABLE doors")
    server.http.close()


@pytest.mark.parametrize("what", REFUSED)
def test_clickhouse_reaches_nothing_for_those_it_knows(
    clickhouse_of: ClickHouse, what: str
) -> None:
    reply = clickhouse_of.send(REFUSED[what])
    assert reply.status_code in {400, 403, 404, 501}, reply.text
    # Refused for what it is, or because there is no such table: not by what it would reach.
    assert reply.headers["X-ClickHouse-Exception-Code"] in {"497", "62", "60", "48"}
    assert "root:" not in reply.text
    assert clickhouse_of.ask("SELECT count() FROM doors") == "0\n"


def test_a_name_in_two_pieces_is_read_as_one(clickhouse_of: ClickHouse) -> None:
    reply = clickhouse_of.send("INSERT INTO doors VALUES (fi", b"le('/etc/passwd'))")
    assert reply.headers["X-ClickHouse-Exception-Code"] == "497"
    assert clickhouse_of.ask("SELECT count() FROM doors") == "0\n"


@pytest.mark.parametrize("database", ["system", "INFORMATION_SCHEMA"])
def test_nothing_is_done_to_the_servers_own_tables_by_a_short_name(
    clickhouse_of: ClickHouse, database: str
) -> None:
    reply = clickhouse_of.send("DROP TABLE tables", database=database)
    assert reply.headers["X-ClickHouse-Exception-Code"] == "497"


def test_rows_may_say_anything(clickhouse_of: ClickHouse) -> None:
    try:
        clickhouse_of.ask("INSERT INTO doors (s) FORMAT TSV\nselect\n\nDROP TABLE doors\n")
        clickhouse_of.ask("INSERT INTO doors SELECT s FROM doors")
        assert clickhouse_of.ask("SELECT count() FROM doors WHERE s = 'DROP TABLE doors'") == "2\n"
    finally:
        clickhouse_of.ask("TRUNCATE TABLE doors")


def test_no_parameter_is_a_name(clickhouse_of: ClickHouse) -> None:
    asked = "SELECT arrayMap({f:Identifier}, ['/etc/passwd'])"
    reply = clickhouse_of.send(asked, param_f="file")
    assert reply.headers["X-ClickHouse-Exception-Code"] == "497"


@pytest.mark.parametrize(
    "setting",
    [
        *("dialect", "additional_table_filters", "format_template_row", "format_schema"),
        *("readonly", "select", "order", "no_such_setting"),
    ],
)
def test_no_setting_of_the_address_opens_a_door(clickhouse_of: ClickHouse, setting: str) -> None:
    reply = clickhouse_of.send("SELECT 1", **{setting: "1"})
    assert reply.headers["X-ClickHouse-Exception-Code"] == "497"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO doors SELECT 'a'",
        "WITH a AS (SELECT 'a' AS s) INSERT INTO doors SELECT s FROM a",
        "DROP TABLE doors",
        "EXPLAIN INSERT INTO doors SELECT 'a'",
    ],
)
def test_clickhouse_writes_by_post_alone(clickhouse_of: ClickHouse, statement: str) -> None:
    query = {"database": "threadkeep", "query": statement}
    for call in (clickhouse_of.http.get, clickhouse_of.http.head):
        reply = call(clickhouse_of.address, params=query)
        assert reply.headers["X-ClickHouse-Exception-Code"] == "164"
    assert clickhouse_of.ask("SELECT count() FROM doors") == "0\n"

"""One stack of servers without programs, which comes back from whatever a test does to it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from embedded.stack import Stack
from support.stack.embedded_stack import ClickHouse
from support.stack.processes import Launched, launched


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack") / "data", max_memory="64mb") as stack:
        yield stack


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A whole stack with its programs: nobody stops or changes any part of it."""
    with launched(tmp_path_factory.mktemp("doors")) as stack:
        yield stack

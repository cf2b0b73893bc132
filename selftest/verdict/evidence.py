"""What is stored at the end: every message of a run in each tier and through the API."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Engine, func, select

from models import codec, ids, tables
from models.clickhouse_tables import messages as archive
from models.hot_page import HotPage
from models.message import Message
from selftest.load.readers import ReadPage
from selftest.record.account import OK, Account, MessageHistory
from selftest.record.client import RecordingClient
from storage.clickhouse.driver import translated as clickhouse_translated
from storage.clickhouse.rows import COLUMNS, NEWEST, message_of
from storage.postgres.driver import message_of as committed_message_of
from storage.postgres.driver import translated as postgres_translated
from storage.redis import keys
from storage.redis.driver import translated as redis_translated
from wiring.process import Services

PAGE_MESSAGES = 200
LOOKING_THREADS = 4
CHUNK_IDS = 500
INDEXED_AT_MOST = 1_000_000

ThreadName = tuple[str, str]
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Evidence:
    """Everything the checker needs; threads are named (user id, thread id).

    `by_id` is the API's answer for each acknowledged id (None: 404) and `lists` its list of each
    thread, newest first, both after every tier answered again. `committed` are the rows of
    PostgreSQL, `archived` the newest live versions in ClickHouse, `hot` the records in Redis and
    `corrupt` the ids of unreadable ones. `counts` are PostgreSQL's numbers of live messages by
    thread. `unanswered` are requests that got neither a 200 nor a 404.
    """

    account: Account
    by_id: dict[str, Message | None] = field(default_factory=dict)
    lists: dict[ThreadName, list[Message]] = field(default_factory=dict)
    committed: list[Message] = field(default_factory=list)
    archived: list[Message] = field(default_factory=list)
    hot: dict[str, Message] = field(default_factory=dict)
    hot_pages: dict[ThreadName, HotPage] = field(default_factory=dict)
    counts: dict[ThreadName, int] = field(default_factory=dict)
    pending: int = 0
    outbox: int = 0
    dead_letters: int = 0
    corrupt: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


def gather(
    services: Services, account: Account, connect: Callable[[str], RecordingClient]
) -> Evidence:
    """Read every tier. Nothing may be written meanwhile.

    Raises:
        TierError: A tier does not answer.
    """
    evidence = Evidence(account)
    users = sorted({user_id for user_id, _ in account.threads()})
    evidence.committed = committed(services.tiers.job_engine, users)
    evidence.archived = archived(services, users)
    evidence.counts = _counts(services.tiers.job_engine, users)
    evidence.pending = sum(services.tiers.pending_log.backlog())
    evidence.outbox = count(services.tiers.job_engine, tables.clickhouse_outbox)
    evidence.dead_letters = count(services.tiers.job_engine, tables.dead_letters)
    for name in account.threads():
        evidence.hot_pages[name] = services.tiers.redis.page(
            *name, ids.LOWEST, ids.HIGHEST, "asc", INDEXED_AT_MOST
        )
    _look_into_redis(services, evidence)
    # The API comes last: reading a page warms Redis.
    with ThreadPoolExecutor(LOOKING_THREADS) as pool:
        list(pool.map(lambda user_id: _ask_api(evidence, user_id, connect), users))
    return evidence


def committed(engine: Engine, users: Sequence[str]) -> list[Message]:
    """Return every row of these users in PostgreSQL, tombstones included."""
    query = select(tables.messages).where(tables.messages.c.user_id.in_(users))
    with postgres_translated(), engine.connect() as connection:
        return [committed_message_of(row) for row in connection.execute(query)]


def archived(services: Services, users: Sequence[str]) -> list[Message]:
    """Return every live message of these users in ClickHouse, its newest version."""
    query = select(*COLUMNS).where(archive.c.user_id.in_(users)).suffix_with(NEWEST)
    with clickhouse_translated(), services.tiers.job_clickhouse.engine.connect() as connection:
        return [message_of(row) for row in connection.execute(query)]


def count(engine: Engine, table: Any) -> int:
    """Return how many rows a table of PostgreSQL has."""
    with postgres_translated(), engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _counts(engine: Engine, users: Sequence[str]) -> dict[ThreadName, int]:
    table = tables.threads
    query = select(table.c.user_id, table.c.id, table.c.message_count)
    with postgres_translated(), engine.connect() as connection:
        rows = connection.execute(query.where(table.c.user_id.in_(users))).all()
    return {(row.user_id, row.id): row.message_count for row in rows}


def _look_into_redis(services: Services, evidence: Evidence) -> None:
    wanted = {history.id for history in evidence.account.histories() if history.ids}
    wanted |= {message.id for message in evidence.committed}
    names = sorted(wanted)
    for start in range(0, len(names), CHUNK_IDS):
        chunk = names[start : start + CHUNK_IDS]
        with redis_translated():
            found: Any = services.tiers.redis_client.mget(
                [keys.message(services.tiers.redis.slot_of_message(name), name) for name in chunk]
            )
        for name, record in zip(chunk, found, strict=True):
            if record is not None:
                _keep(evidence, name, record)


def _keep(evidence: Evidence, name: str, record: bytes) -> None:
    try:
        evidence.hot[name] = codec.decode(record)
    except codec.Corrupt:
        evidence.corrupt.append(name)


def _ask_api(evidence: Evidence, user_id: str, connect: Callable[[str], RecordingClient]) -> None:
    client = connect(user_id)
    try:
        for name in evidence.account.threads():
            if name[0] == user_id:
                evidence.lists[name] = _walk(evidence, client, name[1])
        for history in _acknowledged(evidence.account, user_id):
            for message_id in history.ids:
                path = f"/api/messages/{message_id}"
                answer = client.call("GET", path)
                if answer.status == OK:
                    evidence.by_id[message_id] = msgspec.json.decode(answer.body, type=Message)
                else:
                    evidence.by_id[message_id] = None
                    if answer.status != 404:
                        evidence.unanswered.append(f"{path}: {answer.outcome} {answer.status}")
    finally:
        client.close()


def _walk(evidence: Evidence, client: RecordingClient, thread_id: str) -> list[Message]:
    """The whole thread, page by page, newest first."""
    found: list[Message] = []
    cursor = ""
    while True:
        path = f"/api/threads/{thread_id}/messages?limit={PAGE_MESSAGES}{cursor}"
        answer = client.call("GET", path)
        if answer.status != OK:
            if answer.status != 404:
                evidence.unanswered.append(f"{path}: {answer.outcome} {answer.status}")
            return found
        page = msgspec.json.decode(answer.body, type=ReadPage)
        found += page.messages
        if page.next_cursor is None or cursor == f"&cursor={page.next_cursor}":
            return found
        cursor = f"&cursor={page.next_cursor}"


def _acknowledged(account: Account, user_id: str) -> list[MessageHistory]:
    return [each for each in account.histories() if each.ids and each.user_id == user_id]

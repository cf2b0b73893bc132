"""Loads conversations, live or as history, and times how they reach each tier."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import text

from benchmarks.demo.live_clients import Clients, Posted, Said
from jobs.transfer.bulk_import import BulkImporter
from jobs.transfer.formats import chitchat
from webapp.cli.data.importing import Refusals
from webapp.cli.progress import progress_bar
from wiring.process import Services

LANDING_SECONDS = 120.0
LOOK_SECONDS = 0.02
_COUNT = "SELECT count(*) FROM messages"


class Landed(NamedTuple):
    """How fast a part reached a tier, and how many seconds after its end it was complete there;
    None if not within two minutes."""

    per_second: float
    lag_seconds: float | None


class CarriedPart(NamedTuple):
    """One part of the conversations, and how it reached the tiers."""

    conversations: int
    messages: int
    seconds: float
    postgres: Landed
    clickhouse: Landed


def post_live(
    services: Services, clients: Clients, live: Mapping[str, Any]
) -> tuple[Posted, CarriedPart]:
    """Posts conversations over HTTP, and waits until they are in both tiers below."""
    said = [_said(name, conversation) for name, conversation in live.items()]
    started = time.monotonic()
    with progress_bar("posting", sum(map(len, said))) as bar:
        posted = clients.post(said, on_message=lambda: bar.advance(bar.task_ids[0]))
    count = len(posted.latencies_ms)
    landed = _wait(services, 0, count, started, posted.ended)
    return posted, CarriedPart(len(live), count, posted.ended - started, *landed)


def import_rest(services: Services, rest: Mapping[str, Any], before: int) -> CarriedPart:
    """Imports conversations at their original times, and waits until they are in ClickHouse.

    `before` is how many messages the store holds already.
    """
    refusals = Refusals()
    written = 0
    started = time.monotonic()
    with progress_bar("importing", chitchat.count(rest)) as bar:
        importer = BulkImporter(services.tiers)
        for step in importer.run(refusals.sieve(chitchat.source(rest))):
            written = step.written
            bar.update(bar.task_ids[0], completed=step.read)
    ended = time.monotonic()
    refusals.show()
    landed = _wait(services, before, written, started, ended)
    return CarriedPart(len(rest), written, ended - started, *landed)


def _said(name: str, conversation: Any) -> list[Said]:
    return [
        Said(one["sender"], name, one["text"]) for turn in conversation["messages"] for one in turn
    ]


def _wait(
    services: Services, before: int, count: int, started: float, ended: float
) -> tuple[Landed, Landed]:
    """Polls both tiers until each is complete, PostgreSQL first: ClickHouse is filled from it."""
    counts = (
        lambda: _postgres_count(services),
        lambda: _clickhouse_count(services),
    )
    deadline = ended + LANDING_SECONDS
    postgres, clickhouse = (
        _landed(count_rows, before + count, count, started, ended, deadline)
        for count_rows in counts
    )
    return postgres, clickhouse


def _landed(
    count_rows: Callable[[], int],
    target: int,
    count: int,
    started: float,
    ended: float,
    deadline: float,
) -> Landed:
    while count_rows() < target:
        if time.monotonic() > deadline:
            return Landed(0.0, None)
        time.sleep(LOOK_SECONDS)
    there = time.monotonic()
    return Landed(count / (there - started), there - ended)


def _postgres_count(services: Services) -> int:
    with services.tiers.job_engine.connect() as connection:
        return int(connection.execute(text(_COUNT)).scalar_one())


def _clickhouse_count(services: Services) -> int:
    with services.tiers.job_clickhouse.engine.connect() as connection:
        return int(connection.exec_driver_sql(_COUNT).scalar_one())

"""Beat dead, and beat thrice: it repeats what others do, and a job done twice has one effect."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import text

from selftest.bed.stack import Testbed
from storage.postgres import partitions
from support.data.pending import age_seconds
from support.faults.trial import Trial
from support.stack.clickhouse_requests import clickhouse_post
from support.stack.programs import program
from support.waiting import eventually
from tasks import queues

Loaded = Callable[..., AbstractContextManager[Trial]]

BROKER_PREFIX = "celery:"
BEATS = 3
LAST_WEEK_AHEAD = 4
"""As many weeks as are made ahead by default."""


@pytest.mark.extensive
def test_f09_beat_is_dead_for_the_whole_run(bed: Testbed, load: Loaded) -> None:
    """Dead from before the first write until everything was compared."""
    frozen = bed.freeze("beat")
    try:
        with load() as trial:
            trial.calm(6)
            assert age_seconds(bed.services) < 2
    finally:
        bed.thaw(frozen)


@pytest.mark.extensive
def test_f10_three_beats_send_everything_thrice(bed: Testbed, load: Loaded, tmp_path: Path) -> None:
    """The partitions of a week, due once an hour only, are asked for as three beats would."""
    ahead = partitions.monday_of(datetime.now(UTC)) + partitions.WEEK * LAST_WEEK_AHEAD
    run(bed, f"DROP TABLE IF EXISTS {partitions.name(ahead)}")
    with load() as trial, ExitStack() as running:
        for at in range(BEATS - 1):
            folder = tmp_path / f"beat-{at}"
            folder.mkdir()
            running.enter_context(program("beat", bed.env, folder))
        for _ in range(2):
            # Every task of the three waits, and then they come all at once.
            with trial.broken("worker frozen"):
                eventually(lambda: len(senders_of_sweeps(bed)) == BEATS, 20)
                ask_for_partitions(bed)
            trial.wait_for_more(50)
        eventually(lambda: run(bed, f"SELECT to_regclass('{partitions.name(ahead)}')")[0], 10)
    assert shipped_twice(bed, trial) == ""


def run(bed: Testbed, statement: str) -> list[Any]:
    """The first column of what a statement gives."""
    with bed.services.tiers.migrate_engine.begin() as connection:
        result = connection.execute(text(statement))
        return list(result.scalars()) if result.returns_rows else []


def senders_of_sweeps(bed: Testbed) -> set[str]:
    """The processes whose sweeps wait in the broker."""
    with Redis.from_url(bed.direct_env["CELERY_BROKER_URL"]) as broker:
        waiting: Any = broker.lrange(f"{BROKER_PREFIX}{queues.PERSIST}", 0, -1)
    headers = [json.loads(each)["headers"] for each in waiting]
    return {each["origin"] for each in headers if each["task"] == "persist.sweep"}


def ask_for_partitions(bed: Testbed) -> None:
    with Celery(broker=bed.direct_env["CELERY_BROKER_URL"], set_as_current=False) as app:
        app.conf.broker_transport_options = {"global_keyprefix": BROKER_PREFIX}
        for _ in range(BEATS):
            app.send_task("maintain.make_partitions", queue=queues.MAINTENANCE)


def shipped_twice(bed: Testbed, trial: Trial) -> str:
    """The versions that ClickHouse was given more than once."""
    return clickhouse_post(
        bed.services.tiers.job_clickhouse,
        "SELECT id, version, count() FROM messages WHERE startsWith(user_id, {run:String})"
        " GROUP BY id, version HAVING count() > 1",
        settings={"param_run": trial.traffic.name},
    )

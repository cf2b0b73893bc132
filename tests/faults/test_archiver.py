"""The archiver killed, cut off and lied to, while others write, edit and delete.

In the end every old message is read as it was before, or as it was changed since.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import text

from models import codec, ids
from selftest.bed.stack import Testbed
from support.data.archives import lose_from_clickhouse
from support.data.old_messages import OldMessages, archive, archiving, struck_at
from support.faults.trial import Trial
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]

LOCKS = text(
    "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
    " AND relation IN (SELECT oid FROM pg_class WHERE relname LIKE 'messages%')"
)
GIVES_UP = {
    "THREADKEEP_CLICKHOUSE_JOB_TIMEOUT_SECONDS": "2",
    "THREADKEEP_SHIP_TIMEOUT_SECONDS": "2",
}


@pytest.fixture
def bed(bed: Testbed) -> Iterator[Testbed]:
    """The shared stack. Afterwards nothing of it is archived, as the other rows expect."""
    yield bed
    with bed.services.tiers.job_engine.begin() as connection:
        connection.execute(text(f"UPDATE archive_boundary SET below = '{ids.LOWEST}'"))


def dies_and_is_gone_on_from(bed: Testbed, load: Loaded, point: str) -> None:
    with load():
        old = OldMessages(bed, weeks=3)
        before = old.exported()
        # So that there is something to ship again.
        lose_from_clickhouse(bed.services, *old.messages[10:20])
        died = archive(bed, **struck_at(point))
        assert died.returncode == -signal.SIGKILL, died.stderr
        if point != "archive.after_plan":
            assert old.exported() == before
        done = archive(bed)
        assert done.returncode == 0, done.stderr
        assert old.in_postgres() == 0
        assert old.exported() == before
        assert old.states() == {"dropped"}


def test_f39_the_archiver_is_killed_after_the_detachment(bed: Testbed, load: Loaded) -> None:
    dies_and_is_gone_on_from(bed, load, "archive.after_detach")


@pytest.mark.extensive
@pytest.mark.parametrize(
    "point",
    [
        "after_plan",
        "after_reship",
        "after_proof",
        "before_detach_commit",
        "before_drop",
        "after_drop",
    ],
)
def test_f39_the_archiver_is_killed_at_every_other_step(
    bed: Testbed, load: Loaded, point: str
) -> None:
    dies_and_is_gone_on_from(bed, load, f"archive.{point}")


@pytest.mark.extensive
def test_f40_clickhouse_takes_what_is_shipped_again_and_its_reply_is_lost(
    bed: Testbed, load: Loaded
) -> None:
    with load():
        old = OldMessages(bed, weeks=2)
        before = old.exported()
        lose_from_clickhouse(bed.services, *old.messages[:50])
        proxy = bed.proxies["clickhouse"]
        dropped = proxy.dropped
        # The token of what an archiver ships.
        proxy.drop_reply_matching(b"insert_deduplication_token=archive")
        cut = archive(bed)
        assert cut.returncode == 1
        assert "clickhouse" in cut.stderr
        assert proxy.dropped == dropped + 1
        assert old.in_postgres() == len(old.messages)
        done = archive(bed)
        assert done.returncode == 0, done.stderr
        assert old.in_postgres() == 0
        assert old.exported() == before


@pytest.mark.extensive
def test_f41_clickhouse_loses_rows_after_the_proof(bed: Testbed, load: Loaded) -> None:
    """The proof right before the drop finds it, and the detached table mends it."""
    with load():
        old = OldMessages(bed, weeks=2)
        before = old.exported()
        assert archive(bed, "--grace", "1h").returncode == 0
        assert old.in_postgres() == 0
        lose_from_clickhouse(bed.services, *old.messages[::3])
        assert len(old.exported()) < len(before)
        done = archive(bed)
        assert done.returncode == 0, done.stderr
        assert f"{len(old.messages[::3])} messages shipped to ClickHouse again" in done.stdout
        assert old.exported() == before
        assert old.states() == {"dropped"}


@pytest.mark.extensive
def test_f42_messages_are_edited_and_deleted_while_they_are_archived(
    bed: Testbed, load: Loaded
) -> None:
    with load():
        old = OldMessages(bed, weeks=12)
        with old.being_changed() as changed:
            eventually(lambda: changed, 20)
            for point in ("after_proof", "after_detach", "before_drop"):
                done = archive(bed, **struck_at(f"archive.{point}", "sleep=1"))
                assert done.returncode == 0, done.stderr
            eventually(lambda: len(changed) > 40, 20)
        old.settle()
        for _ in range(2):
            found = {one.id: one for one in map(codec.decode, old.exported())}
            for one in old.messages:
                now = changed.get(one.id, one.content)
                assert (found[one.id].content if one.id in found else None) == now
            assert archive(bed).returncode == 0
        assert old.in_postgres() == 0


@pytest.mark.extensive
def test_f38_clickhouse_is_frozen_during_an_archive(bed: Testbed, load: Loaded) -> None:
    """PostgreSQL keeps the rows, nobody waits for a lock, and the next run goes on."""
    with load() as trial:
        old = OldMessages(bed, weeks=3)
        before = old.exported()
        strike = struck_at("archive.after_plan", "sleep=1.5")
        with archiving(bed, **strike, **GIVES_UP) as archiver:
            eventually(lambda: "planned" in old.states())
            with trial.broken("clickhouse frozen"):
                began = time.monotonic()
                while archiver.poll() is None:
                    with bed.services.tiers.job_engine.connect() as connection:
                        assert connection.execute(LOCKS).scalar_one() == 0
                    trial.calm(0.1)
                    assert time.monotonic() < began + 30
                assert archiver.returncode == 1
                meanwhile = trial.since(trial.fault_began)
                assert meanwhile.unavailable == 0
            assert old.in_postgres() == len(old.messages)
        done = archive(bed)
        assert done.returncode == 0, done.stderr
        assert old.in_postgres() == 0
        assert old.exported() == before

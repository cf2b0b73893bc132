"""PostgreSQL answers, and refuses: full, crowded, locked, deadlocked, without a partition."""

import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from models import codec, ids
from selftest.bed.stack import Testbed
from selftest.faults.disturbance import Disturbance, End
from storage.postgres import partitions, writes
from storage.postgres.engines import APPLICATION_NAME
from support.calls.clients import api_of
from support.data.pending import committed, entries
from support.data.quickness import stays_quick
from support.data.samples import append_of, message, revised
from support.data.users import fresh_user
from support.faults.trial import Trial
from support.stack.superuser import administrator, command
from support.waiting import eventually

Loaded = Callable[..., AbstractContextManager[Trial]]

HELD_SECONDS = 5.0
ANSWER_SECONDS = 5.0
CROSSINGS = 30
DEADLOCKS = 3
OLD_US = 1_000_000_000_000_000
"""September 2001, of which nobody has a message."""

pytestmark = pytest.mark.extensive


def lasting(name: str, begin: Callable[[Testbed], End]) -> Disturbance:
    return Disturbance(f"postgres {name}", "postgres", name, (0.0, 0.0), begin)


def holding(name: str, hold: Callable[[Testbed], AbstractContextManager[object]]) -> Disturbance:
    """A disturbance that lasts as long as a context does."""

    def begin(bed: Testbed) -> End:
        held = ExitStack()
        held.enter_context(hold(bed))
        return held.close

    return lasting(name, begin)


def waiting(bed: Testbed) -> set[str]:
    return {entry.entry_id for entry in entries(bed.services)}


def goes_on_without_postgresql(trial: Trial, reason: str) -> None:
    """Every write is acknowledged by Redis meanwhile, and what waits is no dead letter; the worker
    says why it waits."""
    trial.calm(HELD_SECONDS)
    held = waiting(trial.bed)
    assert len(held) > 50
    assert trial.since(trial.fault_began).acknowledged.keys() == {"redis"}
    assert trial.since(trial.fault_began).unavailable == 0
    stays_quick(trial, "create")
    assert reason in trial.bed.log_of("worker")
    assert command(trial.bed, "SELECT count(*) FROM dead_letters") == [(0,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_f29_its_disk_is_full(bed: Testbed, load: Loaded, tmp_path: Path) -> None:
    """The messages lie on a disk of their own, which others have filled."""
    disk = tmp_path / "disk"
    with load() as trial, small_disk(bed, disk):
        trial.wait_for_more(50)
        with trial.broken(holding("full", lambda bed: filled(disk))):
            goes_on_without_postgresql(trial, "No space left on device")
        eventually(lambda: not waiting(bed), 20)


@contextmanager
def small_disk(bed: Testbed, disk: Path) -> Iterator[None]:
    """Moves the partition of this week to a disk of its own, and back."""
    table = partitions.name(partitions.monday_of(datetime.now(UTC)))
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    try:
        owner = Path(f"/proc/{bed.pids()['postgres']}").stat()
        folder = disk / "tablespace"
        folder.mkdir(mode=0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
        open_way(disk)
        command(bed, f"CREATE TABLESPACE small LOCATION '{folder}'")
        command(bed, f"ALTER TABLE {table} SET TABLESPACE small")
        try:
            yield
        finally:
            command(bed, f"ALTER TABLE {table} SET TABLESPACE pg_default", "DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def open_way(folder: Path) -> None:
    """Lets the server's own account walk down to a folder of the test."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o011)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Takes all the space that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


def test_f30_it_has_too_many_connections(bed: Testbed, load: Loaded) -> None:
    """Others hold every connection, those of the programs included; as many as they are given."""
    with load() as trial:
        with trial.broken(holding("crowded", crowded)):
            goes_on_without_postgresql(trial, "remaining connection slots are reserved")
        eventually(lambda: not waiting(bed), 20)


@contextmanager
def crowded(bed: Testbed) -> Iterator[None]:
    url = make_url(bed.direct_env["DATABASE_URL"]).set(drivername="postgresql")
    held: list[psycopg2.extensions.connection] = []
    with administrator(bed) as cursor:
        while True:
            with suppress(psycopg2.OperationalError):
                while True:
                    held.append(psycopg2.connect(url.render_as_string(hide_password=False)))
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s LIMIT 5",
                (APPLICATION_NAME,),
            )
            if not cursor.fetchall():
                break
    try:
        yield
    finally:
        for link in held:
            link.close()


def test_f31_its_table_is_locked(bed: Testbed, load: Loaded) -> None:
    """Five seconds instead of thirty."""
    unknown = ids.mint(OLD_US, 0)
    with load() as trial:
        with trial.broken(holding("locked", locked)):
            began = trial.now()
            # Nobody but PostgreSQL could tell whether there is such a message.
            assert api_of(bed).get(f"/api/messages/{unknown}").status_code == 503
            assert trial.now() - began < ANSWER_SECONDS
            goes_on_without_postgresql(trial, "lock timeout")
        eventually(lambda: not waiting(bed), 20)


@contextmanager
def locked(bed: Testbed) -> Iterator[None]:
    with administrator(bed) as cursor:
        cursor.connection.autocommit = False
        # It waits for those that read, and whoever comes meanwhile waits for it.
        cursor.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        yield
        cursor.connection.rollback()


def test_f32_its_transactions_deadlock(bed: Testbed, load: Loaded) -> None:
    """Batches that cross do not, because each is sorted; those that PostgreSQL calls deadlocked
    are written again."""
    cross(bed)
    with load() as trial:
        with deadlocks(bed):
            eventually(lambda: command(bed, "SELECT last_value FROM deadlocks")[0][0] > DEADLOCKS)
        assert "a drill's deadlock" in bed.log_of("worker")
        trial.wait_for_more(20)


def cross(bed: Testbed) -> None:
    """Writes the same messages of the same threads from two sides, each in an order of its own."""
    user = fresh_user()
    errors: list[Exception] = []

    def write(seed: int) -> None:
        drawn = random.Random(seed)
        for version in range(2, CROSSINGS):
            made = [codec.encode(revised(one, version=version)) for one in batch]
            drawn.shuffle(made)
            try:
                with bed.services.tiers.job_engine.begin() as connection:
                    writes.upsert_messages(connection, made)
            except Exception as error:
                errors.append(error)

    batch = [message(user, f"thread-{at % 20}") for at in range(200)]
    sides = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for side in sides:
        side.start()
    for side in sides:
        side.join()
    assert not errors, errors[0]


@contextmanager
def deadlocks(bed: Testbed) -> Iterator[None]:
    """Has the first statements that write messages end as those that were in a deadlock."""
    function = f"""
        CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            IF nextval('deadlocks') <= {DEADLOCKS} THEN
                RAISE EXCEPTION 'a drill''s deadlock' USING ERRCODE = '40P01';
            END IF;
            RETURN NULL;
        END $$"""
    trigger = (
        "CREATE TRIGGER deadlock AFTER INSERT ON messages"
        " FOR EACH STATEMENT EXECUTE FUNCTION deadlock()"
    )
    command(bed, "CREATE SEQUENCE deadlocks", function, trigger)
    try:
        yield
    finally:
        command(bed, "DROP FUNCTION deadlock CASCADE", "DROP SEQUENCE deadlocks")


def test_f33_a_partition_is_missing(bed: Testbed, load: Loaded) -> None:
    """That of this week goes, with its rows in the default one, and a worker that starts does not
    get another; messages of a week that has none get one."""
    table = partitions.name(partitions.monday_of(datetime.now(UTC)))
    old = message(fresh_user(), time_us=OLD_US)
    week = partitions.name(partitions.monday_of(datetime.fromtimestamp(OLD_US / 1e6, UTC)))
    with load() as trial:
        command(
            bed,
            "SET lock_timeout = '5s'",
            f"BEGIN; ALTER TABLE messages DETACH PARTITION {table};"
            f" INSERT INTO messages SELECT * FROM {table}; DROP TABLE {table}; COMMIT",
        )
        trial.wait_for_more(30)
        trial.breaks("worker killed")
        bed.services.tiers.redis.append([append_of(old)], 60)
        eventually(lambda: old.id in committed(bed.services, [old.id]), 20)
        assert command(bed, f"SELECT count(*) FROM {week}") == [(1,)]
        trial.wait_for_more(30)
        held = waiting(bed)
        eventually(lambda: not held & waiting(bed), 20)
        assert command(bed, "SELECT count(*) > 0 FROM messages_default") == [(True,)]

"""An archiver among others: other archivers, writers who hold what it needs, and wrong clocks."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import event, text

from jobs.archive import default_partition, detachment, fence, run
from jobs.archive.fence import only_archiver
from models import codec, ids
from models.message import Message
from storage.errors import Refused, TierUnavailable
from storage.postgres import writes
from storage.postgres.driver import rows_of
from support.data.archives import (
    PARTITION,
    archive,
    archive_request,
    boundary,
    execute,
    exported,
    in_postgres,
    old,
    scalar,
    unit,
    write,
)
from support.data.samples import message, revised
from support.patience import wait_for_locks
from wiring.process import Services


@pytest.fixture
def week(store: Services, user: str) -> list[Message]:
    made = [old(user, day=number / 10, content=f"message {number}") for number in range(20)]
    write(store, made)
    return made


@contextmanager
def at_point(
    monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]
) -> Iterator[None]:
    """Does something the first time that the archiver passes a point."""
    left = [act]
    others = run.faultpoint

    def passed(point: str) -> None:
        if point == name and left:
            left.pop()()
        else:
            others(point)

    with monkeypatch.context() as patch:
        for module in (run, detachment):
            patch.setattr(module, "faultpoint", passed)
        yield
    assert not left, f"{name} was never passed"


def test_one_archiver_at_a_time(store: Services, week: list[Message]) -> None:
    with only_archiver(store.tiers.job_engine):
        with pytest.raises(Refused, match="another archiver is at work"):
            archive(store)
        assert in_postgres(store) == len(week)
        assert scalar(store, "SELECT count(*) FROM archive_units") == 0
    assert archive(store).dropped == 1


@pytest.mark.parametrize(
    "point", ["archive.after_plan", "archive.after_proof", "archive.before_drop"]
)
def test_one_that_was_overtaken_changes_nothing_any_more(
    store: Services, week: list[Message], monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Its lock is gone with its connection, and it has not noticed."""
    states: list[object] = []

    def overtake() -> None:
        execute(store, "UPDATE archive_fence SET attempt = attempt + 1")
        states.append((unit(store)["state"], boundary(store), in_postgres(store)))

    with (
        at_point(monkeypatch, point, overtake),
        pytest.raises(Refused, match="another archiver has taken over"),
    ):
        archive(store)
    assert states == [(unit(store)["state"], boundary(store), in_postgres(store))]
    assert archive(store).dropped == 1


def test_one_whose_lock_went_with_its_connection_stops(
    store: Services, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    # Nobody ends the connections of another login.
    ends = partial(rows_of, store.tiers.job_engine, cut)
    with (
        at_point(monkeypatch, "archive.after_plan", ends),
        pytest.raises(TierUnavailable),
    ):
        archive(store)
    assert in_postgres(store) == len(week)
    assert archive(store).dropped == 1


def test_a_writer_who_holds_the_partition_only_delays_it(
    store: Services, user: str, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it cannot have its lock, others write as ever."""
    waited = threading.Event()
    monkeypatch.setattr(detachment, "sleep", lambda seconds: waited.set())
    monkeypatch.setattr(detachment, "ATTEMPTS", 4)
    with store.tiers.job_engine.connect() as writer:
        writer.execute(text(f"LOCK TABLE {PARTITION} IN ROW EXCLUSIVE MODE"))
        writer.execute(text("SELECT 1 FROM messages LIMIT 1"))
        done: list[object] = []
        archiver = threading.Thread(target=lambda: done.append(archive(store)))
        archiver.start()
        assert waited.wait(10)
        write(store, [message(user)], ship=False)
        archiver.join(30)
        assert done[0].waiting == 1  # type: ignore[attr-defined]
        assert unit(store)["state"] == "proven"
        assert boundary(store) == ids.LOWEST
        writer.rollback()
    assert archive(store).dropped == 1
    assert in_postgres(store) == 1


def test_an_archiver_that_freezes_in_the_middle_holds_nobody_up(
    store: Services, user: str, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends its transaction, and everything is as it was."""
    for name in ("_BRIEFLY", "_BRIEFLY_AS_A_WHOLE"):
        # Long enough to look at what it holds meanwhile.
        longer = re.sub(r"[245][05]0ms", "2s", str(getattr(detachment, name)))
        monkeypatch.setattr(detachment, name, text(longer))

    def freeze() -> None:
        frozen = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
        assert scalar(store, f"{frozen} AND relation = CAST('{PARTITION}' AS regclass)") == 1
        # Whoever writes has the patience here, so that the archiver is the one who gives way.
        event.listen(store.tiers.job_engine, "begin", wait_for_locks)
        try:
            write(store, [message(user)], ship=False)
        finally:
            event.remove(store.tiers.job_engine, "begin", wait_for_locks)

    with (
        at_point(monkeypatch, "archive.before_detach_commit", freeze),
        pytest.raises(TierUnavailable),
    ):
        archive(store)
    assert in_postgres(store) == len(week) + 1
    assert (unit(store)["state"], boundary(store)) == ("proven", ids.LOWEST)
    assert archive(store).dropped == 1
    assert in_postgres(store) == 1


def edit(store: Services, *versions: Message) -> None:
    """As the persist job does; ClickHouse does not have it yet."""
    with store.tiers.job_engine.begin() as connection:
        records = [codec.encode(one) for one in versions]
        assert writes.upsert_messages(connection, records) == len(versions)


def test_what_is_edited_between_proof_and_detachment_stays_and_wins(
    store: Services, user: str, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [revised(week[2]), revised(week[3], deleted=True)]
    there = []

    def check() -> None:
        there.append((in_postgres(store), scalar(store, "SELECT count(*) FROM clickhouse_outbox")))
        there.append(codec.decode(exported(store)[2]).version)

    with (
        at_point(monkeypatch, "archive.after_proof", lambda: edit(store, *changed)),
        at_point(monkeypatch, "archive.after_detach", check),
    ):
        done = archive(store, grace=3600)
    # Both were rows of `messages` again, waiting to be shipped, and went as leftovers then.
    assert there == [(2, 2), 2]
    assert (done.detached, done.leftovers) == (1, 2)
    (entry,) = store.jobs.audit.entries(action="archive.detach", limit=1)
    assert entry.counts["kept"] == 2
    shown = {one.id: one for one in map(codec.decode, exported(store))}
    assert shown[week[2].id].version == 2
    assert week[3].id not in shown
    before = exported(store)
    done = archive(store)
    assert (done.dropped, done.stopped) == (1, 0)
    assert in_postgres(store) == 0
    assert exported(store) == before


@pytest.mark.parametrize(
    "point", ["archive.after_detach", "archive.before_drop", "archive.after_drop"]
)
def test_what_is_edited_after_the_detachment_wins(
    store: Services, user: str, week: list[Message], monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    changed = [revised(week[2]), revised(week[3], deleted=True)]
    with at_point(monkeypatch, point, lambda: edit(store, *changed)):
        archive(store)
    for _ in range(2):
        shown = {one.id: one for one in map(codec.decode, exported(store))}
        assert shown[week[2].id].version == 2
        assert week[3].id not in shown
        archive(store)
    assert in_postgres(store) == 0


def test_a_leftover_that_is_edited_meanwhile_stays(
    store: Services, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(store)
    edit(store, revised(week[2]), revised(week[5]))

    def passed(point: str) -> None:
        if point == "archive.before_drop":
            edit(store, revised(week[2], version=3))

    with monkeypatch.context() as patch:
        patch.setattr(default_partition, "faultpoint", passed)
        assert archive(store).leftovers == 1
    assert in_postgres(store) == 1
    shown = {one.id: one for one in map(codec.decode, exported(store))}
    assert (shown[week[2].id].version, shown[week[5].id].version) == (3, 2)


def test_a_machine_whose_clock_is_wrong_archives_nothing(
    store: Services, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Ahead":
            return cls.fromtimestamp(datetime.now(UTC).timestamp() + 3600, UTC)

    monkeypatch.setattr(fence, "datetime", Ahead)
    with pytest.raises(Refused, match="clock is -3600 s from this machine's"):
        archive(store)
    assert in_postgres(store) == len(week)


def test_all_messages_at_once_look_like_a_clock_that_jumped(
    store: Services, week: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FEW_BYTES", 10_000)
    with pytest.raises(Refused, match="looks like a clock that jumped"):
        archive(store, most_share=0.1)
    assert scalar(store, "SELECT count(*) FROM archive_units") == 0
    assert archive(store, most_share=1.0).dropped == 1


def test_a_run_that_is_given_up_in_the_middle_frees_the_lock(
    store: Services, week: list[Message]
) -> None:
    steps = store.jobs.archive.archive_partitions(archive_request())
    next(steps)
    steps.close()
    assert archive(store).dropped == 1
    assert exported(store)


def test_a_detached_table_that_somebody_attached_again_is_a_partition_as_any(
    store: Services, week: list[Message]
) -> None:
    before = exported(store)
    archive(store, grace=3600)
    found = unit(store)
    bounds = f"FROM ('{found['low']}') TO ('{found['high']}')"
    execute(store, f"ALTER TABLE messages ATTACH PARTITION {PARTITION} FOR VALUES {bounds}")
    assert in_postgres(store) == len(week)
    # Detached anew, and in a grace that begins anew.
    assert archive(store, grace=3600).detached == 1
    again = unit(store)
    assert (again["id"] > found["id"], again["state"]) == (True, "detached")
    assert archive(store).dropped == 1
    assert exported(store) == before


def test_a_table_that_is_attached_again_at_the_last_moment_is_not_dropped(
    store: Services, week: list[Message], user: str
) -> None:
    following = "messages_2020_01_06"
    write(store, [old(user, day=8)])
    archive(store, grace=3600)
    found = unit(store, following)
    bounds = f"FROM ('{found['low']}') TO ('{found['high']}')"
    steps = store.jobs.archive.archive_partitions(archive_request())
    next(steps)
    execute(store, f"ALTER TABLE messages ATTACH PARTITION {following} FOR VALUES {bounds}")
    with pytest.raises(Refused, match="is a partition again"):
        list(steps)
    assert in_postgres(store) == 1

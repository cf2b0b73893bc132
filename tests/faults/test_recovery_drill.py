"""Real history, in each state that an archive can leave it in, when Redis and PostgreSQL lose their
disks: an operator starts the stack again and recovers it from ClickHouse alone.

Every message is the same bytes as before, every thread, title, state, watermark, policy and entry
of the audit trail the same row; what was deleted stays deleted, and everything goes on.
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec import Raw

from jobs.transfer.formats import chitchat
from jobs.transfer.formats.settling import Settlement
from models.message import Message
from models.state import StateName
from storage.errors import TierUnavailable
from support.calls.api import ok
from support.calls.erasing import erase
from support.data.old_messages import struck_at
from support.faults.recovery_drills import (
    QUIET_SECONDS,
    RecoveryDrill,
    assert_same,
    import_all,
    quiet,
    remembered,
)
from support.waiting import eventually
from wiring.process import Services

_UNERASED = "SELECT count(*) FROM threads WHERE erased_through IS DISTINCT FROM deleted_through"
TARGET_SECONDS = 300
"""Of the contract, for a quarter of a million messages."""
HALF = "3000d"
"""Between the two bursts of real history: what is older is about two thirds of it."""
FEW = 60
"""Conversations that a test with all the others can afford."""


pytestmark = pytest.mark.timeout(900)


class History(NamedTuple):
    """What was done to the history that a stack has: threads deleted, and a user erased."""

    live: list[Message]
    deleted: list[Message]
    erased: str


Archive = Callable[[RecoveryDrill], None]


def nothing(drill: RecoveryDrill) -> None:
    """No archiver ever ran."""


def in_grace(drill: RecoveryDrill) -> None:
    drill.done("archive", "--older-than", "30d")


def dropped(drill: RecoveryDrill) -> None:
    drill.done("archive", "--older-than", "30d", "--grace", "0")


def half_archived(drill: RecoveryDrill) -> None:
    """The older part is gone, the rest was never touched."""
    drill.done("archive", "--older-than", HALF, "--grace", "0")


def half_dropped(drill: RecoveryDrill) -> None:
    """The older part is gone, the rest is in its grace."""
    half_archived(drill)
    in_grace(drill)


def killed_between(drill: RecoveryDrill) -> None:
    """The archiver died with some partitions detached and others not."""
    strike = {
        **struck_at("archive.after_detach"),
        "THREADKEEP_FAULTPOINTS": "archive.after_detach:4:kill",
    }
    died = drill.run("archive", "--older-than", "30d", **strike)
    assert died.returncode == -signal.SIGKILL, died.stderr


def killed_at_a_drop(drill: RecoveryDrill) -> None:
    """The archiver died with some partitions dropped and others detached."""
    strike = {
        **struck_at("archive.after_drop"),
        "THREADKEEP_FAULTPOINTS": "archive.after_drop:3:kill",
    }
    died = drill.run("archive", "--older-than", "30d", "--grace", "0", **strike)
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, History]]:
    """A folder of data with all of the real history."""
    yield _made(tmp_path_factory.mktemp("everything"), None)


def _made(folder: Path, conversations: int | None) -> tuple[Path, History]:
    drill = RecoveryDrill(folder)
    with drill.up() as services:
        history = _live(services, _history(conversations))
        quiet(services)
    return folder, history


def _history(count: int | None) -> list[Message]:
    read = chitchat.read(files("chitchat_dataset").joinpath("dataset.json").read_bytes())
    chosen = dict(islice(read.items(), count))
    settled = map(Settlement([]).settle, chitchat.source(chosen))
    return [one for one in settled if isinstance(one, Message)]


def _live(services: Services, messages: list[Message]) -> History:
    """Imports it, and does to it what users and admins do."""
    assert import_all(services, messages) == len(messages)
    step = max(1, len(messages) // 60)
    chosen = messages[::step]
    threads = list(dict.fromkeys((one.user_id, one.thread_id) for one in chosen))
    erased = threads[0][0]
    others = [thread for thread in threads if thread[0] != erased]
    gone = set(others[:5])
    for user, thread in others[5:25]:
        services.threads.change(user, thread, title=f"about {thread}", metadata={"kept": 1.50})
    for user, thread in gone:
        services.threads.delete(user, thread)
    live = [
        one
        for one in messages
        if one.user_id != erased and (one.user_id, one.thread_id) not in gone
    ]
    for one in live[:: max(1, len(live) // 20)][:20]:
        services.messages.edit(
            one.user_id, one.id, content=f"edited: {one.content}", metadata=None, if_version=None
        )
    buried = live[7 :: max(1, len(live) // 20)][:20]
    for one in buried:
        services.messages.delete(one.user_id, one.id, if_version=None)
    user, thread = others[-1]
    services.states.put(StateName("session", user, ""), Raw(b'{"theme":"dark","n":1.10}'))
    for number in range(12):
        services.states.put(StateName("run", user, "run"), Raw(b'{"step":%d}' % number))
    services.jobs.retention_policies.set(user, thread, legal_hold=True, by="an admin")
    services.jobs.retention_policies.set(others[-2][0], None, keep_days=36_500, by="an admin")
    erase(services, erased)
    eventually(lambda: _is_erased(services), QUIET_SECONDS)
    away = {one.id for one in buried}
    dead = [one for one in messages if (one.user_id, one.thread_id) in gone] + buried
    return History([one for one in live if one.id not in away], dead, erased)


def _is_erased(services: Services) -> bool:
    """Whether deleted threads are gone from PostgreSQL, which workers see to at the same time."""
    with suppress(TierUnavailable):
        services.jobs.erasure.erase_deleted_threads()
    with services.tiers.job_engine.connect() as connection:
        return not connection.exec_driver_sql(_UNERASED).scalar_one()


def _change_some(services: Services, history: History) -> None:
    """Edits and deletes, once more: of messages that are archived by now."""
    for one in history.live[3 :: max(1, len(history.live) // 9)][:9]:
        services.messages.edit(
            one.user_id, one.id, content="edited late", metadata={"late": True}, if_version=None
        )
    for one in history.live[5 :: max(1, len(history.live) // 9)][:9]:
        services.messages.delete(one.user_id, one.id, if_version=None)
        history.deleted.append(one)


def drilled(drill: RecoveryDrill, history: History, archive: Archive) -> None:
    with drill.up() as services:
        archive(drill)
        _change_some(services, history)
        quiet(services)
        before = remembered(services)
        assert len(before.tables["archive_units"]) > 3 or archive is nothing
        drill.lose()
    began = time.monotonic()
    with drill.up() as services:
        recovered = drill.recover(began)
        print(
            f"\n{archive.__name__}: {recovered.seconds:.1f} s, {recovered.whole_seconds:.1f} s"
            f" from the start of the servers: {recovered.said}"
        )
        assert recovered.seconds < TARGET_SECONDS
        quiet(services)
        assert_same(before, remembered(services))
        _nothing_is_back(drill, history)
        drill.done("check")
        _goes_on(drill, services, history)


def _nothing_is_back(drill: RecoveryDrill, history: History) -> None:
    for one in history.deleted[:: max(1, len(history.deleted) // 50)]:
        api = drill.api(one.user_id)
        assert api.get(f"/api/messages/{one.id}").status_code == 404
    assert ok(drill.api(history.erased).get("/api/threads"))["threads"] == []


def _goes_on(drill: RecoveryDrill, services: Services, history: History) -> None:
    """Posts into old threads, changes what is archived, and archives all the rest."""
    gone = {one.id for one in history.deleted}
    live = [one for one in history.live if one.id not in gone]
    for one in live[11 :: max(1, len(live) // 10)][:10]:
        api = drill.api(one.user_id)
        posted = api.send(one.thread_id, "after the loss", durability="committed")
        assert ok(api.get(f"/api/messages/{posted['id']}"))["content"] == "after the loss"
        assert ok(api.get(f"/api/messages/{one.id}"))["created_at"] == one.created_at
        edited = ok(api.patch(f"/api/messages/{one.id}", json={"message": "edited after the loss"}))
        assert edited["created_at"] == one.created_at
        assert ok(api.get(f"/api/messages/{one.id}"))["content"] == "edited after the loss"
    quiet(services)
    before = remembered(services)
    drill.done("archive", "--older-than", "30d", "--grace", "0")
    after = remembered(services)
    assert (after.messages, after.export) == (before.messages, before.export)
    assert "stopped" not in {state for *_, state in _states(services)}
    drill.done("check")


def _states(services: Services) -> list[tuple[str, ...]]:
    with services.tiers.job_engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT state FROM archive_units")]


def test_f48_redis_and_postgresql_are_lost_after_an_archive(tmp_path: Path) -> None:
    folder, history = _made(tmp_path, FEW)
    drilled(RecoveryDrill(folder), history, in_grace)


@pytest.mark.extensive
@pytest.mark.parametrize(
    "archive",
    [
        nothing,
        in_grace,
        dropped,
        half_archived,
        half_dropped,
        killed_between,
        killed_at_a_drop,
    ],
)
def test_f48_redis_and_postgresql_are_lost_in_each_state_of_the_archive(
    everything: tuple[Path, History], tmp_path: Path, archive: Archive
) -> None:
    folder, made = everything
    shutil.copytree(folder / "data", tmp_path / "data", symlinks=True)
    history = made._replace(deleted=list(made.deleted))
    drilled(RecoveryDrill(tmp_path), history, archive)

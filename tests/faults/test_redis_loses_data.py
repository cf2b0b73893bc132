"""Redis comes back with less than it acknowledged: nothing, a torn log, or a replica's part of it.

What had reached PostgreSQL is all there and read rightly from the first moment; what only the lost
disk had is named by the verdict, each message of it and nothing else. Edits are left out where
messages are lost, because whether a lost edit is missed depends on what came after it.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.engine import make_url

from selftest.bed.proxy import FaultProxy
from selftest.bed.stack import Testbed
from selftest.load.traffic import Load
from selftest.record.client import RecordingClient
from support.faults.disk import (
    AOF_FOLDER,
    REDIS,
    cut,
    log_of,
    newest_log_file,
    powered_off,
    syncs_traced,
    uncommitted,
    unsynced_bytes,
)
from support.faults.trial import Trial
from support.faults.trial import trial as trial_on
from support.stack.own_valkey import OwnValkey, own_valkey
from support.stack.worker import frozen_worker
from support.waiting import eventually

pytestmark = pytest.mark.extensive

Loaded = Callable[..., AbstractContextManager[Trial]]
EMPTY = "redis_came_back_empty"
NEW_ONLY = {"edit_share": 0, "delete_share": 0}
POSTS = 20


def committed_posts(bed: Testbed, user: str) -> dict[str, str]:
    """Posts with `durability: committed`; gives key -> id of those that were promised it."""
    client = bed.client(user)
    promised = {}
    for number in range(POSTS):
        found = post(client, f"key-{number}", durability="committed")
        if found["durability"] == "committed":
            promised[f"key-{number}"] = found["id"]
    client.close()
    return promised


def post(client: RecordingClient, key: str, **fields: str) -> dict[str, str]:
    body = msgspec.json.encode({"message": key, **fields})
    headers = {"Idempotency-Key": key}
    answer = client.call("POST", "/api/threads/committed/messages", body, headers)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def assert_kept(bed: Testbed, user: str, promised: dict[str, str]) -> None:
    """Each is found by its id, and its key makes no other."""
    client = bed.client(user)
    for key, message_id in promised.items():
        assert client.call("GET", f"/api/messages/{message_id}").status == 200
        assert post(client, key)["id"] == message_id
    client.close()


def lose_everything(bed: Testbed, copy: Path) -> set[str]:
    """Takes Redis's disk away; gives the ids that were nowhere else."""
    with powered_off(bed) as folder:
        only_there = uncommitted(bed.services, log_of(folder, copy, bed.settings.shards))
        shutil.rmtree(folder / AOF_FOLDER)
    return only_there


def test_f13_redis_comes_back_empty(load: Loaded, bed: Testbed, tmp_path: Path) -> None:
    with load(**NEW_ONLY) as trial:
        promised = committed_posts(bed, "f13")
        assert len(promised) == POSTS
        with frozen_worker(bed):
            trial.wait_for_more(40, "redis")
            trial.gone = lose_everything(bed, tmp_path)
        assert_kept(bed, "f13", promised)
        trial.wait_until_said("worker", EMPTY)
        trial.wait_for_more(20, "redis")
        # What the frozen worker had in its hands it has written since.
        trial.gone = uncommitted(bed.services, trial.gone)
        assert len(trial.gone) >= 10
        assert not trial.gone & set(promised.values())
        assert_kept(bed, "f13", promised)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace shows what has reached the disk")
def test_f14_redis_loses_power(load: Loaded, bed: Testbed, tmp_path: Path) -> None:
    """What was written and not synced is gone, and half a write stands at the end instead."""
    with load() as trial:
        with syncs_traced(bed.pids()[REDIS], tmp_path / "syscalls") as trace:
            trial.wait_for_more(50, "redis")
            with powered_off(bed) as folder:
                file = newest_log_file(folder)
                cut(file, file.stat().st_size - unsynced_bytes(trace, file))
        trial.wait_until_said(REDIS, "Truncating")
        trial.wait_until_said("worker", "redis_restarted")
        trial.wait_for_more(20, "redis")


def test_f24_a_replica_without_the_last_moments_is_promoted(
    own_bed: Callable[..., AbstractContextManager[Testbed]], tmp_path: Path
) -> None:
    load = Load(writers=12, readers=4, users=6, **NEW_ONLY)
    with (
        own_bed() as bed,
        bed.unattended(REDIS),
        replica_of(bed, tmp_path) as (replica, link),
        trial_on(bed, tmp_path, load) as trial,
    ):
        client = bed.client("f24")
        before = post(client, "before", durability="committed")
        eventually(lambda: has_all(replica, bed))
        link.blackhole()
        promised = committed_posts(bed, "f24")
        edit(client, before["id"])
        trial.calm(2)
        with frozen_worker(bed):
            trial.wait_for_more(40, "redis")
            trial.gone = promote(bed, replica, tmp_path)
        trial.wait_until_said("worker", "redis_restarted")
        trial.wait_until_redis_is_believed()
        trial.wait_for_more(20, "redis")
        # What the frozen worker had in its hands it has written since.
        trial.gone = uncommitted(bed.services, trial.gone)
        assert len(trial.gone) >= 20
        assert not trial.gone & set(promised.values())
        assert client.call("GET", f"/api/messages/{before['id']}").json()["version"] == 2
        assert_kept(bed, "f24", promised)
        client.close()


@contextmanager
def replica_of(bed: Testbed, folder: Path) -> Iterator[tuple[OwnValkey, FaultProxy]]:
    """A replica of the data Redis, and the link by which it follows."""
    primary = make_url(bed.direct_env["REDIS_URL"])
    own, word = folder / "replica", str(primary.password)
    own.mkdir()
    with FaultProxy(primary.host or "", primary.port or 0) as link:
        address = f"{link.host} {link.port}"
        # It takes the primary's place under the same password.
        with own_valkey(own, password=word, masterauth=word, replicaof=address) as replica:
            status = "master_link_status"
            eventually(lambda: replica.client().info("replication")[status] == "up")
            yield replica, link


def has_all(replica: OwnValkey, bed: Testbed) -> bool:
    """Whether the replica has applied all that the primary has written."""
    primary = bed.services.tiers.redis_client.info("replication")["master_repl_offset"]
    return bool(replica.client().info("replication")["slave_repl_offset"] >= primary - 10_000)


def edit(client: RecordingClient, message_id: str) -> None:
    body = msgspec.json.encode({"message": "edited"})
    assert client.call("PATCH", f"/api/messages/{message_id}", body).status == 200


def promote(bed: Testbed, replica: OwnValkey, folder: Path) -> set[str]:
    """The primary dies and the replica takes its place; gives the ids that went with it."""
    bed.kill(REDIS)
    old = log_of(bed.folder_of(REDIS), folder / "old", bed.settings.shards)
    replica.client().replicaof("NO", "ONE")
    new = log_of(replica.folder, folder / "new", bed.settings.shards)
    address = make_url(replica.url)
    bed.move_redis(address.host or "", address.port or 0)
    return uncommitted(bed.services, old) - new

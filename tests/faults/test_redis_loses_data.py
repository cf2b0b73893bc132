"""Redis comes back with less than it acknowledged: nothing, a torn log, or a replica's part of it.

What had reached PostgreSQL is all there and read rightly from the first moment; what only the lost
disk had is named by the verdict, each message of it and nothing else. Edits are left out where
messages are lost, because whether a lost edit is missed depends on what came after it.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest

from selftest.client import Client
from selftest.stack import Testbed
from support.disk import AOF_FOLDER, REDIS, log_of, powered_off, uncommitted
from support.trial import Trial
from support.worker import frozen_worker

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


def post(client: Client, key: str, **fields: str) -> dict[str, str]:
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
            trial.wait_for_more(20, "redis")
            trial.gone = lose_everything(bed, tmp_path)
        assert len(trial.gone) >= 20
        assert not trial.gone & set(promised.values())
        assert_kept(bed, "f13", promised)
        trial.wait_until_said("worker", EMPTY)
        trial.wait_for_more(20, "redis")
        assert_kept(bed, "f13", promised)

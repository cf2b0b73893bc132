"""Processes killed between two lines of their code: each moment at which a write is half done."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path

import pytest
import requests

from selftest.bed.stack import Testbed
from selftest.load.traffic import Load
from storage.redis import keys
from support.calls.api import Api, ok
from support.calls.clients import api_of
from support.data.pending import age_seconds, entries, rewritten, unsettled
from support.faults.strikes import Strikes
from support.faults.trial import Trial, trial
from support.waiting import eventually

Beds = Callable[..., AbstractContextManager[Testbed]]
Loaded = Callable[[], AbstractContextManager[Trial]]

REDELIVERED_SECONDS = 30.0
TIMES = 2
NOT_FOUND = 404

pytestmark = pytest.mark.extensive


@pytest.fixture(scope="module")
def strikes(tmp_path_factory: pytest.TempPathFactory) -> Strikes:
    return Strikes(tmp_path_factory.mktemp("strikes"))


@pytest.fixture(scope="module")
def struck(module_bed: Beds, strikes: Strikes) -> Iterator[Testbed]:
    """A stack whose programs die where a test says."""
    with module_bed(**strikes.variables()) as running:
        yield running


@pytest.fixture
def load(struck: Testbed, tmp_path: Path) -> Loaded:
    """Writers and readers on that stack."""
    return lambda: trial(struck, tmp_path, Load(writers=12, readers=4, users=6))


def test_f01_the_api_dies_before_it_writes(struck: Testbed, strikes: Strikes, load: Loaded) -> None:
    own, key = unanswered(struck, strikes, "api.before_write")
    assert key not in contents(own)
    assert post(own, key) == post(own, key)
    assert contents(own).count(key) == 1
    with load() as running:
        for _ in range(TIMES):
            running.breaks(strikes.at("api.before_write"))


def test_f02_the_api_dies_after_it_wrote(struck: Testbed, strikes: Strikes, load: Loaded) -> None:
    own, key = unanswered(struck, strikes, "api.after_write")
    (there,) = (one["id"] for one in own.walk("t")[0] if one["content"] == key)
    assert post(own, key) == there
    assert contents(own).count(key) == 1
    with load() as running:
        for _ in range(TIMES):
            running.breaks(strikes.at("api.after_write"))


def test_f04_the_worker_dies_with_entries_read(
    struck: Testbed, strikes: Strikes, load: Loaded
) -> None:
    """There is nobody to claim them from: the next drain reads the log from its start."""
    with load() as running:
        for _ in range(TIMES):
            with running.broken(strikes.at("drain.after_read")):
                strikes.wait_until_struck("drain.after_read")
                held = waiting(struck)
                assert held
            eventually(lambda held=held: not held & waiting(struck), REDELIVERED_SECONDS)


def test_f05_the_worker_dies_after_the_commit(
    struck: Testbed, strikes: Strikes, load: Loaded
) -> None:
    """What is committed stands in the log still, is written again, and that changes nothing."""
    with load() as running:
        for _ in range(TIMES):
            with running.broken(strikes.at("drain.after_commit")):
                strikes.wait_until_struck("drain.after_commit")
                rows = unsettled(struck.services)
                assert rows
            eventually(lambda: age_seconds(struck.services) < 1, REDELIVERED_SECONDS)
            assert not rewritten(struck.services, rows)


def test_f06_the_worker_dies_before_it_hears_that_the_log_forgot(
    struck: Testbed, load: Loaded
) -> None:
    """One script forgets the entries and lets their copies go, so nothing is left of either."""
    lua = files("storage").joinpath("redis/lua")
    source = b"".join(lua.joinpath(f"{name}.lua").read_bytes() for name in ("events", "settle"))
    settles = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    proxy = struck.proxies["redis-data"]
    with load() as running:
        for _ in range(TIMES):
            dropped = proxy.dropped
            proxy.drop_reply_matching(settles)
            eventually(lambda dropped=dropped: proxy.dropped > dropped)
            running.breaks("worker killed")
    assert kept_for_good(struck, running) == []


def unanswered(bed: Testbed, strikes: Strikes, point: str) -> tuple[Api, str]:
    """A client whose last request had no answer, because a web process died of it at the point,
    and the key of what it posted. Nobody else writes meanwhile."""
    own = api_of(bed)
    end = strikes.at(point).begin(bed)
    try:
        for at in itertools.count():
            key = f"message {at}"
            try:
                post(own, key)
            except requests.ConnectionError:
                return own, key
    finally:
        end()
    raise AssertionError


def post(own: Api, key: str) -> str:
    """Posts a message whose content is its key; gives its id."""
    path, headers = "/api/threads/t/messages", {"Idempotency-Key": key}
    return str(ok(own.post(path, json={"message": key}, headers=headers))["id"])


def contents(own: Api) -> list[str]:
    if own.get("/api/threads/t/messages").status_code == NOT_FOUND:
        return []
    return [one["content"] for one in own.walk("t")[0]]


def waiting(bed: Testbed) -> set[str]:
    return {entry.entry_id for entry in entries(bed.services)}


def kept_for_good(bed: Testbed, running: Trial) -> list[str]:
    """Messages of the load that are committed and whose copies in Redis never go."""
    redis = bed.services.tiers.redis
    made = {each.id for each in running.traffic.account.histories() if each.ids}
    pipeline = bed.services.tiers.redis_client.pipeline(transaction=False)
    names = sorted(made)
    for name in names:
        pipeline.ttl(keys.message(redis.slot_of_message(name), name))
    for_good = -1
    return [name for name, ttl in zip(names, pipeline.execute(), strict=True) if ttl == for_good]

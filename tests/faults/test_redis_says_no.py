"""Redis answers, but with a refusal: writes go elsewhere for as long as it lasts, and come back.

There is no consumer group in the store, so NOGROUP cannot be met.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, OutOfMemoryError, RedisError

from models import codec
from selftest.bed.stack import Testbed
from selftest.faults.disturbance import Disturbance, End
from selftest.load.samples import figures
from storage.availability.probes import PROBE_KEY
from storage.redis import keys
from storage.redis.log_quota import MEASURE_SECONDS
from support.faults.disk import REDIS, newest_log_file, powered_off
from support.faults.trial import Trial
from support.stack.worker import frozen_worker
from support.waiting import eventually

pytestmark = pytest.mark.extensive

Loaded = Callable[..., AbstractContextManager[Trial]]
Do = Callable[[Redis], object]

FILLER = "filler"
FILLER_WRITE = b"*3\r\n$3\r\nSET\r\n$6\r\nfiller\r\n$1\r\nx\r\n"
FILLER_WRITES = 4_000_000
FILLER_SECONDS = 30
FILLER_CHUNK = 100_000
BIG_MESSAGES = 500
BIG_CHARACTERS = 20_000
LEFT_ON_DISK_BYTES = 50_001


@contextmanager
def admin(bed: Testbed) -> Iterator[Redis]:
    """A connection past the proxy that is known before any rule changes."""
    with Redis.from_url(bed.direct_env["REDIS_URL"]) as client:
        client.ping()
        yield client


def told(name: str, client: Redis, begin: Do, end: Do) -> Disturbance:
    """Redis is told to refuse, and every connection is opened again; ended by taking that back."""

    def do(bed: Testbed) -> End:
        begin(client)
        bed.proxies[REDIS].reset()

        def undo() -> None:
            end(client)

        return undo

    return Disturbance(name, REDIS, "it refuses", (1, 5), do)


def logged(bed: Testbed, client: Redis) -> set[tuple[bytes, str]]:
    """The entries of the log: each with its own name and the message it is about."""
    return {
        (entry_id, codec.decode(fields[b"message"]).id)
        for slot in range(bed.settings.shards)
        for entry_id, fields in client.xrange(keys.pending(slot))
    }


def kept(client: Redis) -> set[str]:
    """The messages that Redis holds and may not evict."""
    names = list(client.scan_iter(match="message:active:*", count=1000))
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.ttl(name)
    lives = zip(names, pipeline.execute(), strict=True)
    return {name.decode().rpartition(":")[2] for name, left in lives if left == -1}


def assert_goes_on(trial: Trial, after_seconds: float = 1) -> None:
    """New messages are taken by PostgreSQL and none is refused."""
    meanwhile = trial.posts_since(trial.fault_began + after_seconds)
    assert meanwhile.unavailable == 0
    assert meanwhile.acknowledged.get("postgresql", 0) > 5
    assert "redis" not in meanwhile.acknowledged


def log_bytes(bed: Testbed, client: Redis) -> int:
    """What the log takes of Redis's memory."""
    slots = range(bed.settings.shards)
    return sum(client.memory_usage(keys.pending(slot)) or 0 for slot in slots)


def test_f20_redis_is_full(load: Loaded, bed: Testbed) -> None:
    """Nobody drains the log: Redis refuses for want of memory, or is not asked in time for that."""
    # Messages large enough that the log is most of what Redis holds.
    big = load(content_characters=BIG_CHARACTERS)
    with big as trial, admin(bed) as client, frozen_worker(bed):
        limit = str(client.config_get("maxmemory")["maxmemory"])
        trial.wait_for_more(BIG_MESSAGES, "redis")

        def fill(client: Redis) -> None:
            size = 6 * log_bytes(bed, client)
            client.set(FILLER, b"x" * size)
            # Too little even for this alone, so that no eviction makes room.
            client.config_set("maxmemory", int(size * 0.9))

        def let_the_log_fill(client: Redis) -> None:
            share = 2 * log_bytes(bed, client) / bed.settings.redis_log_share
            client.config_set("maxmemory", int(share * 0.85))

        def make_room(client: Redis) -> None:
            client.config_set("maxmemory", limit)
            client.delete(FILLER)

        with trial.broken(told("full", client, fill, make_room)):
            assert_log_is_left_alone(trial, bed, client)
            assert "redis_log_full" not in trial.said("web")
            with pytest.raises(OutOfMemoryError):
                client.set(PROBE_KEY, 1)
        trial.wait_for_more(20, "redis")
        with trial.broken(told("log full", client, let_the_log_fill, make_room)):
            assert_log_is_left_alone(trial, bed, client)
            trial.wait_until_said("web", "redis_log_full")
            client.set(PROBE_KEY, 1, px=1)
        trial.wait_for_more(20, "redis")


def assert_log_is_left_alone(trial: Trial, bed: Testbed, client: Redis) -> None:
    """New messages go elsewhere. No entry leaves the log, and what Redis alone has is in the log:
    a write is there as a whole or not at all, and none of it was evicted."""
    trial.calm(MEASURE_SECONDS + 1)
    before = logged(bed, client)
    trial.calm(3)
    after = logged(bed, client)
    assert before <= after
    assert {message_id for _, message_id in after} == kept(client)
    meanwhile = trial.posts_since(trial.fault_began + MEASURE_SECONDS + 1)
    assert meanwhile.unavailable == 0
    # What Redis frees may let a write or two pass.
    taken = meanwhile.acknowledged
    assert taken.get("postgresql", 0) > 10 * taken.get("redis", 0)


def test_f21_the_disk_of_redis_is_full(load: Loaded, bed: Testbed) -> None:
    """A write of the log that fails ends a Valkey that promised to sync each one.

    A limit on the size of files stands for the disk; it ends the process by a signal where the
    kernel sends that before Valkey has seen the failure. Both ends are the same to everyone else.
    """

    def begin(bed: Testbed) -> End:
        leader = bed.pids()[REDIS]
        end = newest_log_file(bed.folder_of(REDIS)).stat().st_size + LEFT_ON_DISK_BYTES
        # Only the server's own account may always limit it.
        owner = Path(f"/proc/{leader}").stat()
        subprocess.run(
            ["prlimit", f"--pid={leader}", f"--fsize={end}"],
            check=True,
            user=owner.st_uid,
            group=owner.st_gid,
        )
        return partial(bed.wait_until_back, REDIS, leader)

    with load() as trial:
        trial.breaks(Disturbance("disk full", REDIS, "its log cannot grow", (1, 5), begin), 1)
        trial.wait_until_said(REDIS, "Ready to accept connections")
        assert trial.since(trial.fault_began).acknowledged.get("postgresql", 0) > 0
        trial.wait_for_more(20, "redis")


def misconf(client: Redis) -> None:
    """A folder stands where the snapshot is to be."""
    (Path(client.config_get("dir")["dir"]) / "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def no_more_misconf(client: Redis) -> None:
    client.config_set("save", "")
    (Path(client.config_get("dir")["dir"]) / "dump.rdb").rmdir()


REFUSALS: dict[str, tuple[Do, Do]] = {
    "MISCONF": (misconf, no_more_misconf),
    "READONLY": (
        lambda client: client.replicaof("127.0.0.1", "1"),
        lambda client: client.replicaof("NO", "ONE"),
    ),
    "WRONGPASS": (
        lambda client: client.config_set("requirepass", "another"),
        lambda client: client.config_set("requirepass", client.get_connection_kwargs()["password"]),
    ),
    "NOPERM": (
        lambda client: client.acl_setuser("default", enabled=True, commands=["-evalsha"]),
        lambda client: client.acl_setuser("default", enabled=True, commands=["+evalsha"]),
    ),
}


@pytest.mark.parametrize("word", REFUSALS)
def test_f22_redis_refuses(load: Loaded, bed: Testbed, word: str) -> None:
    begin, end = REFUSALS[word]
    with load() as trial, admin(bed) as client:
        with trial.broken(told(word, client, begin, end)):
            trial.calm(4)
            assert_goes_on(trial)
        trial.wait_for_more(20, "redis")


def test_f22_redis_forgets_its_scripts(load: Loaded, bed: Testbed) -> None:
    """NOSCRIPT is mended within the call: nothing goes elsewhere."""
    with load() as trial, admin(bed) as client:
        trial.fault_began = time.monotonic()
        for _ in range(10):
            client.script_flush()
            trial.calm(0.2)
        assert set(trial.since(trial.fault_began).acknowledged) == {"redis"}


def is_loading(bed: Testbed) -> bool:
    """Whether Redis refuses because it reads its data."""
    with Redis.from_url(bed.direct_env["REDIS_URL"]) as client:
        try:
            client.ping()
        except BusyLoadingError:
            return True
        except RedisError:
            return False
    return False


def test_f23_redis_is_reading_its_data(load: Loaded, bed: Testbed) -> None:
    """A large log to read: seconds, not half a minute."""

    def begin(bed: Testbed) -> End:
        with powered_off(bed, wait=False) as folder, newest_log_file(folder).open("ab") as log:
            for _ in range(FILLER_WRITES // FILLER_CHUNK):
                log.write(FILLER_WRITE * FILLER_CHUNK)
        return partial(bed.wait_until_back, REDIS)

    with load() as trial:
        with trial.broken(Disturbance("loading", REDIS, "it reads its log", (1, 20), begin)):
            eventually(lambda: is_loading(bed), FILLER_SECONDS)
            trial.fault_began = time.monotonic()
            while is_loading(bed):
                trial.calm(0.1)
            loaded = time.monotonic()
            assert loaded - trial.fault_began > 1
        meanwhile = [each for each in trial.samples if trial.fault_began < each.began < loaded]
        posts = figures(each for each in meanwhile if each.verb == "create")
        assert posts.unavailable == 0
        assert posts.acknowledged.get("postgresql", 0) > 5
        trial.wait_for_more(20, "redis")

"""Each refusal as a real server gives it: what it means, and that it is true.

Where a refusal says that reads go on, the test reads.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from embedded.ports import free_port
from storage.redis.refusals import RedisRefusal, refusal_of
from support.stack.own_valkey import OwnValkey, own_valkey
from support.waiting import eventually

NAME = "a-name-of-ours"
SET = "return redis.call('set', KEYS[1], 'v')"
FAILED_SAVES = "rdb_last_bgsave_status"


def refused(call: Callable[[], Any]) -> RedisRefusal:
    with pytest.raises(RedisError) as caught:
        call()
    refusal = refusal_of(caught.value)
    assert NAME not in refusal.reason
    return refusal


def meaning(call: Callable[[], Any]) -> tuple[str, str]:
    refusal = refused(call)
    return refusal.kind, refusal.out


def write_refusals(client: Redis) -> set[tuple[str, str]]:
    """What a plain write, one of a script and one of a pipeline are refused with."""
    return {
        meaning(lambda: client.set(NAME, "v")),
        meaning(lambda: client.eval(SET, 1, NAME)),
        meaning(lambda: client.pipeline(transaction=False).set(NAME, "v").execute()),
    }


def with_app_user(valkey: OwnValkey, *commands: str) -> Redis:
    """A client that may do little, and only to keys that begin with `ok`."""
    valkey.client().acl_setuser(
        "app", enabled=True, passwords=["+word"], keys=["ok*"], commands=list(commands)
    )
    return valkey.client(username="app", password="word")


def test_full_memory_puts_writes_out_and_reads_go_on(tmp_path: Path) -> None:
    with own_valkey(tmp_path, maxmemory="1mb", maxmemory_policy="noeviction") as valkey:
        client = valkey.client()
        assert write_refusals(client) == {("full", "writes")}
        assert client.get(NAME) is None


def test_a_replica_puts_writes_out_and_reads_go_on(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        client = valkey.client()
        client.set(NAME, "v")
        client.replicaof("127.0.0.1", "1")
        assert write_refusals(client) == {("read_only", "writes")}
        assert client.get(NAME) == b"v"


def test_a_replica_without_its_primary_is_out(tmp_path: Path) -> None:
    options = {"replicaof": "127.0.0.1 1", "replica_serve_stale_data": "no"}
    with own_valkey(tmp_path, **options) as valkey:
        assert meaning(lambda: valkey.client().get(NAME)) == ("primary_down", "everything")


def test_too_few_replicas_put_writes_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path, min_replicas_to_write="1") as valkey:
        client = valkey.client()
        assert write_refusals(client) == {("too_few_replicas", "writes")}
        assert client.get(NAME) is None


def test_a_disk_that_takes_no_snapshot_puts_writes_out(tmp_path: Path) -> None:
    # A folder stands where the snapshot is to be.
    (tmp_path / "dump.rdb").mkdir()
    with own_valkey(tmp_path, save="3600 1") as valkey:
        client = valkey.client()
        client.bgsave()
        eventually(lambda: client.info("persistence")[FAILED_SAVES] == "err")
        assert write_refusals(client) == {("disk", "writes")}
        assert client.get(NAME) is None


def test_a_password_that_is_missing_or_wrong_puts_it_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path, requirepass="word") as valkey:
        for options in ({}, {"password": "another"}, {"protocol": 2}):
            client = valkey.client(**options)
            assert meaning(lambda client=client: client.get(NAME)) == ("credentials", "everything")


def test_a_user_who_may_not_write_puts_writes_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        client = with_app_user(valkey, "+get", "+eval")
        assert write_refusals(client) == {("not_allowed", "writes")}
        assert meaning(lambda: client.eval(SET, 1, "ok")) == ("not_allowed", "writes")
        assert client.get("ok") is None


def test_a_user_who_may_not_ask_for_settings_is_denied_that_call_only(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        client = with_app_user(valkey, "+set")
        refusal = refused(lambda: client.config_get(NAME))
        assert (refusal.kind, refusal.out, refusal.passes) == ("not_allowed", "call", False)
        assert "config get" in refusal.reason
        assert client.set("ok", "v")


def test_a_forgotten_script_and_a_missing_group_are_one_calls_affair(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        client = valkey.client()
        sha = client.script_load(SET)
        client.script_flush()
        assert meaning(lambda: client.evalsha(sha, 1, NAME)) == ("script_missing", "call")
        read = meaning(lambda: client.xreadgroup("group", "one", {NAME: ">"}))
        assert read == ("group_missing", "call")


def test_a_wrong_type_and_a_wrong_value_are_one_calls_affair(tmp_path: Path) -> None:
    push = "return redis.call('rpush', KEYS[1], 'v')"
    with own_valkey(tmp_path) as valkey:
        client = valkey.client()
        client.set(NAME, "v")
        assert meaning(lambda: client.rpush(NAME, "v")) == ("wrong_type", "call")
        assert meaning(lambda: client.eval(push, 1, NAME)) == ("wrong_type", "call")
        assert meaning(lambda: client.incr(NAME)) == ("unknown", "call")
        assert meaning(lambda: client.execute_command("NOTHING", NAME)) == ("unknown", "call")
        assert meaning(lambda: client.execute_command(NAME)) == ("unknown", "call")


def test_a_script_without_end_puts_it_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path, busy_reply_threshold="20") as valkey:
        client, looping = valkey.client(), valkey.client(socket_timeout=60)
        ended: list[RedisRefusal] = []

        def loop() -> None:
            ended.append(refused(lambda: looping.eval("while true do end", 0)))

        thread = threading.Thread(target=loop)
        thread.start()
        eventually(lambda: _is_refused(client))
        assert meaning(lambda: client.get(NAME)) == ("busy", "everything")
        client.script_kill()
        thread.join()
        assert ended[0].kind == "unknown"
        assert client.get(NAME) is None


def test_reading_its_data_puts_it_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        client, reloading = valkey.client(), valkey.client(socket_timeout=60)
        for number in range(100):
            client.set(f"{NAME}{number}", "v" * 20_000)
        client.config_set("loading-process-events-interval-bytes", "1024")
        # A tenth of a second a key, so that there is time to see it at work.
        client.config_set("key-load-delay", "100000")
        reload = threading.Thread(target=lambda: reloading.execute_command("DEBUG", "RELOAD"))
        reload.start()
        eventually(lambda: _is_refused(client))
        assert meaning(lambda: client.get(NAME)) == ("loading", "everything")
        # Questions about the server are answered, and this one makes an end of the waiting.
        client.config_set("key-load-delay", "0")
        reload.join()
        assert client.get(f"{NAME}0")


def test_a_cluster_that_does_not_cover_its_slots_is_out(tmp_path: Path) -> None:
    bus = str(free_port())
    with own_valkey(tmp_path, cluster_enabled="yes", cluster_port=bus) as valkey:
        client = valkey.client()
        assert meaning(lambda: client.set(NAME, "v")) == ("cluster_down", "everything")
        assert meaning(lambda: client.get(NAME)) == ("cluster_down", "everything")
        assert meaning(lambda: client.mget("a", "b")) == ("wrong_value", "call")


def test_a_crowded_server_is_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        valkey.client().config_set("maxclients", "1")
        late = valkey.client()
        assert meaning(lambda: late.get(NAME)) == ("crowded", "everything")


def test_more_calls_than_connections_are_one_calls_affair(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        client = valkey.client(max_connections=1)
        with client.client():
            assert meaning(lambda: client.get(NAME)) == ("crowded", "call")


def test_a_server_that_is_silent_or_gone_is_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as valkey:
        client = valkey.client(socket_timeout=0.1)
        with pytest.raises(RedisError):
            client.execute_command("DEBUG", "SLEEP", "20")
        assert meaning(lambda: client.get(NAME)) == ("too_slow", "everything")
        valkey.process.kill()
        valkey.process.wait()
        assert meaning(lambda: client.get(NAME)) == ("unreachable", "everything")


def _is_refused(client: Redis) -> bool:
    try:
        client.get(NAME)
    except RedisError:
        return True
    return False

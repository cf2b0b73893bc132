"""With replicas asked for, an acknowledgement means their disks too."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from embedded.ports import free_port
from models import codec
from storage.messages.posts import Draft
from support.stack.own_valkey import OwnValkey, own_valkey
from support.waiting import eventually
from wiring.process import Services


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[OwnValkey]:
    folder = tmp_path / "primary"
    folder.mkdir()
    # By default it waits for more replicas that come at the same time, which nobody does here.
    with own_valkey(folder, repl_diskless_sync_delay="0") as running:
        yield running


@pytest.fixture
def own(alone: Services, primary: OwnValkey) -> Services:
    """A process that acknowledges what one replica has on its disk."""
    settings = msgspec.structs.replace(alone.settings, redis_url=primary.url, redis_replicas=1)
    return Services(settings)


def follow(replica: OwnValkey, primary: OwnValkey) -> None:
    """Makes one Valkey the replica of another, and waits until it has everything."""
    host, port = primary.url.removeprefix("redis://").split("/")[0].split(":")
    replica.client().replicaof(host, port)
    eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
    eventually(lambda: primary.client().info("replication").get("connected_slaves") == 1)


def post(own: Services, user: str) -> tuple[str, str]:
    done = own.messages.post(user, "t", Draft("user", "hello", {}, None))
    return done.tier_used, done.message.id


def test_a_write_that_a_replica_has_too_is_acknowledged(
    own: Services, primary: OwnValkey, user: str, tmp_path: Path
) -> None:
    folder = tmp_path / "replica"
    folder.mkdir()
    with own_valkey(folder) as replica:
        follow(replica, primary)
        tier, message_id = post(own, user)
        assert tier == "redis"
        key = f"message:active:{{{own.tiers.redis.slot_of_message(message_id)}}}:{message_id}"
        record = replica.client().get(key)
        assert isinstance(record, bytes)
        assert codec.decode(record).id == message_id


def test_without_its_replica_redis_acknowledges_nothing(
    own: Services, primary: OwnValkey, user: str, tmp_path: Path
) -> None:
    assert post(own, user)[0] == "postgresql"
    assert "0 of 1 replicas" in (own.tiers.breakers.redis.state().reason or "")
    # As long as there is none, nobody waits for it again, and the probe does not let anyone in.
    assert post(own, user)[0] == "postgresql"
    folder = tmp_path / "replica"
    folder.mkdir()
    with own_valkey(folder, free_port()) as replica:
        follow(replica, primary)
        eventually(lambda: own.tiers.breakers.redis.is_closed)
        assert post(own, user)[0] == "redis"

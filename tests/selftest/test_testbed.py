"""What is done to a stack really happens to it, ends, and leaves what was acknowledged."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selftest.bed.stack import SERVERS, Testbed
from selftest.faults.disturbance import kind
from selftest.faults.episodes import Episodes
from selftest.load.traffic import Load
from selftest.record.client import RecordingClient
from selftest.run import conclude, under_load
from support.data.users import fresh_user
from support.waiting import eventually

LIGHT = Load(writers=4, readers=2, users=2, threads=1, pause_seconds=0.02)
MESSAGE = b'{"message": "hello"}'
PATH = "/api/threads/inbox/messages"


@pytest.fixture
def client(bed: Testbed) -> Iterator[RecordingClient]:
    with closing(bed.client(fresh_user())) as one:
        yield one


def post(client: RecordingClient) -> int:
    return client.call("POST", PATH, MESSAGE).status


@pytest.mark.parametrize("server", SERVERS)
def test_a_frozen_server_is_silent_and_goes_on(bed: Testbed, server: str) -> None:
    episodes = Episodes(bed)
    with episodes.during(kind(f"{server} frozen")):
        assert not bed.answers(server)
    eventually(lambda: bed.answers(server))
    (episode,) = episodes.past
    assert (episode.target, episode.failure) == (server, "")


@pytest.mark.parametrize("target", [*SERVERS, "web", "worker", "beat"])
def test_what_is_killed_is_back_when_the_disturbance_has_ended(bed: Testbed, target: str) -> None:
    before = bed.pids()[target]
    with Episodes(bed).during(kind(f"{target} killed")):
        pass
    assert bed.pids()[target] != before
    assert bed.answers(target)


def test_no_write_is_acknowledged_by_a_redis_that_is_cut_off(
    bed: Testbed, client: RecordingClient
) -> None:
    assert post(client) == 200
    with Episodes(bed).during(kind("redis-data refused")):
        # The server itself is there: the programs reach it through the proxy only.
        assert bed.answers("redis-data")
        answer = client.call("POST", PATH, MESSAGE)
        assert answer.status == 503 or answer.json()["tier_used"] != "redis"
    eventually(lambda: post(client) == 200)


def test_a_lost_reply_is_counted(bed: Testbed, client: RecordingClient) -> None:
    dropped = bed.proxies["redis-data"].dropped
    bed.proxies["redis-data"].drop_reply_matching(b"EVALSHA")
    post(client)
    eventually(lambda: bed.proxies["redis-data"].dropped == dropped + 1)
    bed.heal()


def test_a_load_without_disturbance_leaves_nothing_to_find(bed: Testbed, tmp_path: Path) -> None:
    with under_load(bed, tmp_path, LIGHT, seed=1) as traffic:
        eventually(lambda: len(traffic.account.answers) > 200, 30)
    assert conclude(bed, traffic, []).violations == []
    verbs = {sample.verb for sample in traffic.samples}
    assert verbs == {"create", "edit", "delete", "read"}


def test_an_error_in_a_writer_ends_the_run_and_is_raised(bed: Testbed, tmp_path: Path) -> None:
    with pytest.raises(ValueError), under_load(bed, tmp_path, LIGHT, seed=1) as traffic:
        traffic.ledger.close()
        eventually(lambda: traffic.ended)

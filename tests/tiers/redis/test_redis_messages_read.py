"""One message, read from Redis together with what hides it."""

import threading
from typing import Any

import msgspec
import pytest

from models import codec
from storage.errors import NotFound
from storage.redis import keys
from support.data.samples import append_of, message
from support.data.thread_lists import begin_whole, post
from wiring.process import Services


@pytest.mark.parametrize("thread", ["t", "a:b", "c.d_e-f", ":", "..:.."])
def test_what_hides_a_message_comes_with_it(alone: Services, user: str, thread: str) -> None:
    tier, owner = alone.tiers.redis, f"{user}:{{%}} ä"
    made = post(alone, owner, thread, "one")
    assert tier.message_of(owner, made.id) == (codec.encode(made), None)
    # Of somebody else's thread nothing is said, whatever hides theirs of that name.
    assert tier.message_of(user, made.id) == (codec.encode(made), None)
    alone.threads.delete(owner, thread)
    record, mark = tier.message_of(owner, made.id)
    assert record == codec.encode(made)
    assert mark == tier.thread(owner, thread)[1]
    assert mark is not None and mark > made.id
    with pytest.raises(NotFound):
        alone.failover.retrieval.get(owner, made.id)


def test_the_higher_of_two_marks_counts(alone: Services, user: str) -> None:
    tier, client = alone.tiers.redis, alone.tiers.redis_client
    made, later = message(user), message(user)
    tier.append([append_of(made)], 60)
    slot = tier.slot_of_message(made.id)
    client.set(keys.watermark(slot, user, "t"), made.id)
    assert tier.message_of(user, made.id)[1] == made.id
    client.set(keys.erased(slot, user), later.id)
    assert tier.message_of(user, made.id)[1] == later.id


def test_a_name_that_no_script_reads_is_asked_for(alone: Services, user: str) -> None:
    tier, client = alone.tiers.redis, alone.tiers.redis_client
    odd = codec.seal(msgspec.structs.replace(message(user), thread_id='a"b'))
    slot = tier.slot_of_message(odd.id)
    client.set(keys.message(slot, odd.id), codec.encode(odd))
    client.set(keys.watermark(tier.slot_of_thread(user, 'a"b'), user, 'a"b'), odd.id)
    assert tier.message_of(user, odd.id) == (codec.encode(odd), odd.id)


def test_what_is_not_there_is_none(alone: Services, user: str) -> None:
    assert alone.tiers.redis.message_of(user, message(user).id) == (None, None)


@pytest.mark.usefixtures("steady_lease")
def test_a_message_is_one_round_trip(
    alone: Services, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_whole(alone)
    made = post(alone, user, "t", "one")
    alone.failover.retrieval.get(user, made.id)
    pool: Any = type(alone.tiers.redis_client.connection_pool)
    given, taken = pool.get_connection, []

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        taken.append((self, threading.get_ident()))
        return given(self, *arguments, **options)

    monkeypatch.setattr(pool, "get_connection", counted)
    assert alone.failover.retrieval.get(user, made.id).message == made
    # The thread of the lease asks beside.
    mine = alone.tiers.redis_client.connection_pool, threading.get_ident()
    assert taken.count(mine) == 1

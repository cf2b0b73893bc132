"""Each word of a receipt, in each way to get there."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from jobs.persist.dead_letters import DeadLetterService
from jobs.persist.drain import Drained
from models import codec
from storage.errors import NotFound
from storage.messages.clickhouse_writes import DirectWrite
from storage.messages.receipts import Receipt
from support.calls.erasing import erase
from support.calls.streaming import append, finish, opened
from support.data.letters import only, refused_message
from support.data.samples import append_of, message
from support.faults.outages import post, without
from support.stack.clickhouse_requests import clickhouse_post
from wiring.process import Services


@pytest.fixture
def state(alone: Services, user: str) -> Callable[[str], str]:
    """What the receipt of a message says at this moment."""
    return lambda message_id: alone.receipts.receipt(user, message_id).state


def test_a_message_on_its_road(
    alone: Services, user: str, drain: Callable[[], Drained], state: Callable[[str], str]
) -> None:
    made = post(alone, user).message.id
    assert (state(made), pending(alone, user, made)) == ("acknowledged", True)
    drain()
    assert (state(made), pending(alone, user, made)) == ("persisted", False)
    alone.jobs.replication.ship_all()
    assert state(made) == "archived"
    alone.messages.edit(user, made, content="again", metadata=None, if_version=None)
    assert (state(made), pending(alone, user, made)) == ("acknowledged", True)


@pytest.mark.usefixtures("no_merges")
def test_a_message_that_was_deleted(
    alone: Services, user: str, state: Callable[[str], str]
) -> None:
    made = post(alone, user).message.id
    alone.jobs.drain_pipeline()
    alone.messages.delete(user, made, if_version=None)
    assert state(made) == "deleted"
    alone.jobs.drain_pipeline()
    # ClickHouse still has the version before.
    assert state(made) == "deleted"
    # Which a purge takes away by what it would not do without merges.
    clickhouse_post(alone.tiers.job_clickhouse, "SYSTEM START MERGES messages")
    alone.jobs.physical_erasure.purge()
    assert state(made) == "erased"
    assert without(alone, "clickhouse").receipts.receipt(user, made).state == "deleted"


@pytest.mark.parametrize("carried", ["", "persisted", "archived"])
def test_a_message_whose_thread_was_deleted(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    state: Callable[[str], str],
    carried: str,
) -> None:
    post(alone, user)
    drain()
    made = post(alone, user).message.id
    if carried:
        drain()
    if carried == "archived":
        alone.jobs.replication.ship_all()
    alone.threads.delete(user, "t")
    assert state(made) == "deleted"
    drain()
    if not carried:
        # It was in Redis alone, and nobody kept it.
        with pytest.raises(NotFound):
            state(made)
        return
    receipt = alone.receipts.receipt(user, made)
    assert (receipt.state, receipt.tiers["postgresql"].present) == ("deleted", True)
    alone.jobs.erasure.erase_deleted_threads()
    alone.jobs.replication.ship_all()
    alone.jobs.physical_erasure.purge()
    assert state(made) == "erased"


def test_a_message_whose_thread_is_on_hold_is_not_called_erased(
    alone: Services, user: str, drain: Callable[[], Drained], state: Callable[[str], str]
) -> None:
    alone.jobs.retention_policies.set(user, None, legal_hold=True, by="an admin")
    made = post(alone, user).message.id
    drain()
    alone.messages.delete(user, made, if_version=None)
    alone.jobs.drain_pipeline()
    assert state(made) == "deleted"


def test_a_message_whose_user_was_erased(
    alone: Services, user: str, state: Callable[[str], str]
) -> None:
    made = post(alone, user).message.id
    alone.jobs.drain_pipeline()
    alone.jobs.user_erasure.request(user, by="an admin")
    assert state(made) == "deleted"
    erase(alone, user)
    with pytest.raises(NotFound):
        state(made)


def test_a_message_that_was_refused(
    alone: Services,
    user: str,
    drain: Callable[[], Drained],
    service: DeadLetterService,
    bad: ExitStack,
    state: Callable[[str], str],
) -> None:
    one = refused_message(alone, user, drain, bad)
    assert (state(one.id), pending(alone, user, one.id)) == ("refused", False)
    bad.close()
    service.replay(only(service).id, by="somebody")
    assert (state(one.id), pending(alone, user, one.id)) == ("persisted", False)


@pytest.mark.usefixtures("brought_home")
def test_a_double_that_lost_its_key(
    alone: Services, user: str, drain: Callable[[], Drained], state: Callable[[str], str]
) -> None:
    earlier, later = message(user), message(user)
    alone.failover.writes._postgres.append([append_of(later, key="k")])
    alone.tiers.redis.append([append_of(earlier, key="k")], 60)
    drain()
    alone.failover.redis_recovery.reconcile()
    assert (state(earlier.id), state(later.id)) == ("erased", "persisted")


@pytest.mark.usefixtures("brought_home")
def test_a_message_that_clickhouse_took(
    alone: Services, user: str, state: Callable[[str], str]
) -> None:
    one = message(user)
    alone.failover.writes._clickhouse._insert([DirectWrite(one, codec.encode(one), None)])
    receipt = alone.receipts.receipt(user, one.id)
    assert (receipt.state, receipt.tiers["postgresql"].present) == ("archived", False)


def test_a_message_that_is_still_being_written(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    one = opened(alone, user)
    append(alone, user, one, "so far")
    drain()
    receipt = alone.receipts.receipt(user, one.id)
    assert (receipt.state, receipt.is_streaming) == ("persisted", True)
    finish(alone, user, one)
    assert not is_streaming(alone.receipts.receipt(user, one.id))


@pytest.mark.parametrize("tier", ["redis", "postgresql", "clickhouse"])
def test_a_tier_that_does_not_answer(alone: Services, user: str, tier: str) -> None:
    made = post(alone, user).message.id
    alone.jobs.drain_pipeline()
    out = {"postgresql": "database"}.get(tier, tier)
    receipt = without(alone, out).receipts.receipt(user, made)
    assert receipt.tiers[tier].present is None
    assert receipt.state == ("persisted" if tier == "clickhouse" else "archived")


def pending(alone: Services, user: str, message_id: str) -> object:
    return alone.receipts.receipt(user, message_id).tiers["redis"].pending


def is_streaming(receipt: Receipt) -> bool:
    return receipt.is_streaming is True

"""Alerts told to a real server: signed, once each, again after a failure, and nowhere else."""

import hashlib
import hmac
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from jobs.monitor.alerts import webhook
from jobs.monitor.alerts.webhook import WebhookSink
from storage.redis import keys
from support.calls.alerts import Judged
from support.faults.outages import process, without
from support.stack.receiver import Receiver, receiving
from wiring.process import Services

SECRET = "what only the two of them know, in a test"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed delivery is due again at once."""
    monkeypatch.setattr(webhook, "PAUSES_SECONDS", (0.0,))


def sink(own: Services, receiver: Receiver) -> WebhookSink:
    return WebhookSink(receiver.url, SECRET, own.tiers.redis_client, own.tiers.instruments)


def test_a_delivery_proves_that_it_is_ours(alone: Services, receiver: Receiver) -> None:
    own = sink(alone, receiver)
    own.offer("7:raised", b'{"event":"raised"}')
    own.deliver_due()
    (posted,) = receiver.posts
    stamp = posted.headers["Threadkeep-Timestamp"]
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + posted.body, hashlib.sha256)
    assert posted.headers["Threadkeep-Signature"] == f"sha256={expected.hexdigest()}"
    assert posted.headers["Threadkeep-Delivery"] == "7:raised"
    assert abs(int(stamp) - time.time()) < 60
    assert posted.body == b'{"event":"raised"}'


def test_each_is_delivered_once_by_whoever_comes_first(alone: Services, receiver: Receiver) -> None:
    one, two = sink(alone, receiver), sink(alone, receiver)
    one.offer("1:raised", b"{}")
    one.offer("1:raised", b"{}")
    two.deliver_due()
    one.deliver_due()
    two.deliver_due()
    assert len(receiver.posts) == 1


@pytest.mark.parametrize("status", [500, 404, 302, 307])
def test_what_failed_is_tried_again_under_the_same_id(
    alone: Services, receiver: Receiver, status: int
) -> None:
    own = sink(alone, receiver)
    receiver.statuses = [status, status]
    own.offer("1:raised", b"{}")
    for _ in range(4):
        own.deliver_due()
    assert [posted.headers["Threadkeep-Delivery"] for posted in receiver.posts] == ["1:raised"] * 3
    # Nobody follows where a redirect points to.
    assert {posted.path for posted in receiver.posts} == {"/hook"}


def test_one_that_nobody_understands_is_in_no_others_way(
    alone: Services, receiver: Receiver
) -> None:
    own = sink(alone, receiver)
    alone.tiers.redis_client.hset(keys.DELIVERIES, "0:raised", b'{"of": "another version"}')
    own.offer("1:raised", b"{}")
    own.deliver_due()
    assert len(receiver.posts) == 1


def test_what_somebody_else_has_just_delivered_is_not_delivered_again(
    alone: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "LEASE_MILLISECONDS", 1)
    one, two = sink(alone, receiver), sink(alone, receiver)
    one.offer("1:raised", b"{}")
    seen = two._waiting()
    one.deliver_due()
    time.sleep(0.01)
    monkeypatch.setattr(two, "_waiting", lambda: seen)
    two.deliver_due()
    assert len(receiver.posts) == 1


def test_it_is_given_up_in_the_end(
    alone: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "GIVE_UP_SECONDS", -1.0)
    own = sink(alone, receiver)
    receiver.statuses = [500] * 5
    own.offer("1:raised", b"{}")
    own.deliver_due()
    own.deliver_due()
    assert len(receiver.posts) == 1


def test_without_redis_it_is_delivered_all_the_same(alone: Services, receiver: Receiver) -> None:
    own = sink(without(alone, "redis"), receiver)
    receiver.statuses = [500]
    own.offer("1:raised", b"{}")
    own.deliver_due()
    own.deliver_due()
    own.deliver_due()
    assert len(receiver.posts) == 2


def test_neither_secret_nor_address_is_logged(alone: Services) -> None:
    own = WebhookSink(
        "http://127.0.0.1:1/hook?token=hidden",
        SECRET,
        alone.tiers.redis_client,
        alone.tiers.instruments,
    )
    with capture_logs() as logs:
        own.offer("1:raised", b"{}")
        own.deliver_due()
    assert [one["event"] for one in logs] == ["webhook_failed"]
    assert SECRET not in str(logs)
    assert "hidden" not in str(logs)


def test_alerts_are_told_when_raised_and_cleared_unless_silenced(
    alone: Services, receiver: Receiver
) -> None:
    judged = Judged(alone)
    given = {"alert_webhook_url": receiver.url, "alert_webhook_secret": SECRET}
    own = process(alone, **given, clickhouse_url="clickhouse+http://default:@127.0.0.1:1/d")
    monitor = own.performance.monitor
    raised = judged.by(own)["tier_unavailable:clickhouse"]
    monitor._sink.deliver_due()
    (told,) = receiver.told("raised", "tier_unavailable")
    assert (told["id"], told["tier"], told["since"]) == (raised.id, "clickhouse", raised.since)
    silenced = monitor.silence(raised.id, 3_600, "ann")
    assert silenced.silenced_until is not None
    well = process(alone, **given)
    assert raised.key not in judged.by(well, 2)
    assert judged.by(own)
    monitor._sink.deliver_due()
    well.performance.monitor._sink.deliver_due()
    assert len(receiver.told("raised", "tier_unavailable")) == 1
    assert receiver.told("cleared", "tier_unavailable") == []
    # Listed all the same, as silenced.
    (listed,) = [one for one in monitor.active() if one.key == raised.key]
    assert listed.silenced_until is not None
    noted = alone.jobs.audit.entries(action="alert.silenced", limit=1)[0]
    assert (noted.actor, noted.details["seconds"]) == ("ann", 3_600)

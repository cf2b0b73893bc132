"""Heads leave the system as lines and by post, and a file that is none is refused."""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.monitor.heads_webhook import HeadsNotTaken
from jobs.verify import kept_heads
from models.chain import Head
from storage.clickhouse.pages import Selection
from storage.errors import Refused
from storage.messages.posts import Draft
from support.data.thread_lists import Drain
from support.faults.outages import process
from support.stack.receiver import Receiver, receiving
from wiring.process import Services

SECRET = "what only the two of them know, in a test"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def own(alone: Services, receiver: Receiver) -> Services:
    """A process that posts heads to the receiver."""
    return process(alone, heads_webhook_url=receiver.url, alert_webhook_secret=SECRET)


def grow(alone: Services, user: str, drain: Drain) -> None:
    alone.messages.post(user, "t", Draft("user", "one more", {}))
    drain()
    alone.jobs.replication.ship_all()


def taken(receiver: Receiver, user: str) -> list[int]:
    """The lengths that the receiver was told of this user's chain."""
    heads = [head for post in receiver.posts for head in post.told["heads"]]
    return [head["length"] for head in heads if head["user_id"] == user]


def test_heads_that_grew_are_posted_and_prove_what_was_before(
    alone: Services, own: Services, user: str, drain: Drain, receiver: Receiver, tmp_path: Path
) -> None:
    grow(alone, user, drain)
    assert own.jobs.heads_webhook.send() >= 1
    assert taken(receiver, user) == [1]
    post = receiver.posts[-1]
    said = f"{post.headers['Threadkeep-Timestamp']}.".encode() + post.body
    expected = hmac.new(SECRET.encode(), said, hashlib.sha256).hexdigest()
    assert post.headers["Threadkeep-Signature"] == f"sha256={expected}"
    grow(alone, user, drain)
    own.jobs.heads_webhook.send()
    assert taken(receiver, user)[-1] == 2
    path = tmp_path / "kept.jsonl"
    kept = [kept_heads.KeptHead(**head) for one in receiver.posts for head in one.told["heads"]]
    path.write_bytes(b"".join(kept_heads.lines(kept)))
    assert kept_heads.read(path)[user, "t"].length == 2
    assert alone.jobs.verifier.verify(Selection(user), kept_heads.read(path)).named == []


def test_what_was_not_taken_is_sent_again(
    alone: Services, own: Services, user: str, drain: Drain, receiver: Receiver
) -> None:
    grow(alone, user, drain)
    receiver.statuses = [503]
    with pytest.raises(HeadsNotTaken, match="status 503"):
        own.jobs.heads_webhook.send()
    own.jobs.heads_webhook.send()
    assert taken(receiver, user)[-1] == 1
    receiver.end()
    with pytest.raises(HeadsNotTaken, match="ConnectionError"):
        own.jobs.heads_webhook.send()


def test_nothing_is_sent_where_nobody_keeps_it(alone: Services) -> None:
    assert alone.jobs.heads_webhook.send() == 0


@pytest.mark.parametrize("line", [b"{}", b"no JSON", b'{"user_id": "a"', b"\xff", b"[1]"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "heads"
    path.write_bytes(line + b"\n")
    with pytest.raises(Refused, match="line 1: no head of a thread"):
        kept_heads.read(path)


def test_of_joined_files_the_longest_chain_counts(tmp_path: Path) -> None:
    heads = [
        kept_heads.KeptHead(
            user_id="u", thread_id="t", length=length, link=str(length), kept_at="2026-01-01"
        )
        for length in (2, 5, 3)
    ]
    path = tmp_path / "heads"
    path.write_bytes(b"".join(kept_heads.lines(heads)))
    assert kept_heads.read(path) == {("u", "t"): Head(5, "5")}

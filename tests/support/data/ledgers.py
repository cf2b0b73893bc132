"""Ledgers and evidence made by hand: an honest little world, to be tampered with."""

from models import codec, ids
from models.hot_page import HotPage
from models.message import Message
from selftest.record.account import Account, hash_of
from selftest.record.ledger import Answered, AttemptedRequest, Entry, Verb
from selftest.verdict.evidence import Evidence

USER, THREAD = "alice", "inbox"
TIME_US = 1_795_230_000_000_000
SECOND_US = 1_000_000


def message_id(number: int) -> str:
    """The id of a message made by hand, in order of its number."""
    return ids.mint(TIME_US + number * SECOND_US, ids.shard_of(USER, THREAD), number)


def message(number: int, content: str, version: int = 1, *, deleted: bool = False) -> Message:
    """A sealed version of the message that operation `number` made."""
    moment = ids.timestamp(TIME_US + number * SECOND_US)
    return codec.seal(
        Message(
            version=version,
            id=message_id(number),
            thread_id=THREAD,
            user_id=USER,
            role="user",
            content=content,
            metadata={} if deleted else {"key": f"key-{number}"},
            created_at=moment,
            updated_at=moment,
            deleted_at=moment if deleted else None,
        )
    )


def asked(
    number: int, verb: Verb = "create", content: str = "", *, op: int | None = None
) -> AttemptedRequest:
    """A request about the message that operation `number` made."""
    return AttemptedRequest(
        op=number if op is None else op,
        attempt=0,
        writer=0,
        verb=verb,
        user_id=USER,
        thread_id=THREAD,
        key=f"key-{number}",
        content_hash=hash_of(content),
    )


def answered(op: int, status: int = 200, version: int = 1, *, of: int | None = None) -> Answered:
    """Its answer; status 0 is none."""
    return Answered(
        op=op,
        attempt=0,
        outcome="answered" if status else "timeout",
        status=status,
        latency_ms=1.0,
        id=message_id(op if of is None else of) if status == 200 else "",
        version=version if status == 200 else 0,
        tier_used="redis",
        durability="fsynced",
    )


def entries() -> list[Entry]:
    """Message 1 stays, 2 is edited, 3 is deleted, and 4 has no answer."""
    return [
        asked(1, content="one"),
        answered(1),
        asked(2, content="two"),
        answered(2),
        asked(3, content="three"),
        answered(3),
        asked(2, "edit", "two, edited", op=5),
        answered(5, version=2, of=2),
        asked(3, "delete", op=6),
        answered(6, version=2, of=3),
        asked(4, content="four"),
        answered(4, status=0),
    ]


def evidence() -> Evidence:
    """A world in which every word was kept."""
    live = [message(1, "one"), message(2, "two, edited", 2)]
    rows = [*live, message(3, "", 2, deleted=True)]
    found = Evidence(Account(entries()))
    found.by_id = {each.id: each for each in live} | {message_id(3): None}
    found.lists = {(USER, THREAD): live[::-1]}
    found.committed = rows
    found.counts = {(USER, THREAD): 2}
    found.archived = list(live)
    found.hot = {each.id: each for each in rows}
    records = [(each.id, codec.encode(each)) for each in live]
    found.hot_pages = {(USER, THREAD): HotPage(live[0].id, None, list(records))}
    return found

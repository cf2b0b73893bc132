"""Makes the links of versions that are on their way to ClickHouse, and moves the heads."""

import os
from collections.abc import Iterator, Sequence

import msgspec
import structlog
from sqlalchemy import Connection

from models import ids
from models.chain import EMPTY, SALT_BYTES, Head, entry_of, link_of
from storage.clickhouse import thread_links
from storage.clickhouse.driver import ClickHouse
from storage.postgres import thread_heads
from storage.postgres.thread_heads import Thread
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

Versions = Sequence[tuple[str, str, str, int, str]]
"""Of each version its user, thread, id, number and content hash; by thread and id."""

_versions = msgspec.json.Decoder(list[tuple[str, str, str, int, str]])


class ChainLinker:
    """Links versions while their caller alone ships, in its transaction."""

    def __init__(self, tiers: Tiers) -> None:
        self._clock = tiers.clock

    def link(self, connection: Connection, server: ClickHouse, versions: str) -> None:
        """Adds links for versions, given as JSON, to ClickHouse, and moves the heads with the
        caller's commit. Repeated after a crash, it makes other links in the same places, which
        count instead. Raises `TierError`."""
        if not thread_heads.are_whole(connection):
            self._restore_heads(connection, server)
        found = _versions.decode(versions)
        heads = thread_heads.find(connection, {(one[0], one[1]) for one in found})
        linked_at = ids.timestamp(self._clock.now_us())
        thread_links.insert(server, _lines(found, heads, linked_at))
        thread_heads.put(connection, heads, linked_at)

    def _restore_heads(self, connection: Connection, server: ClickHouse) -> None:
        """Chains go on where ClickHouse's end: PostgreSQL may have lost all it had."""
        count = 0
        for page in thread_links.heads(server):
            ends = {one.thread: one.head for one in page}
            thread_heads.put(connection, ends, ids.timestamp(self._clock.now_us()))
            count += len(page)
        thread_heads.declare_whole(connection)
        if count:
            log.info("thread_heads_restored", threads=count)


def _lines(versions: Versions, heads: dict[Thread, Head], linked_at: str) -> Iterator[bytes]:
    """The links of versions as ClickHouse takes them; `heads` are moved on."""
    salts = os.urandom(SALT_BYTES * len(versions)).hex()
    for number, (user_id, thread_id, message_id, version, content_hash) in enumerate(versions):
        salt = salts[2 * SALT_BYTES * number : 2 * SALT_BYTES * (number + 1)]
        before = heads.get((user_id, thread_id), EMPTY)
        entry = entry_of(salt, message_id, version, content_hash)
        head = Head(before.length + 1, link_of(before.link, entry))
        heads[user_id, thread_id] = head
        yield msgspec.json.encode(
            {
                "user_id": user_id,
                "thread_id": thread_id,
                "position": head.length,
                "message_id": message_id,
                "version": version,
                "content_hash": content_hash,
                "salt": salt,
                "link": head.link,
                "linked_at": linked_at,
            }
        )

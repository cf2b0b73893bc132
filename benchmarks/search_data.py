"""Messages for the benchmark of search: real ones, and what a query must find among them."""

import time
from collections.abc import Sequence
from importlib.resources import files
from itertools import islice
from typing import Any

import msgspec

from jobs.archive.run import ArchiveRequest
from jobs.archive.tiering import rules_of
from jobs.transfer.bulk_import import BulkImporter
from jobs.transfer.formats import chitchat
from jobs.transfer.formats.settling import Settlement
from models import codec, ids
from models.message import Message
from models.search import parse
from selftest.bed.launching import StackFailed
from wiring.process import Services

ARCHIVED, RECENT, OTHER = "reads-the-archive", "reads-the-recent", "somebody-else"
RECENT_MESSAGES = 50_000
OTHERS_MESSAGES = 5_000
RECENT_DAYS = 6
FIRST_PAGE = 50


def old_messages(at_most: int | None) -> list[Message]:
    """The messages of ChitChat at their original times, or so many of them."""
    conversations = chitchat.read(files("chitchat_dataset").joinpath("dataset.json").read_bytes())
    settlement = Settlement([])
    settled = map(settlement.settle, chitchat.source(conversations, ARCHIVED))
    return list(islice((one for one in settled if isinstance(one, Message)), at_most))


def recent_messages(old: Sequence[Message], user_id: str, count: int) -> list[Message]:
    """The texts of some messages, as if they had been written within the last days."""
    chosen = old[:count]
    width_us = RECENT_DAYS * 86_400_000_000
    start_us = time.time_ns() // 1_000 - width_us
    made = []
    for number, one in enumerate(chosen):
        time_us = start_us + number * width_us // len(chosen)
        moment = ids.timestamp(time_us)
        own: dict[str, Any] = {
            "id": ids.mint(time_us, ids.shard_of(user_id, one.thread_id)),
            "user_id": user_id,
            "created_at": moment,
            "updated_at": moment,
        }
        made.append(codec.seal(msgspec.structs.replace(one, **own)))
    return made


def prepare(services: Services, old: Sequence[Message], recent: Sequence[Message]) -> None:
    """Archives the old ones, and imports the recent ones and somebody else's."""

    def load(made: Sequence[Message]) -> None:
        importer = BulkImporter(services.tiers)
        list(importer.run(made))
        services.jobs.replication.ship_all()

    load(old)
    request = ArchiveRequest(rules_of(services.settings), 0, "benchmark")
    *_, done = services.jobs.archive.archive_partitions(request)
    if done.messages != len(old):
        raise StackFailed(f"{done.messages:,} of {len(old):,} messages were archived")
    load(recent)
    load(recent_messages(old, OTHER, OTHERS_MESSAGES))


def first_page(made: Sequence[Message], query: str) -> list[str]:
    """The expected first page, from the texts themselves. Slow, so only for few queries."""
    wanted = parse(query)
    words = [word.text for phrase in wanted.phrases for word in phrase.words]
    return sorted(
        (
            one.id
            for one in made
            if not one.content.isascii() or all(word in one.content.lower() for word in words)
            if wanted.matches(one.content)
        ),
        reverse=True,
    )[:FIRST_PAGE]

"""Messages that are there before a measurement: imported, at times of the past."""

import random
from collections.abc import Iterator

import settings
from benchmarks.bench.designs import Bench, count, wait_until
from jobs.archive.run import ArchiveRequest
from jobs.archive.tiering import rules_of
from jobs.transfer.bulk_import import BulkImporter
from models import codec, ids
from models.message import Message
from wiring.process import Services

WORDS_PER_MESSAGE = 40
SAID_WORDS = 100_000
_SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve")
WORDS = [a + b + c + d for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES for d in "nrst"]
"""As many as a language has in daily use; the first are the most frequent."""


def messages(
    user_id: str, threads: int, total: int, first_us: int, last_us: int
) -> Iterator[Message]:
    """Messages of about 300 bytes, in turn in each of a user's threads, evenly between two times
    (microseconds since 1970)."""
    chance = random.Random(total)
    weights = [1 / (rank + 10) for rank in range(len(WORDS))]
    said = chance.choices(WORDS, weights, k=SAID_WORDS)
    for number in range(total):
        time_us = first_us + (last_us - first_us) * number // total
        thread_id = f"thread-{number % threads:05}"
        moment = ids.timestamp(time_us)
        start = chance.randrange(SAID_WORDS - WORDS_PER_MESSAGE)
        yield codec.seal(
            Message(
                version=1,
                id=ids.mint(time_us, ids.shard_of(user_id, thread_id)),
                thread_id=thread_id,
                user_id=user_id,
                role="user",
                content=" ".join(said[start : start + WORDS_PER_MESSAGE]),
                metadata={},
                created_at=moment,
                updated_at=moment,
            )
        )


def add(bench: Bench, made: Iterator[Message]) -> None:
    """Imports messages, and waits until they are in ClickHouse too."""
    for _ in BulkImporter(Services(settings.load()).tiers).run(made):
        pass
    wait_until(lambda: not count(bench.engine, "SELECT count(*) FROM clickhouse_outbox"))


def archive_all() -> None:
    """Archives what is old enough, without a grace."""
    services = Services(settings.load())
    request = ArchiveRequest(rules_of(services.settings), 0, "benchmark")
    for _ in services.jobs.archive.archive_partitions(request):
        pass

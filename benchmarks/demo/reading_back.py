"""Reads everything back and compares it with its source."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from benchmarks.demo.comparison import Tally, compare_all
from benchmarks.demo.live_clients import Clients, Thread
from models.message import Message
from storage.clickhouse.pages import Selection, archived_messages
from webapp.cli.progress import progress_bar
from wiring.process import Services

SECOND = len("2018-05-02T19:38:15")
STEP = 1_000


class ReadBack(NamedTuple):
    """The comparisons: over the API, of an export, and of ClickHouse's own copy."""

    api: Tally
    export: Tally
    clickhouse: Tally

    @property
    def wrong(self) -> int:
        """All wrong messages of all comparisons."""
        return self.api.wrong + self.export.wrong + self.clickhouse.wrong


def read_back(
    services: Services, clients: Clients, live: Mapping[str, Any], rest: Mapping[str, Any]
) -> ReadBack:
    """Compares text, order and sender of every message, and the time of every imported one."""
    posted = _texts(live)
    api = compare_all(posted, clients.read(posted))
    # Live messages have the time at which they were posted, imported ones that of their source.
    given: dict[Thread, list[str]] = {**posted, **_texts(rest, with_times=True)}
    export, clickhouse = _compare_exported(services, given, set(live))
    return ReadBack(api, export, clickhouse)


def _compare_exported(
    services: Services, given: Mapping[Thread, list[str]], live: set[str]
) -> tuple[Tally, Tally]:
    """The export against the source, and ClickHouse's copy against the export, in one pass."""
    exported = (one for one in services.jobs.exporter.everything() if isinstance(one, Message))
    archive = archived_messages(services.tiers.job_clickhouse, Selection())
    found: dict[Thread, list[str]] = defaultdict(list)
    same = different = 0
    with progress_bar("comparing", sum(map(len, given.values()))) as bar:
        for number, (message, copy) in enumerate(zip_longest(exported, archive)):
            same += message == copy
            different += message != copy
            if message is not None:
                thread = message.user_id, message.thread_id
                found[thread].append(_as_given(message, message.thread_id in live))
            if number % STEP == 0:
                bar.update(bar.task_ids[0], completed=number)
    return compare_all(given, found), Tally(verified=same, different=different)


def _as_given(message: Message, is_live: bool) -> str:
    return message.content if is_live else _timed(message.content, message.created_at)


def _texts(
    conversations: Mapping[str, Any], *, with_times: bool = False
) -> dict[Thread, list[str]]:
    """The expected texts of each sender and conversation, in order."""
    threads: dict[Thread, list[str]] = defaultdict(list)
    for name, conversation in conversations.items():
        for turn in conversation["messages"]:
            for one in turn:
                text = _timed(one["text"], one["timestamp"]) if with_times else one["text"]
                threads[one["sender"], name].append(text)
    return threads


def _timed(text: str, moment: str) -> str:
    return f"{moment[:SECOND]} {text}"

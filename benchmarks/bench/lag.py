"""How long after their acknowledgement messages are seen in both databases, under load.

One client of many posts to a thread of its own; meanwhile both databases are asked again and again
which of its messages they have. A lag goes from the time in a message's id until it was seen, and
so includes up to one pause between two looks.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Engine, create_engine, text

import settings
from benchmarks import load
from benchmarks.bench.designs import USERS, Bench
from benchmarks.bench.measuring import LoadPlan, measure
from selftest.bed.launching import StackFailed

_SEEN = (
    "SELECT {time} AS moment FROM messages"
    f" WHERE user_id = '{USERS}0' AND thread_id = '{{thread}}' AND {{time}} > {{last:.6f}}"
    " ORDER BY moment"
)


class LaggingTier(NamedTuple):
    """A database, how it writes a message's time as seconds, and the pause between two looks."""

    name: str
    engine: Engine
    time: str
    pause_seconds: float


class Lags(NamedTuple):
    """Milliseconds of the messages of one run, in each database."""

    postgres: list[float]
    clickhouse: list[float]


def measure_lags(bench: Bench, plan: LoadPlan) -> Lags:
    """Runs a plan on Threadkeep with client 0 in a thread of its own."""
    thread = f"lag-{time.time_ns()}"
    ours = bench.ours()
    request = next(plan.requests(0))
    path_end = request.index(b" HTTP/1.1")
    own = b"POST /api/threads/" + thread.encode() + b"/messages" + request[path_end:]

    def requests(number: int) -> load.Requests:
        return itertools.repeat(own) if number == 0 else plan.requests(number)

    tiers = (
        LaggingTier("postgres", bench.engine, "extract(epoch FROM created_at)", 0.01),
        LaggingTier("clickhouse", _clickhouse(), "toFloat64(created_at)", 0.05),
    )
    with _watched(tiers[0], thread) as in_postgres, _watched(tiers[1], thread) as in_clickhouse:
        measure(ours, plan._replace(requests=requests))
    return Lags(in_postgres, in_clickhouse)


def percentile(lags: list[float], share: float) -> float:
    """A lag in milliseconds; `share` from 0 to 1."""
    ordered = sorted(lags)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _clickhouse() -> Engine:
    return create_engine(settings.load().clickhouse_url)


@contextmanager
def _watched(tier: LaggingTier, thread: str) -> Iterator[list[float]]:
    """Gives a list that has the lag of every message once the block has ended."""
    lags: list[float] = []
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(tier, thread, lags, ended.is_set))
    watcher.start()
    try:
        yield lags
    finally:
        ended.set()
        watcher.join()
    if not lags:
        raise StackFailed(f"no message was seen in {tier.name}")


def _watch(
    tier: LaggingTier, thread: str, lags: list[float], has_ended: Callable[[], bool]
) -> None:
    last = 0.0
    is_last_look = False
    while not is_last_look:
        is_last_look = has_ended()
        query = _SEEN.format(time=tier.time, thread=thread, last=last)
        with tier.engine.connect() as connection:
            moments = [float(moment) for (moment,) in connection.execute(text(query))]
        now = time.time()
        lags += [(now - moment) * 1000 for moment in moments]
        last = moments[-1] if moments else last
        time.sleep(tier.pause_seconds)

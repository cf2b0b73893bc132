"""Names the threads whose figures are wrong, with what differs among their messages put aside.

A row that is spoiled makes its thread's figures look wrong although they are right. So the figures
are held against what there will be once every row is as it should be.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jobs.consistency.compare import thread_figures
from jobs.consistency.compare.thread_figures import ThreadFigures
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.report import Difference, Scope
from models import ids
from models.message import Message
from storage.availability.hidden import Thread
from storage.postgres.driver import translated
from storage.tiers import Tiers

POLL_SECONDS = 0.05


class ThreadsChecked(NamedTuple):
    """How many threads were compared, and which of them state wrong figures."""

    compared: int
    wrong: list[Difference]


class ThreadCheck:
    """Compares figures; a thread is named when two looks find the same."""

    def __init__(self, tiers: Tiers, carry: Callable[[], None]) -> None:
        self._tiers = tiers
        self._carry = carry

    def check(self, scope: Scope, verdicts: Iterable[CopyVerdict], boundary: str) -> ThreadsChecked:
        """All threads of a scope. Raises `TierError`."""
        shift = _Shift(verdicts, boundary)
        server = self._tiers.job_clickhouse
        with translated(), self._tiers.job_engine.connect() as connection:
            compared = thread_figures.thread_count(connection, scope)
            suspects = thread_figures.suspicious(connection, server, scope) | shift.threads
        suspects = {thread for thread in suspects if scope.holds(*thread)}
        first = self._wrong(suspects, shift)
        if not first:
            return ThreadsChecked(compared, [])
        self._carry()
        time.sleep(POLL_SECONDS)
        again = self._wrong(first.keys(), shift)
        wrong = [
            _difference(thread, found)
            for thread, found in sorted(again.items())
            if first[thread] == found
        ]
        return ThreadsChecked(compared, wrong)

    def _wrong(self, threads: Iterable[Thread], shift: "_Shift") -> dict[Thread, ThreadFigures]:
        server = self._tiers.job_clickhouse
        with translated(), self._tiers.job_engine.connect() as connection:
            found = thread_figures.figures(connection, server, set(threads))
        shifted = {thread: shift.of(thread, each) for thread, each in found.items()}
        return {thread: each for thread, each in shifted.items() if not each.is_right}


class _Shift:
    """What mending the rows will change in the figures of their threads."""

    def __init__(self, verdicts: Iterable[CopyVerdict], boundary: str) -> None:
        self._live: Counter[Thread] = Counter()
        self._times: dict[Thread, list[int]] = {}
        self._unsure: set[Thread] = set()
        self.threads: set[Thread] = set()
        for verdict in verdicts:
            if verdict.truth is not None and set(verdict.wrong) - {"redis"}:
                self._add(verdict, verdict.truth, boundary)

    def of(self, thread: Thread, found: ThreadFigures) -> ThreadFigures:
        """The figures with the rows as they should be."""
        times = [*self._times.get(thread, ()), found.newest_us]
        newest = max((time_us for time_us in times if time_us is not None), default=None)
        if thread in self._unsure:
            newest = found.stated_newest_us
        return found._replace(live=found.live + self._live[thread], newest_us=newest)

    def _add(self, verdict: CopyVerdict, truth: Message, boundary: str) -> None:
        now = _counted(verdict, boundary)
        if now is not None:
            thread = (now.user_id, now.thread_id)
            self.threads.add(thread)
            self._live[thread] -= now.deleted_at is None
            if now.created_at != truth.created_at or thread != (truth.user_id, truth.thread_id):
                self._unsure.add(thread)
        thread = (truth.user_id, truth.thread_id)
        self.threads.add(thread)
        if not verdict.is_hidden:
            self._live[thread] += truth.deleted_at is None
            self._times.setdefault(thread, []).append(ids.time_us_of(truth.id))


def _counted(verdict: CopyVerdict, boundary: str) -> Message | None:
    """The copy that counts at present, if any."""
    copies = verdict.copies
    found = copies.committed
    if found is None and verdict.id < boundary and copies.archived:
        found = copies.archived[0].message
    return None if found is None or copies.hidden(found) else found


def _difference(thread: Thread, found: ThreadFigures) -> Difference:
    what = f"states {found.stated_count} messages, has {found.live}"
    if found.stated_count == found.live:
        what = "states another time of its newest message"
    return Difference(
        pair="threads",
        tier="postgresql",
        kind="miscounted",
        id=f"{thread[0]}/{thread[1]}",
        user_id=thread[0],
        thread_id=thread[1],
        found=what,
    )

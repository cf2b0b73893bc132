"""Names the threads whose figures are wrong, compared with what there will be once every row is
repaired: a wrong row makes right figures seem wrong."""

from collections import Counter
from collections.abc import Callable, Iterable

from jobs.consistency.compare import thread_figures
from jobs.consistency.judge.confirmation import confirmed
from jobs.consistency.judge.verdict import CopyVerdict
from jobs.consistency.report import Compared, Difference, Scope
from jobs.recover.thread_counts import ThreadFigures, figures
from models import ids
from models.message import Message
from storage.availability.hidden import Thread, thread_of
from storage.postgres.driver import translated
from storage.tiers import Tiers


def compare(
    tiers: Tiers,
    drain_pipeline: Callable[[], None],
    scope: Scope,
    verdicts: Iterable[CopyVerdict],
    boundary: str,
) -> Compared:
    """Compares the figures of all threads of a scope; a thread is named when two readings find the
    same. Raises `TierError`."""
    shift = _Shift(verdicts, boundary)
    with translated(), tiers.job_engine.connect() as connection:
        compared = thread_figures.thread_count(connection, scope)
        suspects = thread_figures.suspicious(connection, tiers.job_clickhouse, scope)
    suspects = {thread for thread in suspects | shift.threads if scope.holds(*thread)}
    wrong = confirmed(lambda: _wrong(tiers, suspects, shift), drain_pipeline)
    return Compared(compared, differences=tuple(_difference(*one) for one in sorted(wrong)))


def _wrong(
    tiers: Tiers, threads: set[Thread], shift: "_Shift"
) -> set[tuple[Thread, ThreadFigures]]:
    with translated(), tiers.job_engine.connect() as connection:
        found = figures(connection, tiers.job_clickhouse, threads)
    shifted = [(thread, shift.of(thread, each)) for thread, each in found.items()]
    return {(thread, each) for thread, each in shifted if not each.is_right}


class _Shift:
    """What repairing rows will change in the figures of their threads."""

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
            thread = thread_of(now)
            self.threads.add(thread)
            self._live[thread] -= now.deleted_at is None
            if now.created_at != truth.created_at or thread != thread_of(truth):
                self._unsure.add(thread)
        thread = thread_of(truth)
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

"""What writers and readers share: parameters, when to stop, and the records that they write."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from selftest.load.samples import RequestSample
from selftest.record.account import Account
from selftest.record.client import RecordingClient
from selftest.record.findings import Findings
from selftest.record.ledger import Entry, RequestLedger
from selftest.record.stalls import Stalls

ClientMaker = Callable[[str], RecordingClient]
"""Makes a connection for a user."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load. Writers share `users` evenly, and each user's `threads`.

    Shares are of operations. `pause_seconds` is the longest pause between two operations of one
    writer or reader; each pause is random.
    """

    writers: int = 32
    readers: int = 4
    users: int = 8
    threads: int = 2
    edit_share: float = 0.15
    delete_share: float = 0.05
    repeat_share: float = 0.03
    content_characters: int = 400
    pause_seconds: float = 0.2
    retry_seconds: float = 0.1


@dataclass
class Traffic:
    """One run's shared state. `samples` are all answers with their times, `stalls` the moments in
    which the machine, not the server, made them late."""

    ledger: RequestLedger
    account: Account
    findings: Findings
    connect: ClientMaker
    name: str = "run"
    stopping: threading.Event = field(default_factory=threading.Event)
    samples: list[RequestSample] = field(default_factory=list)
    stalls: Stalls = field(default_factory=Stalls)
    operations: "itertools.count[int]" = field(default_factory=itertools.count)

    def user(self, number: int) -> str:
        """The id of a user by number."""
        return f"{self.name}-user-{number}"

    def note(self, entry: Entry) -> None:
        """Write an entry to disk and into the account.

        An answer counts from the moment at which the account has it, after the client got it: a
        reader that begins later must find it.
        """
        with self.stalls.brief():
            self.ledger.append(entry)
        self.account.note(entry)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        self.stopping.wait(seconds)

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.stopping.is_set()


@contextmanager
def running(traffic: Traffic, jobs: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Run jobs that end when the run is over, each in a thread; the end of the block ends it.

    An error in one of them ends the run, and is raised here.
    """
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)
            traffic.stopping.set()

    everybody = [*jobs, lambda: traffic.stalls.watch(traffic.stopping)]
    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in everybody]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        traffic.stopping.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def wait_for(condition: Callable[[], bool], seconds: float, poll_seconds: float = 0.05) -> bool:
    """Poll a condition and tell whether it came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True

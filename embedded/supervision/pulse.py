"""Probes programs: one that hangs is as useless as one that died."""

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import urlsplit

from embedded.supervision import procfs

ROUND_SECONDS = 10.0
ASKS = 8
"""Probes in a round where several processes may answer, each on its own connection: each reaches
one of them, and one must reach the process that hangs. A program of one process gets one."""
ANSWER_SECONDS = 10.0
"""Far more than an answer takes on a busy machine."""
MISSES = 3
START_SECONDS = 120.0
"""A program may take this long until its first answer; afterwards silence counts."""
LATE_SECONDS = 2.0
"""A probe delayed by this much was stopped itself, or the machine was, and so were the programs."""


class Pulse:
    """The probe of one program: a thread probes, the supervisor reads `is_silent`."""

    def __init__(self, url: str, pid: Callable[[], int | None]) -> None:
        """`pid` gives the program's leader while it runs."""
        self._url = url
        self._pid = pid
        self._asked: int | None = None
        self._began = 0.0
        self._has_answered = False
        self._misses = 0
        self._ended = threading.Event()

    @property
    def is_silent(self) -> bool:
        """Whether the current process of the program failed several rounds in a row."""
        return self._misses >= MISSES and self._asked == self._pid()

    def begin(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._ask_on, name="pulse", daemon=True).start()

    def end(self) -> None:
        """Stop the thread."""
        self._ended.set()

    def _ask_on(self) -> None:
        due = time.monotonic() + ROUND_SECONDS
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            is_late = time.monotonic() - due > LATE_SECONDS
            self._round(is_late)
            due = time.monotonic() + ROUND_SECONDS

    def _round(self, is_late: bool) -> None:
        pid = self._pid()
        if pid is None:
            return
        if pid != self._asked:
            self._asked, self._began = pid, time.monotonic()
            self._has_answered, self._misses = False, 0
        if all(answers(self._url) for _ in range(_asks(pid))):
            self._has_answered, self._misses = True, 0
        elif is_late or _is_stopped(pid):
            self._misses = 0
        elif self._has_answered or time.monotonic() - self._began > START_SECONDS:
            self._misses += 1


class Pulses:
    """The probes of all programs that have a health address."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """`pids` gives the leaders of the programs that run, by name; it is called by threads."""
        self._pids = pids
        self._pulses: dict[str, Pulse] = {}

    def begin(self, urls: Mapping[str, str]) -> None:
        """Probe programs, by name, from now on."""
        for name, url in urls.items():
            self._pulses[name] = pulse = Pulse(url, partial(self._pid_of, name))
            pulse.begin()

    def _pid_of(self, name: str) -> int | None:
        return self._pids().get(name)

    def silent(self) -> list[str]:
        """Return the names of those that do not answer."""
        return [name for name, pulse in self._pulses.items() if pulse.is_silent]

    def end(self) -> None:
        """Stop all probes."""
        for pulse in self._pulses.values():
            pulse.end()
        self._pulses = {}


def answers(url: str) -> bool:
    """Tell whether a GET gets a well-formed answer, of any status, within seconds."""
    parts = urlsplit(url)
    link = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=ANSWER_SECONDS
    )
    try:
        link.request("GET", parts.path or "/")
        return link.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def _asks(leader: int) -> int:
    """How many probes a round needs: with one child, or none, there is one process to answer."""
    try:
        return 1 if len(procfs.children(leader)) <= 1 else ASKS
    except OSError:
        return ASKS


def _is_stopped(leader: int) -> bool:
    """Tell whether somebody stopped a process of the program with SIGSTOP, to continue it later."""
    return any(found.session == leader and found.state in "Tt" for found in procfs.entries())

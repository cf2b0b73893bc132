"""The threads that a process keeps for itself: none may die of what nobody foresaw."""

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class PeriodicThread:
    """A daemon thread that does `work` round after round, whatever a round raises."""

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        pause_seconds: Callable[[], float],
        failure: str,
        *,
        on_failure: Callable[[], None] = lambda: None,
        is_wanted: Callable[[], bool] = lambda: True,
        waits_first: bool = False,
        shows_traceback: bool = True,
    ) -> None:
        """`pause_seconds` is asked after each round, and before the first if it `waits_first`.

        A round that fails is logged as the event `failure`, then `on_failure` is called. The thread
        ends when `is_wanted` says no.
        """
        self._name = name
        self._work = work
        self._pause_seconds = pause_seconds
        self._failure = failure
        self._on_failure = on_failure
        self._is_wanted = is_wanted
        self._waits_first = waits_first
        self._shows_traceback = shows_traceback
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread lives, in this process."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Starts the thread unless it runs."""
        with self._lock:
            if not self.is_running:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Lets the thread end after its present round, for good."""
        self._stop.set()

    def join(self, timeout_seconds: float) -> None:
        """Waits for the thread to end, at most so long."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def round(self) -> None:
        """Does the work once, in the calling thread. Never raises."""
        try:
            self._work()
        except Exception as error:
            self._on_failure()
            if self._shows_traceback:
                log.exception(self._failure)
            else:
                log.warning(self._failure, error=type(error).__name__)

    def _run(self) -> None:
        is_over = self._waits_first and self._stop.wait(self._pause_seconds())
        while not is_over and self._goes_on():
            self.round()
            is_over = self._stop.wait(self._pause_seconds())

    def _goes_on(self) -> bool:
        with self._lock:
            # Whoever begins it from here on finds no thread, and starts another.
            if not self._is_wanted():
                self._thread = None
            return self._thread is not None

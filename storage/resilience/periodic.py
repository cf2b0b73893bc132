"""The threads that a process keeps for itself: none may die of what nobody foresaw."""

import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class PeriodicThread:
    """A daemon thread that does `work` round after round, whatever a round raises.

    `pause_seconds` is asked after each round, and before the first if it `waits_first`. A round
    that fails is logged as the event `failure`, then `on_failure` is called. The thread ends when
    `is_wanted` says no.
    """

    name: str
    work: Callable[[], object]
    pause_seconds: Callable[[], float]
    failure: str
    _: KW_ONLY
    on_failure: Callable[[], None] = lambda: None
    is_wanted: Callable[[], bool] = lambda: True
    waits_first: bool = False
    shows_traceback: bool = True

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread was begun and has not ended."""
        return self._thread is not None

    def begin(self) -> None:
        """Starts the thread unless it runs."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Lets the thread end after its present round, for good."""
        self._stop.set()

    def round(self) -> None:
        """Does the work once, in the calling thread. Never raises."""
        try:
            self.work()
        except Exception as error:
            self.on_failure()
            if self.shows_traceback:
                log.exception(self.failure)
            else:
                log.warning(self.failure, error=type(error).__name__)

    def _run(self) -> None:
        is_over = self.waits_first and self._stop.wait(self.pause_seconds())
        while self._goes_on(is_over):
            self.round()
            is_over = self._stop.wait(self.pause_seconds())

    def _goes_on(self, is_over: bool) -> bool:
        with self._lock:
            # Whoever begins it from here on finds no thread, and starts another.
            if is_over or not self.is_wanted():
                self._thread = None
                return False
            return True

"""Counts Python calls: of the calling thread, and of threads that start meanwhile."""

import sys
import threading
from collections import Counter
from types import FrameType, TracebackType
from typing import Any, cast


class CallCounter:
    """The block in which threads start whose calls are counted while `is_counting`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """By the names of the threads."""
        self.is_counting = False

    def __enter__(self) -> "CallCounter":
        threading.setprofile(self._count)
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        threading.setprofile(cast(Any, None))
        sys.setprofile(None)

    def begin_own(self) -> None:
        """Counts calls of this thread, too, until `end_own`."""
        sys.setprofile(self._count)
        self.is_counting = True

    def end_own(self) -> None:
        """Counts only other threads' from now on."""
        sys.setprofile(None)

    def of(self, thread: str) -> int:
        """The calls of this thread and of another one, by its name."""
        return self.counts[threading.current_thread().name] + self.counts[thread]

    def _count(self, _: FrameType, event: str, __: Any) -> None:
        if self.is_counting and event in {"call", "c_call"}:
            self.counts[threading.current_thread().name] += 1

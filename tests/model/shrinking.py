"""The smallest part of what was done that still shows the difference."""

import time
from collections.abc import Callable, Sequence

from model.drawing import Op


def smallest(
    done: Sequence[Op], fails: Callable[[list[Op]], bool], seconds: float
) -> tuple[list[Op], bool]:
    """Leaves out halves, quarters, and so on, as long as it still fails and time is left; gives
    what is left, and whether it failed again at all."""
    deadline = time.monotonic() + seconds
    left, size, failed = list(done), max(1, len(done) // 2), False
    while time.monotonic() < deadline:
        at = 0
        shrank = False
        while at < len(left) and time.monotonic() < deadline:
            fewer = left[:at] + left[at + size :]
            if fewer and fails(fewer):
                left, shrank, failed = fewer, True, True
            else:
                at += size
        if size == 1 and not shrank:
            break
        size = max(1, size // 2)
    return left, failed

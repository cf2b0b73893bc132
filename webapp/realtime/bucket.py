"""How fast one client is read: a bucket of tokens, one a frame, and more for a wrong one."""

import time

import gevent

FRAMES_PER_SECOND = 200
BURST = 400
WRONG_COSTS = 20
"""What is answered with an error costs the others more time, and its sender little."""


class Bucket:
    """Full at first. Whoever takes more than comes in waits, and is read the slower for it."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()

    def take(self, tokens: int = 1) -> None:
        """Takes tokens, and waits for them if there are none."""
        now = time.monotonic()
        come_in = (now - self._filled_at) * FRAMES_PER_SECOND
        self._tokens = min(BURST, self._tokens + come_in) - tokens
        self._filled_at = now
        if self._tokens < 0:
            gevent.sleep(-self._tokens / FRAMES_PER_SECOND)

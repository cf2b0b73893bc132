"""How fast one client is read: a bucket of tokens, one a frame."""

import time

import gevent

FRAMES_PER_SECOND = 200
BURST = 400


class Bucket:
    """Full at first. Whoever takes more than comes in waits, and is read the slower for it."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()

    def take(self) -> None:
        """Takes a token, and waits for it if there is none."""
        now = time.monotonic()
        come_in = (now - self._filled_at) * FRAMES_PER_SECOND
        self._tokens = min(BURST, self._tokens + come_in) - 1
        self._filled_at = now
        if self._tokens < 0:
            gevent.sleep(-self._tokens / FRAMES_PER_SECOND)

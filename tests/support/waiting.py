"""Waiting for what comes soon: polls a condition, never sleeps for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02


def eventually(condition: Callable[[], T], seconds: float = 30) -> T:
    """The first truthy value of a condition; fails where there is none before the deadline.

    A condition that raises `AssertionError` is not true yet, and its text says why in the end.
    """
    deadline = time.monotonic() + seconds
    reason = "it never came true"
    while time.monotonic() < deadline:
        try:
            value = condition()
        except AssertionError as error:
            reason = str(error)
        else:
            if value:
                return value
            reason = f"the last value was {value!r}"
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"not within {seconds:g} s: {reason}")

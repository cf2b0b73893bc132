"""Keeps packages that nobody asked for out of memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(package: str) -> Iterator[None]:
    """Has what is imported meanwhile take an optional package for one that is not installed, unless
    it is loaded already."""
    if package in sys.modules:
        yield
        return
    # This is how `import` is told that there is no such module.
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]

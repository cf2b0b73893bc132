"""Reads a backup's files within bounds: plain files only, and no more of each than it may have."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

MANIFEST_BYTES = 1 << 20


def opened(path: Path) -> BinaryIO:
    """A regular file, open for reading. Raises `OSError`, for links, pipes and devices too."""
    # Opening a pipe would wait for somebody to write, and some devices act on it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_small(path: Path) -> bytes:
    """All of a file that must be small. Raises `OSError`."""
    with opened(path) as stream:
        data = stream.read(MANIFEST_BYTES + 1)
    if len(data) > MANIFEST_BYTES:
        raise OSError(f"{path} has more than {MANIFEST_BYTES:,} bytes")
    return data

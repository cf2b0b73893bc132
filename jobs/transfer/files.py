"""Files that are read within bounds, and files that are on disk once they are written."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

MANIFEST_BYTES = 1 << 20


def opened(path: Path) -> BufferedReader:
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


@contextmanager
def created(path: Path) -> Iterator[IO[bytes]]:
    """A new file, on disk after the block: conversations are nobody else's business."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())

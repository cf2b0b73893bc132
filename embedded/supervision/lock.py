"""The lock that lets one supervisor at a time work on a data folder."""

import fcntl
import os
from pathlib import Path

from embedded.errors import AlreadyRunning


class DataLock:
    """An advisory lock on `<data>/lock`, which also names its holder.

    The kernel drops it with the holder, however that dies, and child processes do not inherit
    it: a server that outlives its supervisor is a leftover to end, not an owner.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise `AlreadyRunning` at once."""
        descriptor = os.open(self._data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunning(
                f"another stack already runs on {self._data} (process {holder})"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; doing so twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(data: Path) -> int | None:
    """Return the process that holds the lock of a data folder, or None if nobody does."""
    try:
        descriptor = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Let go of at once: a shared lock keeps nobody but a supervisor that starts just now.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 32, 0) or 0) or None
    else:
        return None
    finally:
        os.close(descriptor)

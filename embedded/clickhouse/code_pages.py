"""Gives back the memory of program code that only the start has run.

The engine is a library of half a gigabyte. Its start touches 190 MB of it that later statements do
not use, and they would stay in memory beside its data. What is needed again is mapped again from
the page cache or the file.
"""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_DONTNEED = 4
"""MADV_DONTNEED of Linux."""


def give_back(library: str) -> None:
    """Unmaps the code and constants of a loaded library until they are used. Never raises."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    # Without the list of its own memory a process simply keeps it.
    with suppress(OSError):
        for start, end in list(_unchanged(library)):
            advise(start, end - start, _DONTNEED)


def _unchanged(library: str) -> Iterator[tuple[int, int]]:
    """The parts of it that are as in the file: read-only, and with no page of this process's own,
    which would be lost."""
    part: tuple[int, int] | None = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *fields = line.split()
        if not name.endswith(":"):
            start, _, end = name.partition("-")
            is_code = "w" not in fields[0] and fields[-1].endswith(f"/{library}")
            part = (int(start, 16), int(end, 16)) if is_code else None
        elif part and name == "Anonymous:" and fields[0] == "0":
            yield part

"""What stands on the disk of a Valkey that is down, and what one that loses power would find."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from embedded.supervision import procfs
from models import codec, tables
from selftest.bed.stack import Testbed
from storage.redis import keys
from support.stack.own_valkey import own_valkey
from support.waiting import eventually
from wiring.process import Services

REDIS = "redis-data"
AOF_FOLDER = "appendonlydir"
_TAKEN = re.compile(r"^writev?\(.* = (\d+)$")
TORN = b"*3\r\n$3\r\nSET\r\n$9\r\nhalf-a-wo"
"""The beginning of a write that was never acknowledged."""


@contextmanager
def powered_off(bed: Testbed, *, wait: bool = True) -> Iterator[Path]:
    """Redis is killed, and started anew only after the block; gives the folder of its data."""
    with bed.unattended(REDIS):
        leader = bed.kill(REDIS)
        assert leader is not None
        eventually(lambda: (found := procfs.entry(leader)) is None or not found.alive)
        yield bed.folder_of(REDIS)
    if wait:
        bed.wait_until_back(REDIS, leader)


def log_of(folder: Path, copy: Path, slots: int) -> set[str]:
    """The ids of the messages that the pending log in this folder holds; `copy` is made."""
    shutil.copytree(folder / AOF_FOLDER, copy / AOF_FOLDER)
    with own_valkey(copy) as valkey:
        client = valkey.client()
        entries = [
            fields
            for slot in range(slots)
            for _, fields in client.xrange(keys.pending(slot))  # type: ignore[union-attr]
        ]
    return {codec.decode(fields[b"message"]).id for fields in entries if b"message" in fields}


def uncommitted(services: Services, message_ids: set[str]) -> set[str]:
    """Those of them that PostgreSQL does not have."""
    messages = tables.messages.c
    with services.tiers.job_engine.connect() as connection:
        found = connection.execute(select(messages.id).where(messages.id.in_(message_ids)))
        return message_ids - set(found.scalars())


def newest_log_file(folder: Path) -> Path:
    """The file that Valkey was appending to."""
    return max(
        (folder / AOF_FOLDER).glob("*.incr.aof"), key=lambda file: int(file.name.split(".")[-3])
    )


def cut(file: Path, end: int) -> None:
    """Takes from a log what had not reached the disk, and leaves half a word behind."""
    with file.open("r+b") as stream:
        stream.truncate(end)
        stream.seek(end)
        stream.write(TORN)


@contextmanager
def syncs_traced(pid: int, trace: Path) -> Iterator[Path]:
    """Has every write and sync of a process written to a file, until the process ends."""
    calls = "trace=write,writev,fsync,fdatasync"
    command = ["strace", "-f", "-y", "-s", "0", "-e", calls, "-o", str(trace), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        try:
            eventually(lambda: trace.exists() and trace.stat().st_size)
            yield trace
        finally:
            tracer.terminate()


def unsynced_bytes(trace: Path, file: Path) -> int:
    """What was written to a file after the last of its syncs that returned had begun."""
    written = synced = 0
    begun: dict[str, int] = {}
    for line in trace.read_text().splitlines():
        thread, call = line.split(maxsplit=1)
        if f"<{file}>" in call and "sync(" in call:
            begun[thread] = written
        elif f"<{file}>" in call and (took := _TAKEN.search(call)):
            written += int(took.group(1))
        if "sync" in call and call.endswith(" = 0") and thread in begun:
            synced = begun.pop(thread)
    return written - synced

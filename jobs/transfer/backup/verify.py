"""Proves that a backup's files are what its manifest says, before any row of them is used."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from jobs.transfer.backup.manifest import MESSAGES, BackupFile, SignedManifest, read
from jobs.transfer.files import opened
from models import codec
from storage.errors import Refused

_row = msgspec.json.Decoder(dict[str, object])
MAX_ROW_BYTES = 64 * 1024 * 1024
"""Far more than any row has: a state is the largest, of 256 KiB."""


def verify(folder: Path, key: bytes | None, *, trust: bool = False) -> SignedManifest:
    """A backup of which every byte and every message was checked. Raises `Refused` for what
    differs, and, unless `trust`, for one that the key has not signed."""
    found = read(folder, key)
    if not (found.is_signed or trust):
        raise Refused(
            f"{folder} is not signed with this installation's THREADKEEP_JWT_SECRET: another"
            " installation or an earlier version made it, or somebody changed it. If you know where"
            " it comes from, --trust takes it all the same, without its audit trail and API keys"
        )
    for part in found.manifest.parts.values():
        _check_bytes(folder / part.file, part)
    _check_rows(folder, found)
    return found


def _check_bytes(path: Path, part: BackupFile) -> None:
    """Compares a file with the manifest."""
    try:
        with opened(path) as stream:
            is_whole = os.fstat(stream.fileno()).st_size == part.bytes
            digest = hashlib.file_digest(stream, "sha256").hexdigest() if is_whole else ""
    except OSError as error:
        raise Refused(f"{part.file} cannot be read: {error}") from error
    if digest != part.sha256:
        raise Refused(f"{part.file} is damaged: its checksum is not that of the manifest")


def _check_rows(folder: Path, found: SignedManifest) -> None:
    """Reads every row, and compares every message with its own hash. Those that were damaged
    already when a signed backup was made may be."""
    for name, part in found.manifest.parts.items():
        allowed = part.damaged if found.is_signed else 0
        for number, line in enumerate(lines(folder, part), 1):
            if not _is_intact(name, line):
                allowed -= 1
            if allowed < 0:
                where = f"{part.file}, line {number}"
                raise Refused(f"{where}: the row is none, or does not match its hash")


def lines(folder: Path, part: BackupFile) -> Iterator[bytes]:
    """The rows of a file, as many as the manifest says. Raises `Refused` where there are others."""
    most = part.rows * MAX_ROW_BYTES if part.unpacked is None else part.unpacked
    count = size = 0
    try:
        with opened(folder / part.file) as packed, gzip.GzipFile(fileobj=packed) as stream:
            while line := stream.readline(min(MAX_ROW_BYTES, most - size) + 1):
                count, size = count + 1, size + len(line)
                if len(line) > MAX_ROW_BYTES or size > most or count > part.rows:
                    raise Refused(f"{part.file} has more in it than its manifest says")
                yield line.rstrip(b"\n")
    except (OSError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refused(f"{part.file} cannot be read: {error}") from error
    if count != part.rows:
        raise Refused(f"{part.file} has {count} rows, its manifest says {part.rows}")


def _is_intact(table: str, line: bytes) -> bool:
    """Whether a row is an object, and a message one that matches its hash."""
    try:
        if table == MESSAGES:
            return codec.is_intact(codec.decode(line))
        _row.decode(line)
    except (codec.Corrupt, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True

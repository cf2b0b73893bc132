"""Writes a backup: all or nothing, with checksums of every file, and signed."""

import gzip
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from jobs.audit import AuditTrail
from jobs.recover.runs import OnProgress
from jobs.transfer.backup.manifest import (
    FORMAT,
    LINKS,
    MESSAGES,
    NAME,
    SIGNATURE,
    BackupFile,
    Manifest,
    file_of,
    key_of,
    signature,
)
from jobs.transfer.backup.snapshot import BackupSnapshot
from jobs.transfer.backup.verify import MAX_ROW_BYTES
from jobs.transfer.export import snapshot_connection
from jobs.transfer.files import created, opened
from models import codec, ids
from storage.errors import Refused
from storage.tiers import Tiers

COMPRESSION = 6
STEP = 2_000


@dataclass(eq=False)
class BackupService:
    """Makes backups, beside live traffic. `_gather` brings to PostgreSQL what was acknowledged and
    is elsewhere by now."""

    _tiers: Tiers
    _audit: AuditTrail
    _gather: Callable[[], object]

    def write(
        self, folder: Path, actor: str, on_progress: OnProgress = lambda *_: None
    ) -> Manifest:
        """Writes all that is acknowledged by now into a new folder. Raises `Refused` where there is
        one already, and `TierError`; no folder is left then."""
        if folder.exists():
            raise Refused(f"{folder} is there already")
        key = key_of(self._tiers.settings.signing_secret)
        if key is None:
            raise Refused("THREADKEEP_JWT_SECRET is not set, which backups are signed with")
        self._gather()
        with _drafted(folder) as draft:
            made_at = ids.timestamp(self._tiers.clock.now_us())
            with snapshot_connection(self._tiers.job_engine) as connection:
                taken = BackupSnapshot(connection, self._tiers.job_clickhouse)
                manifest = Manifest(
                    format=FORMAT,
                    made_at=made_at,
                    installation=taken.installation,
                    boundary=taken.boundary,
                    parts=_parts(draft, taken, on_progress),
                )
            data = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
            _write(draft / NAME, data)
            _write(draft / SIGNATURE, signature(key, data).encode() + b"\n")
        self._audit.note(actor, "backup.made", "all", manifest.rows)
        return manifest


def _parts(draft: Path, taken: BackupSnapshot, on_progress: OnProgress) -> dict[str, BackupFile]:
    damaged = 0

    def records() -> Iterator[bytes]:
        """Messages that do not match their own hash are kept as they are, and counted."""
        nonlocal damaged
        for message in taken.messages():
            damaged += not codec.is_intact(message)
            yield codec.encode(message)

    parts = {table: _pack(draft, table, taken.rows(table), on_progress) for table in taken.tables}
    parts[LINKS] = _pack(draft, LINKS, taken.links(), on_progress)
    part = _pack(draft, MESSAGES, records(), on_progress)
    return parts | {MESSAGES: msgspec.structs.replace(part, damaged=damaged)}


def _pack(draft: Path, name: str, rows: Iterable[bytes], on_progress: OnProgress) -> BackupFile:
    path = draft / file_of(name)
    count = size = 0
    # No name and no time inside: the same rows are the same bytes.
    with created(path) as raw, gzip.GzipFile("", "wb", COMPRESSION, raw, 0) as packed:
        for count, row in enumerate(rows, 1):
            if len(row) >= MAX_ROW_BYTES:
                raise Refused(f"row {count} of {name} has {len(row):,} bytes, too many to restore")
            packed.write(row + b"\n")
            size += len(row) + 1
            if count % STEP == 0:
                on_progress(name, count, 0)
    on_progress(name, count, count)
    with opened(path) as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    packed_bytes = path.stat().st_size
    return BackupFile(file=path.name, rows=count, bytes=packed_bytes, sha256=sha256, unpacked=size)


@contextmanager
def _drafted(folder: Path) -> Iterator[Path]:
    """A folder that gets its name only when all of it is on disk."""
    draft = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    # Conversations are nobody else's business.
    draft.mkdir(mode=0o700, parents=True)
    try:
        yield draft
        _sync(draft)
        draft.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with created(path) as stream:
        stream.write(data)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Writes a backup: all or nothing, with checksums of every file, and signed."""

import gzip
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from sqlalchemy import Engine

from jobs.audit import AuditTrail
from jobs.transfer.backup import signing
from jobs.transfer.backup.manifest import FORMAT, MESSAGES, NAME, BackupFile, Manifest, file_of
from jobs.transfer.backup.snapshot import BackupSnapshot, snapshot
from jobs.transfer.backup.verify import MAX_ROW_BYTES
from models import codec, ids
from models.ids import Clock
from models.message import Message
from storage.clickhouse.driver import ClickHouse
from storage.errors import Refused

Tell = Callable[[str, int, int], None]
COMPRESSION = 6
STEP = 2_000


class BackupService:
    """Makes backups, beside live traffic."""

    def __init__(
        self,
        engine: Engine,
        server: ClickHouse,
        gather: Callable[[], object],
        audit: AuditTrail,
        clock: Clock,
        key: bytes,
    ) -> None:
        """`gather` brings to PostgreSQL what was acknowledged and is elsewhere by now; the key
        signs."""
        self._engine = engine
        self._server = server
        self._gather = gather
        self._audit = audit
        self._clock = clock
        self._key = key

    def write(self, folder: Path, actor: str, tell: Tell = lambda *_: None) -> Manifest:
        """Writes all that is acknowledged by now into a new folder.

        Raises `Refused` where there is one already, and `TierError`; no folder is left then.
        """
        if folder.exists():
            raise Refused(f"{folder} is there already")
        self._gather()
        with _drafted(folder) as draft:
            made_at = ids.timestamp(self._clock.now_us())
            with snapshot(self._engine, self._server) as taken:
                manifest = Manifest(
                    format=FORMAT,
                    made_at=made_at,
                    installation=taken.installation,
                    boundary=taken.boundary,
                    parts=dict(_parts(draft, taken, tell)),
                )
            data = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
            _write(draft / NAME, data)
            _write(draft / signing.NAME, signing.signature(self._key, data).encode() + b"\n")
        self._audit.note(actor, "backup.made", "all", manifest.rows)
        return manifest


def _parts(draft: Path, taken: BackupSnapshot, tell: Tell) -> Iterator[tuple[str, BackupFile]]:
    for table in taken.tables:
        yield table, _pack(draft, table, taken.rows(table), tell)
    damage = _Damage()
    part = _pack(draft, MESSAGES, damage.records(taken.messages()), tell)
    yield MESSAGES, msgspec.structs.replace(part, damaged=damage.found)


class _Damage:
    """Counts messages that do not match their own hash: they are kept as they are, and said."""

    def __init__(self) -> None:
        self.found = 0

    def records(self, messages: Iterable[Message]) -> Iterator[bytes]:
        for message in messages:
            self.found += not codec.is_intact(message)
            yield codec.encode(message)


def _pack(draft: Path, name: str, rows: Iterable[bytes], tell: Tell) -> BackupFile:
    path = draft / file_of(name)
    count = size = 0
    with _opened(path) as raw:
        sink = _Digest(raw)
        # No name and no time inside: the same rows are the same bytes.
        with gzip.GzipFile("", "wb", COMPRESSION, cast(IO[bytes], sink), 0) as packed:
            for count, row in enumerate(rows, 1):
                if len(row) >= MAX_ROW_BYTES:
                    raise Refused(
                        f"row {count} of {name} has {len(row):,} bytes, too many to restore"
                    )
                packed.write(row + b"\n")
                size += len(row) + 1
                if count % STEP == 0:
                    tell(name, count, 0)
    tell(name, count, count)
    return BackupFile(
        file=path.name,
        rows=count,
        bytes=sink.written,
        sha256=sink.digest.hexdigest(),
        unpacked=size,
    )


class _Digest:
    """Passes on what is written, and knows its checksum."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.written = 0

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.written += len(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


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


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def _write(path: Path, data: bytes) -> None:
    with _opened(path) as stream:
        stream.write(data)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

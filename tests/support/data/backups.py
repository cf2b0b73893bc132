"""Backups as somebody else would write them: right in themselves, and signed by nobody."""

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from jobs.transfer.backup.manifest import (
    FORMAT,
    MESSAGES,
    NAME,
    SIGNATURE,
    BackupFile,
    Manifest,
    file_of,
    signature,
)
from models import ids


def write(folder: Path, tables: dict[str, Sequence[bytes]], key: bytes | None = None) -> None:
    """A new backup of these rows."""
    folder.mkdir()
    parts = {name: _part(folder, name, rows) for name, rows in ({MESSAGES: []} | tables).items()}
    manifest = Manifest(
        format=FORMAT,
        made_at="2026-01-01T00:00:00.000000Z",
        installation="somebody",
        boundary=ids.LOWEST,
        parts=parts,
    )
    _finish(folder, manifest, key)


def forge(folder: Path, table: str, rows: Sequence[bytes]) -> None:
    """Puts other rows into a backup, and has its manifest say so."""
    manifest = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    parts = manifest.parts | {table: _part(folder, table, rows)}
    _finish(folder, msgspec.structs.replace(manifest, parts=parts), None)


def change(folder: Path, table: str, key: bytes | None = None, **fields: Any) -> None:
    """Has the manifest say something else of a file."""
    manifest = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    part = msgspec.structs.replace(manifest.parts[table], **fields)
    parts = manifest.parts | {table: part}
    _finish(folder, msgspec.structs.replace(manifest, parts=parts), key)


def _part(folder: Path, name: str, rows: Sequence[bytes]) -> BackupFile:
    lines = b"".join(row + b"\n" for row in rows)
    data = gzip.compress(lines)
    (folder / file_of(name)).write_bytes(data)
    return BackupFile(
        file=file_of(name),
        rows=len(rows),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        unpacked=len(lines),
    )


def _finish(folder: Path, manifest: Manifest, key: bytes | None) -> None:
    data = msgspec.json.encode(manifest)
    (folder / NAME).write_bytes(data)
    if key is not None:
        (folder / SIGNATURE).write_text(signature(key, data))

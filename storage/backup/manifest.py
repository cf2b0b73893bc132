"""What a backup says of itself: which files there are, with how many rows and which checksums."""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from models import codec
from storage.errors import Refused

NAME = "manifest.json"
MESSAGES = "messages"
FORMAT = 1
BLOCK_BYTES = 1 << 20


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A file of JSON lines: its name, how many, and the SHA-256 of its bytes as they lie there."""

    file: str
    rows: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup. `boundary` is the archive's; `parts` are by table, the messages of all tiers
    among them."""

    format: int
    made_at: str
    installation: str
    boundary: str
    parts: dict[str, Part]

    @property
    def rows(self) -> dict[str, int]:
        """How many rows of each table there are."""
        return {name: part.rows for name, part in self.parts.items()}


def read(folder: Path) -> Manifest:
    """The manifest of a backup. Raises `Refused` where there is none that this code knows."""
    try:
        found = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(f"{folder} is not a backup: {error}") from error
    if found.format != FORMAT:
        raise Refused(f"{folder} is a backup of format {found.format}, this code reads {FORMAT}")
    return found


def verify(folder: Path) -> Manifest:
    """The manifest, after every byte was compared with it. Raises `Refused` for what differs."""
    found = read(folder)
    for part in found.parts.values():
        try:
            digest = _digest(folder / part.file)
        except OSError as error:
            raise Refused(f"{part.file} cannot be read: {error}") from error
        if digest != part.sha256:
            raise Refused(f"{part.file} is damaged: its checksum is not that of the manifest")
    return found


def verify_rows(folder: Path, manifest: Manifest) -> int:
    """Reads every row, and every message against its own hash; gives how many messages there are.

    Raises `Refused` likewise.
    """
    for name, part in manifest.parts.items():
        count = 0
        for line in lines(folder, part):
            count += 1
            if name == MESSAGES and not codec.is_intact(codec.decode(line)):
                raise Refused(f"{part.file}, line {count}: the message does not match its hash")
        if count != part.rows:
            raise Refused(f"{part.file} has {count} rows, its manifest says {part.rows}")
    return manifest.parts[MESSAGES].rows


def lines(folder: Path, part: Part) -> Iterator[bytes]:
    """The rows of a file."""
    with gzip.open(folder / part.file, "rb") as stream:
        for line in stream:
            yield line.rstrip(b"\n")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

"""What a backup says of itself: its files with their rows and checksums, and who made it. It is
believed once its signature is right: an HMAC, whose key comes from the secret that tokens are
signed with."""

import hashlib
import hmac
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from jobs.transfer.files import read_small
from storage.errors import Refused

NAME = "manifest.json"
SIGNATURE = "manifest.hmac"
MESSAGES = "messages"
AUDIT = "audit_trail"
LINKS = "thread_links"
HEADS = "thread_heads"
FORMAT = 1
_PURPOSE = b"threadkeep backup manifest"
_BOUND = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TABLE = re.compile(r"[a-z][a-z0-9_]{0,62}")


class BackupFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of JSON lines: its name, how many, and the SHA-256 of its bytes as they lie there.

    `unpacked` are its bytes as lines, which older backups do not say; `damaged` its messages that
    did not match their own hash when it was made.
    """

    file: str
    rows: int
    bytes: int
    sha256: str
    unpacked: int | None = None
    damaged: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup. `boundary` is the archive's; `parts` are by table, the messages of all tiers
    among them."""

    format: int
    made_at: str
    installation: str
    boundary: str
    parts: dict[str, BackupFile]

    @property
    def rows(self) -> dict[str, int]:
        """How many rows of each table there are."""
        return {name: part.rows for name, part in self.parts.items()}

    @property
    def damaged(self) -> int:
        """How many messages did not match their own hash when it was made."""
        return sum(part.damaged for part in self.parts.values())


class SignedManifest(NamedTuple):
    """A backup's manifest, and whether this installation has signed it."""

    manifest: Manifest
    is_signed: bool


def file_of(table: str) -> str:
    """The name of a table's file."""
    return f"{table}.jsonl.gz"


def key_of(secret: str) -> bytes | None:
    """The key for backups of an installation with this secret, None for one without."""
    return hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256) if secret else None


def signature(key: bytes, manifest: bytes) -> str:
    """The signature of a manifest's bytes, in hex."""
    return hmac.new(key, manifest, hashlib.sha256).hexdigest()


def read(folder: Path, key: bytes | None) -> SignedManifest:
    """The manifest of a backup, and whether the key, if any, has signed it. Raises `Refused` where
    there is none that this code knows."""
    try:
        data = read_small(folder / NAME)
        found = msgspec.json.decode(data, type=Manifest)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"{folder} is not a backup: {error}") from error
    if found.format != FORMAT:
        raise Refused(f"{folder} is a backup of format {found.format}, this code reads {FORMAT}")
    if reason := _why_not(found):
        raise Refused(f"{folder} is not a backup: {reason}")
    return SignedManifest(found, key is not None and _is_signed(folder, key, data))


def _is_signed(folder: Path, key: bytes, data: bytes) -> bool:
    try:
        found = read_small(folder / SIGNATURE).strip()
    except OSError:
        return False
    return hmac.compare_digest(signature(key, data).encode(), found)


def _why_not(found: Manifest) -> str | None:
    """Why no backup has such names of files or such numbers; None where one may."""
    for table, part in found.parts.items():
        if _TABLE.fullmatch(table) is None or part.file != file_of(table):
            return f"it names a file {part.file!a}"
        if min(part.rows, part.bytes, part.unpacked or 0, part.damaged) < 0:
            return f"{part.file} has less than nothing"
    if MESSAGES not in found.parts:
        return "it has no messages"
    # A bound between ids, and so mostly none itself.
    if _BOUND.fullmatch(found.boundary) is None:
        return "its archive boundary is no id"
    return None

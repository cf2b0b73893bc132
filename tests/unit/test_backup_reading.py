"""A backup may come from anywhere: it is believed by its signature, and read within bounds."""

import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from jobs.transfer.backup.manifest import MESSAGES, NAME, SIGNATURE, key_of
from jobs.transfer.backup.verify import verify
from models import codec
from storage.errors import Refused
from support.data import backups
from support.data.samples import message

KEY = key_of("a secret of this installation")
ROW = codec.encode(message("ann"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small backup, signed."""
    made = tmp_path / "backup"
    backups.write(made, {MESSAGES: [ROW], "threads": [b"{}"]}, KEY)
    return made


def test_a_signed_backup_is_believed(folder: Path) -> None:
    found = verify(folder, KEY)
    assert found.is_signed
    assert found.manifest.rows == {MESSAGES: 1, "threads": 1}


def test_a_changed_or_foreign_one_is_not(folder: Path) -> None:
    for key in (key_of("another secret"), None):
        with pytest.raises(Refused, match="is not signed"):
            verify(folder, key)
    manifest = folder / NAME
    manifest.write_bytes(manifest.read_bytes().replace(b"2026-01-01", b"2025-01-01"))
    with pytest.raises(Refused, match="is not signed"):
        verify(folder, KEY)
    assert not verify(folder, KEY, trust=True).is_signed
    (folder / SIGNATURE).unlink()
    with pytest.raises(Refused, match="is not signed"):
        verify(folder, KEY)


# Signed all the same: what is read is bounded by itself, whoever vouches for it.
@pytest.mark.parametrize(
    "name",
    ["../threads.jsonl.gz", "/etc/passwd", "/dev/zero", "a/b", "threads.jsonl.gz/..", "", "."],
)
def test_only_plain_files_of_its_own_are_named(folder: Path, name: str) -> None:
    backups.change(folder, "threads", KEY, file=name)
    with pytest.raises(Refused, match="it names a file"):
        verify(folder, KEY)


@pytest.mark.parametrize("name", ["../threads", "threads; DROP TABLE threads", "pg_catalog.x", ""])
def test_only_tables_are_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "made"
    backups.write(folder, {}, KEY)
    manifest = folder / NAME
    manifest.write_bytes(manifest.read_bytes().replace(b'"messages":', b'"%s":' % name.encode(), 1))
    with pytest.raises(Refused, match="is not a backup"):
        verify(folder, KEY, trust=True)


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
@pytest.mark.parametrize("name", ["threads.jsonl.gz", NAME])
def test_only_regular_files_are_read(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    file = folder / name
    moved = file.rename(tmp_path / "elsewhere")
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(moved if kind == "link" else "/dev/zero")
    with pytest.raises(Refused, match=r"cannot be read|is not a backup"):
        verify(folder, KEY)


def test_a_manifest_has_an_end(folder: Path) -> None:
    (folder / NAME).write_bytes(b" " * 2_000_000)
    with pytest.raises(Refused, match="more than"):
        verify(folder, KEY)


@pytest.mark.parametrize(
    ("rows", "said", "words"),
    [
        ([b"{}"] * 3, {"rows": 2}, "more in it"),
        ([b"{}"] * 3, {"rows": 4}, "has 3 rows"),
        ([b"{}"] * 3, {"unpacked": 5}, "more in it"),
        ([b"{"], {}, "is none"),
        ([b"[]"], {}, "is none"),
        ([b"\xff"], {}, "is none"),
        ([b"{}"], {"rows": -1}, "less than nothing"),
    ],
)
def test_rows_are_as_many_and_as_long_as_it_says(
    tmp_path: Path, rows: list[bytes], said: dict[str, int], words: str
) -> None:
    folder = tmp_path / "made"
    backups.write(folder, {"threads": rows}, KEY)
    backups.change(folder, "threads", KEY, **said)
    with pytest.raises(Refused, match=words):
        verify(folder, KEY)


def test_what_unpacks_to_far_more_takes_no_memory(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    backups.write(folder, {"threads": [b"[" + b" " * (32 << 20) + b"]"]}, KEY)
    assert os.path.getsize(folder / "threads.jsonl.gz") < 1 << 20
    backups.change(folder, "threads", KEY, unpacked=2)
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="more in it"):
            verify(folder, KEY)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_forged_message_is_noticed(folder: Path) -> None:
    backups.forge(folder, MESSAGES, [ROW.replace(b"hello", b"FORGED")])
    with pytest.raises(Refused, match=r"messages\.jsonl\.gz, line 1: .* does not match its hash"):
        verify(folder, KEY, trust=True)
    # Nobody can excuse it but who signs.
    backups.change(folder, MESSAGES, damaged=1)
    with pytest.raises(Refused, match="does not match its hash"):
        verify(folder, KEY, trust=True)
    backups.change(folder, MESSAGES, KEY, damaged=1)
    assert verify(folder, KEY).manifest.damaged == 1


def test_packed_files_that_are_cut_short_are_noticed(folder: Path) -> None:
    file = folder / "threads.jsonl.gz"
    data = gzip.compress(b"{}\n")[:-4]
    file.write_bytes(data)
    backups.change(folder, "threads", KEY, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(Refused, match="cannot be read"):
        verify(folder, KEY)

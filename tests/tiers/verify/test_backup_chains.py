"""The chains of a backup are verified like those of the tiers, and come back with it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from jobs.transfer.backup import manifest as signed
from jobs.transfer.backup.manifest import HEADS, LINKS, MESSAGES, Manifest
from jobs.transfer.backup.verify import lines
from jobs.verify.backup_chains import verify_chains
from jobs.verify.report import VerificationReport
from models import codec
from models.chain import Head
from storage.errors import Refused
from support.calls import disasters
from support.calls.disasters import carry_on, live_a_little
from support.data import backups
from support.stack.servers import servers
from support.stack.tiers import tiers
from wiring.process import Services


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Servers that nobody else uses, with two users, carried on."""
    with servers(tmp_path_factory.mktemp("kept") / "data") as env, tiers(env) as own:
        disasters.begin_anew(own)
        live_a_little(own, "ann", "bob")
        carry_on(own)
        yield own


@pytest.fixture
def folder(kept: Services, tmp_path: Path) -> Path:
    """A backup of all of it."""
    kept.jobs.backup.write(tmp_path / "backup", "an operator")
    return tmp_path / "backup"


def manifest_of(folder: Path) -> Manifest:
    return signed.read(folder, None).manifest


def verified(folder: Path, kept: dict[tuple[str, str], Head] | None = None) -> VerificationReport:
    """A forged backup is one whose manifest was written anew, and with its owner's key."""
    return verify_chains(folder, manifest_of(folder), kept or {})


def rows_of(folder: Path, table: str) -> list[bytes]:
    return list(lines(folder, manifest_of(folder).parts[table]))


def heads_of(folder: Path) -> dict[tuple[str, str], Head]:
    found = map(msgspec.json.decode, rows_of(folder, HEADS))
    return {(one["user_id"], one["thread_id"]): Head(one["length"], one["link"]) for one in found}


def test_a_backup_is_as_it_was_written(folder: Path) -> None:
    report = verified(folder, heads_of(folder))
    assert report.named == []
    assert report.threads > 3
    assert report.links >= report.messages > 10


def test_a_message_of_it_that_was_changed(folder: Path) -> None:
    rows = rows_of(folder, MESSAGES)
    message = codec.decode(rows[5])
    rows[5] = codec.encode(codec.seal(msgspec.structs.replace(message, content="forged")))
    backups.forge(folder, MESSAGES, rows)
    assert [(one.kind, one.message_id) for one in verified(folder).named] == [
        ("message_changed", message.id)
    ]


def test_a_message_and_its_link_that_were_taken_out_of_it(folder: Path) -> None:
    known = heads_of(folder)
    last = codec.decode(rows_of(folder, MESSAGES)[-1])
    for table in (MESSAGES, LINKS):
        kept = [row for row in rows_of(folder, table) if last.id.encode() not in row]
        backups.forge(folder, table, kept)
    assert {one.kind for one in verified(folder).named} >= {"links_missing"}
    assert {one.kind for one in verified(folder, known).named} >= {"links_missing"}


def test_one_from_before_there_were_chains(folder: Path) -> None:
    found = manifest_of(folder)
    parts = {name: part for name, part in found.parts.items() if name != LINKS}
    old = msgspec.structs.replace(found, parts=parts)
    with pytest.raises(Refused, match="before there were hash chains"):
        verify_chains(folder, old, {})


def test_chains_come_back_and_go_on(kept: Services, folder: Path) -> None:
    before = heads_of(folder)
    disasters.begin_anew(kept)
    kept.jobs.restore.restore(folder, "an operator")
    carry_on(kept)
    report = kept.jobs.verifier.verify(kept=before)
    assert (report.named, report.threads) == ([], len(before))
    disasters.post(kept, "ann", "titled", "after the restore")
    carry_on(kept)
    assert kept.jobs.verifier.verify(kept=before).named == []

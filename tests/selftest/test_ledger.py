"""The ledger holds what was written before its writer died, and says no more than that."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from selftest.bed.launching import clean_environment
from selftest.record.account import Account, hash_of
from selftest.record.ledger import RequestLedger, read
from support.data.ledgers import answered, asked, entries, message_id
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
# A writer that notes requests for ever.
DRIVER = """
import itertools, sys
from pathlib import Path
from selftest.record.ledger import Answered, RequestLedger
with RequestLedger(Path(sys.argv[1])) as ledger:
    for op in itertools.count():
        ledger.append(Answered(op=op, attempt=0, outcome="answered", status=200, latency_ms=1.0))
        print(op, flush=True)
"""


def test_it_reads_back_what_was_written(tmp_path: Path) -> None:
    with RequestLedger(tmp_path / "ledger") as ledger:
        for entry in entries():
            ledger.append(entry)
    assert list(read(tmp_path / "ledger")) == entries()


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with RequestLedger(path) as ledger:
        for entry in entries():
            ledger.append(entry)
    path.write_bytes(path.read_bytes()[:-10])
    assert list(read(path)) == entries()[:-1]


def test_a_line_in_the_middle_that_is_no_entry_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"garbage\n")
    with pytest.raises(msgspec.MsgspecError):
        list(read(path))


def test_a_killed_writer_leaves_every_line_it_had_noted(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    writer = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with writer:
        eventually(lambda: path.exists() and path.stat().st_size > 10_000)
        writer.send_signal(signal.SIGKILL)
        assert writer.stdout is not None
        noted = [int(line) for line in writer.stdout if line.endswith("\n")]
    found = [entry.op for entry in read(path)]
    assert found == list(range(len(found)))
    assert noted[-1] <= found[-1]


def test_an_account_is_the_same_live_and_read_back(tmp_path: Path) -> None:
    live = Account()
    with RequestLedger(tmp_path / "ledger") as ledger:
        for entry in entries():
            ledger.append(entry)
            live.note(entry)
    assert Account(read(tmp_path / "ledger")).histories() == live.histories()


def test_an_account_knows_what_must_and_what_may_be() -> None:
    first, edited, deleted, unknown = Account(entries()).histories()
    assert (first.must_be_seen, first.id, first.version) == (True, message_id(1), 1)
    assert edited.fits(2, hash_of("two, edited"))
    assert not edited.fits(1, hash_of("two"))
    assert (deleted.must_be_seen, deleted.deleted) == (False, True)
    assert (unknown.must_be_seen, unknown.id) == (False, "")


def test_a_503_to_an_edit_leaves_both_contents_possible() -> None:
    account = Account(entries())
    account.note(asked(1, "edit", "one, edited", op=7))
    account.note(answered(7, status=503))
    (history, *_) = account.histories()
    assert history.fits(1, hash_of("one"))
    assert history.fits(2, hash_of("one, edited"))
    assert not history.fits(2, hash_of("one"))
    assert account.refusals == []

"""`threadkeep selftest` as a person runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from selftest.bed.launching import clean_environment
from selftest.run import SelftestResult
from support.stack.embedded_stack import running_in
from support.waiting import eventually

SCRIPT = str(Path(sys.executable).with_name("threadkeep"))
RUN_SECONDS = 100
NOBODY = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "DATABASE_URL": "postgresql+psycopg2://u@127.0.0.1:1/d",
    "CLICKHOUSE_URL": "clickhouse+http://default:@127.0.0.1:1/d",
}
"""Servers nobody has: a run that used what its environment names would not even start."""


def test_a_short_run_keeps_its_word_and_touches_no_server_of_its_environment(
    tmp_path: Path,
) -> None:
    # What `threadkeep up` leaves in the folder where it runs must not be taken up either.
    own = tmp_path / ".threadkeep" / "run"
    own.mkdir(parents=True)
    (own / "env").write_text("".join(f"{name}={value}\n" for name, value in NOBODY.items()))
    options = ("--seconds", "15", "--seed", "1", "--writers", "8", "--json")
    done = subprocess.run(
        [SCRIPT, "selftest", *options],
        cwd=tmp_path,
        env=clean_environment() | NOBODY | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    result = msgspec.json.decode(done.stdout, type=SelftestResult)
    assert result.held
    assert result.seed == 1
    assert result.acknowledged > 100
    assert result.edited_or_deleted > 0
    assert result.totals.reads > 100
    assert result.disturbed
    assert not list(tmp_path.glob("threadkeep-*"))


def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [SCRIPT, "selftest", "--writers", "2"],
        cwd=tmp_path,
        env=clean_environment() | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as command:
        eventually(lambda: list(tmp_path.glob("threadkeep-*/*ledger.jsonl")), 60)
        (folder,) = tmp_path.glob("threadkeep-*")
        assert running_in(folder / "data")
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == 130
    assert not list(tmp_path.iterdir())
    assert running_in(folder) == []


def test_a_run_that_is_killed_takes_its_servers_along(tmp_path: Path) -> None:
    with subprocess.Popen(
        [SCRIPT, "selftest", "--writers", "2"],
        cwd=tmp_path,
        env=clean_environment() | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as command:
        eventually(lambda: list(tmp_path.glob("threadkeep-*/*ledger.jsonl")), 60)
        (folder,) = tmp_path.glob("threadkeep-*")
        os.kill(command.pid, signal.SIGKILL)
    eventually(lambda: not running_in(folder / "data"), 30)
    eventually(lambda: not running_in(folder), 30)

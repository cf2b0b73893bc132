"""The logs of programs that run: they turn over by size, and keep their lines."""

import os
import sys
import time
from pathlib import Path

import pytest

from embedded.stack import Stack
from embedded.supervision import process
from support.stack.embedded_stack import NAMED, wait_for

LINES = 10_000
TALKS = f"""
import sys, time
for number in range({LINES}):
    print(f"line {{number:06}} " + "x" * 20, flush=True)
    if number % 100 == 0:
        time.sleep(0.05)
time.sleep(1000)
"""


def test_a_log_turns_over_while_its_program_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 100_000
    monkeypatch.setattr(process, "LOG_LIMIT_BYTES", limit)
    script, logs = tmp_path / "talks.py", tmp_path / "data" / "logs"
    script.write_text(TALKS)
    largest, heard = 0, set[str]()
    with Stack(tmp_path / "data") as stack:
        stack.start_servers(NAMED)
        stack.start_programs({"talks": f"{sys.executable} {script}"}, lambda _: dict(os.environ))

        def has_said_all() -> bool:
            nonlocal largest
            stack.poll()
            found = [*logs.glob("talks.log*")]
            largest = max(largest, sum(file.stat().st_size for file in found))
            for file in found:
                heard.update(file.read_text().splitlines())
            return any(line.startswith(f"line {LINES - 1:06}") for line in heard)

        wait_for(has_said_all, 60)
        time.sleep(0.1)
    whole = {line for line in heard if len(line) == len(f"line {0:06} ") + 20}
    # Many times what is kept, of which only what was said within an instant may be gone.
    assert len(whole) > 0.9 * LINES
    assert (logs / "talks.log.1").exists()
    assert largest < 6 * limit

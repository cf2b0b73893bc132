"""What only the start of the engine ran does not stay in memory, and nothing else is lost."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from embedded.clickhouse import code_pages
from embedded.clickhouse.engine import LIBRARY, Engine, Statement

def kept(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind))

engine = Engine(Path(sys.argv[1]))
engine.run(Statement(b"CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"))
before, own = kept("RssFile"), kept("RssAnon")
code_pages.give_back(LIBRARY)
after, own_after = kept("RssFile"), kept("RssAnon")
engine.run(Statement(b"INSERT INTO t SELECT number FROM numbers(1000)"))
total = engine.run(Statement(b"SELECT sum(n) FROM t")).body.decode().strip()
print(before, after, own, own_after, total)
engine.close()
"""
MEGABYTE_KIB = 1024


def test_the_code_of_the_start_is_given_back_and_the_engine_works_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    before, after, own, own_after, total = map(int, done.stdout.split())
    assert before - after > before // 2
    assert abs(own - own_after) < MEGABYTE_KIB
    assert total == sum(range(1000))

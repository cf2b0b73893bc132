"""`make test` runs each file of tests in one of its parts."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PART = re.compile(r"-m pytest (.+?)(?: 2>&1|$)", re.MULTILINE)


def files(arguments: str) -> set[Path]:
    """The files of tests that pytest finds with these arguments."""
    chosen, _, ignored = arguments.partition(" --ignore ")
    found = (each for path in chosen.split() for each in (ROOT / path, *(ROOT / path).rglob("*")))
    return {each for each in found if is_of_tests(each)} - {ROOT / path for path in ignored.split()}


def is_of_tests(path: Path) -> bool:
    return path.name.startswith("test_") and path.suffix == ".py"


def test_each_file_is_in_one_part() -> None:
    clean = {
        name: value
        for name, value in os.environ.items()
        if name != "TESTS" and not name.startswith("MAKE")
    }
    told = subprocess.run(
        ["make", "--dry-run", "test"],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    counted = Counter(each for part in PART.findall(told.stdout) for each in files(part))
    assert counted == {each: 1 for each in (ROOT / "tests").rglob("*") if is_of_tests(each)}

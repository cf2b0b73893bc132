"""The table of guarantees names the test behind each row, and no row is without one."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")


def rows() -> dict[str, bool]:
    """Test to whether only `make faults` runs it, as the page has it."""
    return {name: bool(star) for name, star in re.findall(r"`(test_f\w+)`(\\\*)?", PAGE)}


def faults() -> dict[str, bool]:
    """The same, as the tests have it."""
    found = {}
    for file in (ROOT / "tests" / "faults").glob("test_*.py"):
        source = file.read_text(encoding="utf-8")
        everything = bool(re.search(r"^pytestmark = .*mark\.extensive", source, re.MULTILINE))
        pattern = r"((?:^@pytest\.mark(?:.*\n)(?:^(?:    .*|\))\n)*)*)^def (test_f\w+)"
        for marks, name in re.findall(pattern, source, re.MULTILINE):
            found[name] = everything or "mark.extensive" in marks
    return found


def test_each_row_is_a_test_and_each_test_a_row() -> None:
    assert len(rows()) > 40
    assert rows() == faults()


def test_a_row_of_each_kind_runs_with_every_test() -> None:
    always = {name[5:8] for name, is_extensive in faults().items() if not is_extensive}
    assert always == {
        *("f07", "f12", "f15", "f18", "f25"),
        *("f26", "f28", "f34", "f36", "f39", "f43", "f48", "f49"),
    }


def test_every_fault_that_is_promised_for_has_a_row() -> None:
    numbers = {int(name[6:8]) for name in faults()}
    assert numbers == {*range(1, 35), *range(36, 50)}

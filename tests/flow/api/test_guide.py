"""The examples of docs/api.md do what they say: each is run as it stands, in order."""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import settings
from support.calls.api import Api

GUIDE = Path(settings.__file__).parent / "docs" / "api.md"
_BLOCK = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"^\$ (.*?[^\\])\n(.*?)(?=^\$ |\Z)", re.DOTALL | re.MULTILINE)
REMEMBERED = {"ID": r'"id":"([^"]+)"', "CURSOR": r'"next_cursor":"([^"]+)"'}
"""What an example may use of the answer before."""


class Example(NamedTuple):
    """A command, and what it answers: parts in this order, with anything between them."""

    command: str
    parts: list[str]


def examples() -> list[Example]:
    """All of them. White space in an answer does not count."""
    found = [
        Example(
            command, [packed for part in answer.split("…") if (packed := "".join(part.split()))]
        )
        for block in _BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
        for command, answer in _EXAMPLE.findall(block)
    ]
    assert len(found) >= 20
    return found


def run(command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.skipif(not Path("/usr/bin/curl").exists(), reason="needs curl")
def test_every_example_answers_as_it_says(api: Api, user_token: str) -> None:
    environment = {
        "API": api.url,
        "TOKEN": user_token,
        "AUTH": f"Authorization: Bearer {user_token}",
        "no_proxy": "*",
    }
    for command, parts in examples():
        answer = run(command, environment)
        rest = "".join(answer.split())
        for part in parts:
            _, found, rest = rest.partition(part)
            assert found == part, (command, part, answer)
        for name, pattern in REMEMBERED.items():
            if value := re.search(pattern, answer):
                environment[name] = value[1]


def test_the_guide_is_short() -> None:
    assert len(GUIDE.read_text(encoding="utf-8").splitlines()) <= 200

"""An example of each operation: a request and the answer that a server gave to it."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

_FILE = Path(__file__).with_name("examples.json")


@cache
def examples() -> dict[str, dict[str, Any]]:
    """By operation: `body` of the request, and `answer`, each where there is one."""
    found: dict[str, dict[str, Any]] = msgspec.json.decode(_FILE.read_bytes())
    return found

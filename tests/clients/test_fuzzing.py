"""Whatever is sent to the API, no answer is a server's error, undocumented or another shape than
the description has, and what breaks the description is refused.

schemathesis makes the requests from the description; with one seed they begin alike each time.
"""

import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from support.data.users import fresh_user
from support.stack.processes import Launched

SECONDS = int(os.environ.get("FUZZ_SECONDS", "30"))
"""For each of the two; `make fuzz` takes longer."""
SEED = os.environ.get("FUZZ_SEED", "20261201")
PROGRAM = Path(sysconfig.get_path("scripts")) / "schemathesis"
CONFIG = Path(__file__).with_name("schemathesis.toml")

pytestmark = pytest.mark.timeout(SECONDS + 180)


def fuzz(stack: Launched, token: str, *options: str, folder: Path) -> str:
    """What schemathesis says of the chosen operations, which must be nothing bad."""
    done = subprocess.run(
        [
            *(str(PROGRAM), "--config-file", str(CONFIG), "run", f"{stack.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--seed", SEED),
            *("--max-time", str(SECONDS), "--no-color", *options),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    return done.stdout


def described(stack: Launched, *, is_admins: bool) -> int:
    """How many operations the description has for admins, or for everyone."""
    paths = requests.get(f"{stack.url}/openapi.json", timeout=15).json()["paths"]
    return sum(
        len(calls) for path, calls in paths.items() if path.startswith("/api/admin/") == is_admins
    )


def test_a_user_cannot_make_it_answer_otherwise_than_described(
    stack: Launched, token: Callable[..., str], tmp_path: Path
) -> None:
    said = fuzz(
        *(stack, token(fresh_user()), "--exclude-path-regex", "^/api/admin/"), folder=tmp_path
    )
    assert f"Tested: {described(stack, is_admins=False)}\n" in said, said[-2000:]


def test_an_admin_cannot_make_it_answer_otherwise_than_described(
    stack: Launched, token: Callable[..., str], tmp_path: Path
) -> None:
    said = fuzz(
        *(stack, token(fresh_user(), admin=True), "--include-path-regex", "^/api/admin/"),
        folder=tmp_path,
    )
    # All but the one that schemathesis.toml leaves out.
    assert f"Tested: {described(stack, is_admins=True) - 1}\n" in said, said[-2000:]

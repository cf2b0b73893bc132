"""Our JavaScript client, built as its package is and run by Node against a real stack."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.calls.api import Api
from support.calls.keys import made_key
from support.data.users import fresh_user
from support.own_clients.javascript import BUNDLE, FOLDER, SOCKETS, has_option, run
from support.stack.processes import Launched

MOST_BYTES = 6 * 1024
TESTS = sorted(path.name for path in (FOLDER / "test").glob("*.test.js"))
pytestmark = pytest.mark.usefixtures("javascript_client")


@pytest.mark.parametrize("name", TESTS)
def test_node(
    name: str, stack: Launched, admin_api: Api, token: Callable[..., str], tmp_path: Path
) -> None:
    scopes = ("messages:write", "on_behalf_of")
    environment = {
        "API_URL": stack.url,
        "API_TOKEN": token(fresh_user()),
        "API_KEY": made_key(admin_api, *scopes)["key"],
    }
    sockets = [SOCKETS] if has_option(SOCKETS) else []
    said = run("node", *sockets, "--test", f"test/{name}", **environment)
    assert re.search(r"^# pass [1-9]", said, re.MULTILINE), said


def test_it_is_small() -> None:
    assert len(gzip.compress(BUNDLE.read_bytes(), 9)) < MOST_BYTES


def test_it_needs_nothing_and_ships_its_types() -> None:
    package = json.loads((FOLDER / "package.json").read_text())
    assert "dependencies" not in package
    assert (FOLDER / package["types"]).is_file()
    packed = json.loads(run("npm", "pack", "--dry-run", "--json", "--ignore-scripts"))
    names = {file["path"] for file in packed[0]["files"]}
    assert names >= {"package.json", "README.md", "dist/index.js", "dist/index.d.ts"}
    assert not [name for name in names if name.startswith(("src/", "test/"))]


def test_the_lock_names_no_host() -> None:
    assert "resolved" not in (FOLDER / "package-lock.json").read_text()

"""A TypeScript client: openapi-typescript generates types, and openapi-fetch posts by them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from support.calls.api import Api
from support.stack.processes import Launched

FOLDER = Path(__file__).parent / "typescript"
MODULES = FOLDER / "node_modules"


@pytest.fixture
def project(stack: Launched, tmp_path: Path) -> Path:
    """A folder with the program, and the types that were generated for it."""
    if shutil.which("node") is None:
        pytest.skip("no node on the path: no TypeScript client was made (apt-get install npm)")
    if not (MODULES / "typescript").is_dir():
        pytest.skip("no TypeScript here: no client was made (make typescript)")
    for name in ("post.ts", "tsconfig.json", "package.json"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    description = requests.get(f"{stack.url}/openapi.json", timeout=15)
    (tmp_path / "openapi.json").write_bytes(description.content)
    run(tmp_path, "openapi-typescript/bin/cli.js", "openapi.json", "--output", "schema.ts")
    return tmp_path


def run(project: Path, program: str, *options: str) -> None:
    done = subprocess.run(
        ["node", str(MODULES / program), *options],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_compiles_and_posts_and_reads(
    stack: Launched, project: Path, user_token: str, api: Api
) -> None:
    run(project, "typescript/bin/tsc", "--project", "tsconfig.json")
    done = subprocess.run(
        ["node", "post.js"],
        cwd=project,
        env=os.environ | {"API_URL": stack.url, "API_TOKEN": user_token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "tier": "redis",
        "content": "from TypeScript",
        "metadata": {"tags": ["a", "b"]},
    }
    assert [one["content"] for one in api.page("typescript")["messages"]] == ["from TypeScript"]

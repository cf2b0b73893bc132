"""The examples of docs/clients.md run as they stand, in their order; and what stands elsewhere of
our clients is so."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

import settings
from support.calls.api import Api
from support.calls.keys import made_key
from support.data.users import fresh_user
from support.own_clients import javascript
from support.stack.processes import Launched

ROOT = Path(settings.__file__).parent
GUIDE = ROOT / "docs" / "clients.md"
PYTHON = "import os\nurl, token, key = (os.environ[name] for name in ('URL', 'TOKEN', 'KEY'))\n"
JAVASCRIPT = "const { URL: url, TOKEN: token } = process.env;\n"
SECONDS = 60


@pytest.fixture
def environment(stack: Launched, admin_api: Api, token: Callable[..., str]) -> dict[str, str]:
    """What the examples know."""
    key = made_key(admin_api, "messages:read", "messages:write", "on_behalf_of")["key"]
    return {"URL": stack.url, "TOKEN": token(fresh_user()), "KEY": key, "no_proxy": "*"}


def examples(language: str) -> str:
    """All of them, as one program."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) >= 3
    return "\n".join(found)


def run(*command: str, folder: Path, environment: dict[str, str]) -> list[str]:
    """The lines that it prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_python(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "guide.py").write_text(PYTHON + examples("python"))
    environment["PYTHONPATH"] = str(ROOT / "clients" / "python")
    said = run(sys.executable, "guide.py", folder=tmp_path, environment=environment)
    assert "user Where shall we go?" in said
    assert "2 To the sea." in said
    assert said[-2:] == ["Booked.", "Shall I book?"]


def test_javascript(javascript_client: None, environment: dict[str, str], tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "@threadkeep"
    package.mkdir(parents=True)
    (package / "client").symlink_to(javascript.FOLDER)
    (tmp_path / "guide.mjs").write_text(JAVASCRIPT + examples("js"))
    said = run("node", "guide.mjs", folder=tmp_path, environment=environment)
    assert "user Where shall we go?" in said
    assert "To the sea." in said
    assert said[-1].endswith(" 0")


def test_the_clients_have_the_version_of_the_api() -> None:
    declared = ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    version = declared["metadata"]["version"]
    python = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text())
    package = json.loads((javascript.FOLDER / "package.json").read_text())
    lock = json.loads((javascript.FOLDER / "package-lock.json").read_text())
    assert python["project"]["version"] == package["version"] == lock["version"] == version


def test_the_python_package_is_complete(tmp_path: Path) -> None:
    """The wheel has every file of the sources, and says that it is typed."""
    folder, source = ROOT / "clients" / "python", tmp_path / "source"
    # Building leaves files beside the sources.
    shutil.copytree(
        folder, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    )
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")
    subprocess.run([sys.executable, *build, tmp_path, source], check=True, timeout=SECONDS)
    (wheel,) = tmp_path.glob("threadkeep_client-*.whl")
    with ZipFile(wheel) as packed:
        names = set(packed.namelist())
    wanted = {str(one.relative_to(source)) for one in source.glob("threadkeep_client/**/*.py")}
    assert names > wanted | {"threadkeep_client/py.typed"}

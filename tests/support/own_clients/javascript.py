"""Our JavaScript client, built, and programs of Node that use it."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

import settings

FOLDER = Path(settings.__file__).parent / "clients" / "js"
MODULES = FOLDER / "node_modules"
SECONDS = 60
NO_NODE = "no node on the path: our JavaScript client was not tested (apt-get install npm)"
NO_MODULES = "no esbuild here: our JavaScript client was not tested (make typescript)"
BUNDLE = FOLDER / "dist" / "index.js"
SOCKETS = "--experimental-websocket"
"""Node has sockets since version 22, and since 20 by this option."""


def build() -> None:
    """Makes `dist` as the package has it; the types are checked by that. Skips without Node."""
    _check()
    shutil.rmtree(BUNDLE.parent, ignore_errors=True)
    run("npm", "run", "build")


def bundle(folder: Path) -> str:
    """The module as a page loads it, made in this folder. Skips without Node."""
    _check()
    made = folder / "client.js"
    options = ("--bundle", "--minify", "--format=esm", f"--outfile={made}")
    run("node_modules/.bin/esbuild", "src/index.ts", *options)
    return made.read_text(encoding="utf-8")


def _check() -> None:
    if shutil.which("node") is None:
        pytest.skip(NO_NODE)
    if not (MODULES / "esbuild").is_dir():
        pytest.skip(NO_MODULES)


def run(*command: str, **environment: str) -> str:
    """What a program prints that must succeed."""
    with started(*command, **environment) as process:
        try:
            said, _ = process.communicate(timeout=SECONDS)
        finally:
            end(process)
    assert process.returncode == 0, said[-20_000:]
    return said


def started(*command: str, **environment: str) -> subprocess.Popen[str]:
    """A program that runs in the folder of the client."""
    return subprocess.Popen(
        command,
        cwd=FOLDER,
        env=os.environ | {"no_proxy": "*"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: "subprocess.Popen[str]") -> None:
    """Ends a program that has not ended by itself, with those that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def has_option(option: str) -> bool:
    """Whether Node knows it."""
    asked = f"process.allowedNodeEnvironmentFlags.has('{option}')"
    return run("node", "-p", asked).strip() == "true"

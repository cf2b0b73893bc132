"""The wheel runs by itself, in a folder of its own, and its commands look after what it runs."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

import webapp
from embedded.supervision.process import Spec
from selftest.bed.launching import Launched, clean_environment
from support.calls.api import Api
from support.waiting import eventually

ROOT = Path(webapp.__file__).resolve().parents[1]
BUILD = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")
INSTALL = ("pip", "install", "--quiet", "--no-deps", "--no-compile", "--target")
OUTSIDE = ("tests", "benchmarks", "build", "dist", "node_modules", "*.egg-info", ".*")


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the wheel is found before the sources."""
    folder = tmp_path_factory.mktemp("package")
    # Building leaves files beside the sources.
    sources = shutil.copytree(ROOT, folder / "sources", ignore=shutil.ignore_patterns(*OUTSIDE))
    python = (sys.executable, "-m")
    subprocess.run([*python, *BUILD, folder / "wheel", sources], check=True, timeout=120)
    (wheel,) = (folder / "wheel").glob("threadkeep-*.whl")
    with ZipFile(wheel) as packed:
        assert not [name for name in packed.namelist() if "client" in name.split("/")[0]]
    subprocess.run([*python, *INSTALL, folder / "installed", wheel], check=True, timeout=120)
    path = f"{folder / 'installed' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return clean_environment() | {"PYTHONPATH": str(folder / "installed"), "PATH": path}


@pytest.fixture(scope="module")
def running(
    packaged: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Launched, Path]]:
    folder = tmp_path_factory.mktemp("elsewhere")
    ports = ("--port", "0", "--flower-port", "0", "--without", "flower", "--without", "realtime")
    line = ("threadkeep", "up", *ports)
    command = (shutil.which(line[0], path=packaged["PATH"]) or "", *line[1:])
    data = folder / ".threadkeep"
    spec = Spec(name="up", command=command, env=packaged, cwd=folder)
    stack = Launched(spec, lambda: data, data / "run" / "env", folder / "up.log")
    with stack:
        yield stack, folder


def run(folder: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ("threadkeep", *arguments)
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_wheel_runs_by_itself(running: tuple[Launched, Path], packaged: dict[str, str]) -> None:
    stack, folder = running
    token = run(folder, packaged, "token", "ann").stdout.strip()
    sent = Api(stack.url, token).send("t", "from a wheel")
    where = json.loads(run(folder, packaged, "where", sent["id"], "--json").stdout)
    assert (where["user_id"], where["id"]) == ("ann", sent["id"])
    pid = stack.pids_now()["web"]
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    assert os.fsencode(packaged["PYTHONPATH"]) in environ


def test_the_status_names_programs_and_addresses(
    running: tuple[Launched, Path], packaged: dict[str, str]
) -> None:
    stack, folder = running
    shown = json.loads(run(folder, packaged, "status", "--json").stdout)
    assert (shown["running"], shown["ready"], shown["pid"]) == (True, True, stack.pid)
    assert shown["addresses"]["API_URL"] == stack.url
    assert {one["name"]: one["pid"] for one in shown["programs"]} == stack.pids_now()
    assert all(0 < one["seconds"] < 600 for one in shown["programs"])
    text = run(folder, packaged, "status")
    assert text.returncode == 0
    assert stack.url in text.stdout
    assert "worker" in text.stdout


def test_the_logs_are_shown_by_program_and_followed(
    running: tuple[Launched, Path], packaged: dict[str, str]
) -> None:
    stack, folder = running
    shown = run(folder, packaged, "logs", "--lines", "1").stdout
    names = {line.split()[0] for line in shown.splitlines()}
    assert {"postgres", "redis-data", "worker"} <= names
    unknown = run(folder, packaged, "logs", "nobody")
    assert unknown.returncode == 2
    assert "redis-data" in unknown.stderr
    log, output = stack.data / "logs" / "worker.log", folder / "followed"
    follow = ("threadkeep", "logs", "worker", "--follow", "--lines", "0")
    with (
        output.open("wb") as file,
        subprocess.Popen(follow, cwd=folder, env=packaged, stdout=file) as following,
    ):
        try:
            # A log that is turned over begins again.
            for word in ("first", "second"):
                log.write_text("")
                eventually(lambda word=word: said(log, word, output))
        finally:
            following.terminate()


def said(log: Path, word: str, output: Path) -> bool:
    """Says it again until it is heard: what comes before the command runs belongs to the past."""
    with log.open("a") as file:
        file.write(f"{word}\n")
    return f"worker           {word}\n" in output.read_text()


def test_a_taken_port_is_found_before_any_server_starts(
    packaged: dict[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--port", "--flower-port", "--realtime-port"):
            done = run(tmp_path, packaged, "up", option, port)
            assert done.returncode == 1
            assert f"port {port} on 127.0.0.1 cannot be used" in done.stderr
    assert [log.stem for log in tmp_path.glob(".threadkeep/logs/*.log")] == ["guardian"]
    assert not (tmp_path / ".threadkeep" / "postgres").exists()


def test_where_nothing_runs_it_says_so(packaged: dict[str, str], tmp_path: Path) -> None:
    status = run(tmp_path, packaged, "status")
    assert (status.returncode, status.stdout.startswith("no stack runs on")) == (1, True)
    assert json.loads(run(tmp_path, packaged, "status", "--json").stdout)["running"] is False
    assert run(tmp_path, packaged, "down").stdout.startswith("no stack runs on")
    assert run(tmp_path, packaged, "logs").returncode == 1
    hint = run(tmp_path, packaged, "stats")
    assert hint.returncode == 2
    assert "start one with `threadkeep up`" in hint.stderr


def test_down_stops_everything_and_keeps_the_data(
    running: tuple[Launched, Path], packaged: dict[str, str]
) -> None:
    stack, folder = running
    pids = stack.pids_now()
    done = run(folder, packaged, "down")
    assert (done.returncode, done.stdout) == (0, "stopped; the data stays in .threadkeep\n")
    assert not [pid for pid in pids.values() if Path(f"/proc/{pid}/exe").exists()]
    assert (folder / ".threadkeep" / "postgres").exists()
    assert run(folder, packaged, "status").returncode == 1

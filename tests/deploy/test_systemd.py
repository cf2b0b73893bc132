"""The units: systemd takes them, each program has one, and none may do more than it must."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import DEPLOY, READS, ROOT

UNITS = DEPLOY / "systemd"
COMMON = UNITS / "threadkeep-.service.d" / "10-common.conf"
EXPOSURE = 20
"""Tenths of systemd's own measure, from 0 for no right at all to 100."""
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units as they are installed, with programs that exist, and instances of the templates."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    for file in folder.rglob("*.*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            file.write_text(
                text.replace("/opt/threadkeep/run.sh", str(DEPLOY / "run.sh")), encoding="utf-8"
            )
    for name in ("threadkeep-watch@", "restart-threadkeep@"):
        shutil.copy(folder / f"{name}.service", folder / f"{name}web.service")
    return folder


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # The colon keeps the machine's own units, as those that all services wait for.
    env = {"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [str(ANALYZE), *words], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def services(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.service")) if not file.stem.endswith("@")]


@needs_systemd
def test_systemd_takes_the_units(folder: Path) -> None:
    files = [str(file) for file in (*services(folder), folder / "threadkeep.target")]
    assert len(files) == 9
    found = analyze(folder, "verify", "--man=no", *files)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@needs_systemd
def test_systemd_would_say_that_one_is_wrong(folder: Path) -> None:
    """The check above can fail."""
    file = folder / "threadkeep-web.service"
    file.write_text(file.read_text().replace("Restart=always", "Restart=allways"))
    assert "allways" in analyze(folder, "verify", "--man=no", str(file)).stderr


@needs_systemd
def test_no_service_is_exposed(folder: Path) -> None:
    for file in services(folder):
        if file.name.startswith("threadkeep-"):
            threshold = f"--threshold={EXPOSURE}"
            found = analyze(folder, "security", "--offline=true", threshold, str(file))
            assert found.returncode == 0, f"{file.name}: {found.stdout[-200:]}{found.stderr}"


def assigned(file: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("program", sorted(READS))
def test_each_program_has_a_bounded_service_with_the_secrets_it_reads(program: str) -> None:
    file = UNITS / f"threadkeep-{program}.service"
    (command,) = assigned(file, "ExecStart")
    assert f"/opt/threadkeep/run.sh {program}" in command
    for bound in ("MemoryMax", "TasksMax"):
        assert len(assigned(file, bound)) == 1
    read = {
        name.removesuffix("_FILE"): path
        for name, path in (one.split("=") for one in assigned(file, "Environment"))
        if name.endswith("_FILE")
    }
    assert set(read) == READS[program]
    loaded = dict(one.split(":") for one in assigned(file, "LoadCredential"))
    assert {f"%d/{name}" for name in loaded} == set(read.values())
    assert all(path == f"/etc/threadkeep/secrets/{name}" for name, path in loaded.items())
    # The same files as the compose file has.
    assert set(loaded) <= set(
        re.findall(r"^  (\w+): \{file: ", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    )


def test_the_target_wants_every_program_but_flower_and_watches_each() -> None:
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    programs = {line.partition(":")[0] for line in lines} - {"flower"}
    wanted = {
        name for line in assigned(UNITS / "threadkeep.target", "Wants") for name in line.split()
    }
    assert wanted == {
        name
        for program in programs
        for name in (f"threadkeep-{program}.service", f"threadkeep-watch@{program}.timer")
    }
    for program in programs:
        file = UNITS / f"threadkeep-{program}.service"
        assert assigned(file, "Requires") == ["threadkeep-migrate.service"]
        assert assigned(file, "Restart") == ["always"]


def test_what_they_have_in_common_is_for_all_of_them_and_no_others() -> None:
    assert assigned(COMMON, "User") == ["threadkeep"]
    assert assigned(COMMON, "ProtectSystem") == ["strict"]
    # It calls systemd, as which nobody else may.
    assert not (UNITS / "threadkeep-restart@.service").exists()
    assert assigned(UNITS / "threadkeep-watch@.service", "OnFailure") == [
        "restart-threadkeep@%i.service"
    ]

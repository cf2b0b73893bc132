"""Fault points: armed only on purpose, struck at the pass that was named, and never misspelt."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import settings
from settings import Settings, SettingsError
from storage.errors import TierUnavailable
from storage.resilience import faultpoints
from storage.resilience.faultpoints import faultpoint, passes
from support.stack.environment import COMPLETE
from support.stack.processes import clean_environment
from tasks import celery_app
from wiring.process import Services

ROOT = Path(settings.__file__).parent
POINT = "drain.after_commit"

PASSING = """
import settings
from storage.resilience.faultpoints import faultpoint
from wiring.process import Services
from tasks.logs import configure

configure()
Services(settings.load())
for number in range(1, 4):
    print(number, flush=True)
    faultpoint("drain.after_commit")
print("through", flush=True)
"""


def armed(strikes: str, drills: str = "1") -> Settings:
    drill = {"THREADKEEP_FAULTPOINTS": strikes, "THREADKEEP_DRILLS": drills}
    return settings.load(COMPLETE | drill)


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    faultpoints.enable(settings.load(COMPLETE))


def passing(strikes: str) -> subprocess.Popen[str]:
    """A process that arms these strikes and passes the point three times, counting aloud."""
    drill = {"THREADKEEP_FAULTPOINTS": strikes, "THREADKEEP_DRILLS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PASSING],
        cwd=ROOT,
        env=clean_environment() | COMPLETE | drill,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def struck(strikes: str) -> list[int]:
    """At which of ten passes a point raises."""
    faultpoints.enable(armed(strikes))
    found = []
    for number in range(1, 11):
        try:
            faultpoint(POINT)
        except TierUnavailable:
            found.append(number)
    return found


def test_an_unarmed_point_does_nothing_and_counts_nothing() -> None:
    Services(settings.load(COMPLETE))
    for name in faultpoints.NAMES:
        faultpoint(name)
    assert [passes(name) for name in faultpoints.NAMES] == [0] * len(faultpoints.NAMES)


def test_a_point_strikes_at_its_pass_and_at_no_other() -> None:
    assert struck(f"{POINT}:3:raise") == [3]
    assert passes(POINT) == 10


def test_several_strikes_stand_side_by_side() -> None:
    assert struck(f"{POINT}:1:raise, {POINT}:4:raise,drain.after_read:2:raise,") == [1, 4]


def test_another_point_is_not_struck() -> None:
    assert struck("drain.after_read:1:raise") == []
    assert (passes("drain.after_read"), passes(POINT)) == (0, 10)


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("api.before_write", "redis"),
        ("drain.before_commit", "postgresql"),
        ("ship.after_insert", "clickhouse"),
    ],
)
def test_a_point_that_raises_names_the_tier_at_hand(name: str, tier: str) -> None:
    faultpoints.enable(armed(f"{name}:1:raise"))
    with pytest.raises(TierUnavailable) as caught:
        faultpoint(name)
    assert caught.value.tier == tier


def test_a_strike_with_a_file_comes_once_and_not_after_a_restart(tmp_path: Path) -> None:
    strikes = f"{POINT}:2:raise@{tmp_path / 'struck=once'}"
    assert struck(strikes) == [2]
    assert (tmp_path / "struck=once").exists()
    assert struck(strikes) == []


def test_services_disarm_what_their_settings_do_not_name() -> None:
    Services(armed(f"{POINT}:1:raise"))
    Services(settings.load(COMPLETE))
    faultpoint(POINT)


def test_a_killed_process_dies_by_sigkill_before_it_goes_on() -> None:
    with passing(f"{POINT}:2:kill") as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert out.split() == ["1", "2"]


def test_a_supervised_process_is_killed_only_once(tmp_path: Path) -> None:
    strikes = f"{POINT}:1:kill@{tmp_path / 'once'}"
    ends = []
    for _ in range(2):
        with passing(strikes) as process:
            out, _ = process.communicate(timeout=30)
        ends.append((process.returncode, out.split()[-1]))
    assert ends == [(-signal.SIGKILL, "1"), (0, "through")]


def test_a_stopped_process_stands_until_it_is_told_to_go_on() -> None:
    with passing(f"{POINT}:2:stop") as process:
        pid, status = os.waitpid(process.pid, os.WUNTRACED)
        assert (pid, os.WIFSTOPPED(status)) == (process.pid, True)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.split() == ["1", "2", "3", "through"]


def test_a_sleeping_point_goes_on_afterwards() -> None:
    faultpoints.enable(armed(f"{POINT}:1:sleep=0.05"))
    started = time.monotonic()
    faultpoint(POINT)
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize(
    "strikes",
    [
        "drain.after_comit:1:kill",
        POINT,
        f"{POINT}:1",
        f"{POINT}::kill",
        f"{POINT}:0:kill",
        f"{POINT}:-1:kill",
        f"{POINT}:\u00b2:kill",
        f"{POINT}:first:kill",
        f"{POINT}:1:die",
        f"{POINT}:1:kill=1",
        f"{POINT}:1:kill=",
        f"{POINT}:1:kill@",
        f"{POINT}:1:kill@/no/such/folder/file",
        f"{POINT}:1:sleep",
        f"{POINT}:1:sleep=",
        f"{POINT}:1:sleep=long",
        f"{POINT}:1:sleep=0",
        f"{POINT}:1:sleep=nan",
        f"{POINT}:1:sleep=inf",
        f"{POINT}:1:raise,{POINT}:2:",
    ],
)
def test_a_misspelt_strike_stops_the_process_with_the_name_of_the_variable(strikes: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Services(armed(strikes))
    assert "THREADKEEP_FAULTPOINTS" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_worker_with_a_misspelt_strike_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("THREADKEEP_DRILLS", "1")
    monkeypatch.setenv("THREADKEEP_FAULTPOINTS", f"{POINT}:1:die")
    with pytest.raises(SettingsError):
        celery_app.configuration()


def test_an_unknown_point_is_told_which_there_are() -> None:
    with pytest.raises(SettingsError) as caught:
        Services(armed("drain:1:kill"))
    for name in faultpoints.NAMES:
        assert name in str(caught.value)


def test_nothing_is_armed_where_drills_are_not_allowed() -> None:
    with pytest.raises(SettingsError) as caught:
        Services(armed(f"{POINT}:1:raise", drills="0"))
    assert "THREADKEEP_DRILLS" in str(caught.value)
    faultpoint(POINT)


def test_every_point_is_documented() -> None:
    document = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in faultpoints.NAMES:
        assert f"`{name}`" in document

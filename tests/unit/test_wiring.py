"""The wiring: every task has a queue, every queue a worker, and no option is misspelt.

Celery takes an unknown option or an unknown queue without a word, so nobody else would notice.
"""

import itertools
import os
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task
from celery.app.defaults import SETTING_KEYS
from celery.schedules import crontab
from honcho.environ import parse_procfile

import webapp
from beat_schedule import SCHEDULE
from support.stack.environment import COMPLETE
from tasks import celery_app, queues
from tasks.base import JobTask
from tasks.programs import __main__ as own_programs
from tasks.programs import flower, worker

PROCFILE = Path(webapp.__file__).with_name("Procfile")
A_MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
# Celery's documentation names this one, its list of defaults does not.
UNLISTED_SETTINGS = {"visibility_timeout"}
# What Celery itself puts on the class of a task: from its settings, and by its decorator.
FROM_CONFIGURATION = {name for name, _ in Task.from_config}
DECORATOR_LEAVES = {"_decorated", "_decorated_fun", "_app"}
# A kind of task is a file of that name, but for these, which live with their like.
HOMES = {"alerts": "maintain", "disaster": "recover", "threads": "maintain"}
ENTRY_OPTIONS = {"expires", "queue", "priority", "time_limit", "soft_time_limit"}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    assert worker.TASKS
    return celery_app.app


def own_tasks(app: Celery) -> dict[str, Task[Any, Any]]:
    return {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


def consumed_queues() -> set[str]:
    words = shlex.split(programs()["worker"])
    return set(words[words.index("--queues") + 1].split(","))


def programs() -> dict[str, str]:
    return dict(parse_procfile(PROCFILE.read_text(encoding="utf-8")).processes)


def shortest_period(schedule: float | crontab) -> timedelta:
    """The shortest time between two runs, looked up minute by minute over a week."""
    if not isinstance(schedule, crontab):
        return timedelta(seconds=schedule)
    minutes = [A_MONDAY + timedelta(minutes=at) for at in range(8 * 24 * 60)]
    runs = [moment for moment in minutes if _runs_at(schedule, moment)]
    gaps = [later - sooner for sooner, later in itertools.pairwise(runs)]
    return min(gaps, default=timedelta(days=7))


def _runs_at(schedule: crontab, moment: datetime) -> bool:
    return (
        moment.minute in schedule.minute
        and moment.hour in schedule.hour
        and moment.isoweekday() % 7 in schedule.day_of_week
        and moment.day in schedule.day_of_month
        and moment.month in schedule.month_of_year
    )


@pytest.mark.parametrize("name", SCHEDULE)
def test_an_entry_names_a_task_that_exists(app: Celery, name: str) -> None:
    assert SCHEDULE[name]["task"] in own_tasks(app)


@pytest.mark.parametrize("name", SCHEDULE)
def test_an_entry_expires_before_its_next_run(name: str) -> None:
    entry: Any = SCHEDULE[name]
    expires = timedelta(seconds=entry["options"]["expires"])
    assert timedelta(0) < expires < shortest_period(entry["schedule"])


@pytest.mark.parametrize("name", SCHEDULE)
def test_an_entry_goes_to_a_queue_that_a_worker_consumes(app: Celery, name: str) -> None:
    entry: Any = SCHEDULE[name]
    assert entry["options"]["queue"] in consumed_queues()
    # The queue of the entry and of the route are one: which of the two wins does not matter.
    assert entry["options"]["queue"] == _queue_of(app, entry["task"])


@pytest.mark.parametrize("name", SCHEDULE)
def test_an_entry_has_no_misspelt_option(name: str) -> None:
    entry: Any = SCHEDULE[name]
    assert set(entry) <= {"task", "schedule", "options", "args", "kwargs"}
    assert set(entry["options"]) <= ENTRY_OPTIONS


@pytest.mark.parametrize("name", SCHEDULE)
def test_what_runs_rarely_runs_by_the_clock(name: str) -> None:
    # An interval starts over whenever beat does, so a long one might never come.
    schedule: Any = SCHEDULE[name]["schedule"]
    assert isinstance(schedule, crontab) or schedule <= 60


def test_every_task_is_routed_to_a_queue_that_a_worker_consumes(app: Celery) -> None:
    assert own_tasks(app)
    for name in own_tasks(app):
        assert _queue_of(app, name) in consumed_queues(), name


def test_every_route_is_taken_by_some_task(app: Celery) -> None:
    for pattern in queues.ROUTES:
        prefix = pattern.removesuffix("*")
        assert any(name.startswith(prefix) for name in own_tasks(app)), pattern


def test_worker_and_queues_agree() -> None:
    assert consumed_queues() == set(queues.ALL)


def test_every_task_option_is_one_of_celerys(app: Celery) -> None:
    for name, task in own_tasks(app).items():
        options = {option for option in vars(type(task)) if not option.startswith("__")}
        unknown = options - set(dir(Task)) - FROM_CONFIGURATION - DECORATOR_LEAVES
        assert not unknown, f"{name}: {unknown}"


def test_every_task_is_named_by_its_kind_and_verb(app: Celery) -> None:
    for name, task in own_tasks(app).items():
        kind, verb = name.split(".")
        assert isinstance(task, JobTask)
        assert f"{kind}.*" in queues.ROUTES
        assert task.run.__module__ == f"tasks.{HOMES.get(kind, kind)}"
        assert task.run.__name__ == verb


def test_every_setting_is_one_of_celerys(app: Celery) -> None:
    assert set(celery_app.configuration()) <= SETTING_KEYS | UNLISTED_SETTINGS


def test_a_task_keeps_no_result_and_no_content(app: Celery) -> None:
    for name, task in own_tasks(app).items():
        assert task.ignore_result, name
        arguments = task.run.__annotations__
        assert {kind for at, kind in arguments.items() if at != "return"} <= {int}, name


@pytest.mark.parametrize("program", ["web", "realtime", "worker", "beat", "flower"])
def test_the_procfile_has_every_program(program: str) -> None:
    assert programs()[program].strip()


@pytest.mark.parametrize("program", ["worker", "beat", "flower"])
def test_own_programs_run_this_application(program: str) -> None:
    words = shlex.split(programs()[program])
    start = words.index("python")
    assert words[start : start + 4] == ["python", "-m", "tasks.programs", program]
    assert program in {*own_programs.COMMANDS, own_programs.FLOWER}
    assert own_programs.app is celery_app.app


@pytest.mark.parametrize("given", ["", "admin", "admin:", ":secret"])
def test_flower_does_not_start_without_a_password(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", given)
    monkeypatch.setattr("sys.argv", ["tasks.programs", "flower"])
    with pytest.raises(SystemExit, match="FLOWER_BASIC_AUTH is not set"):
        own_programs.main()


def test_flower_takes_its_password_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = tmp_path / "word"
    word.write_text("admin:secret\n", encoding="utf-8")
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "")
    monkeypatch.setenv("FLOWER_BASIC_AUTH_FILE", str(word))
    assert flower.command().name == "flower"
    assert os.environ["FLOWER_BASIC_AUTH"] == "admin:secret"
    # Its settings are read afterwards, with one of the two alone.
    assert "FLOWER_BASIC_AUTH_FILE" not in os.environ
    monkeypatch.setenv("FLOWER_BASIC_AUTH_FILE", str(word))
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "admin:another")
    with pytest.raises(SystemExit, match="both set"):
        flower.command()


def _queue_of(app: Celery, task: str) -> str:
    route: dict[str, Any] = app.amqp.router.route({}, task)
    return str(route["queue"].name)

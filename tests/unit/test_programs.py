"""Each program of the Procfile has its row of secrets, and cannot read another's."""

from pathlib import Path

import pytest
from honcho.environ import parse_procfile

import programs
import settings
from settings import SECRETS, VARIABLES

ROOT = Path(settings.__file__).parent
GIVEN = {name: f"redis://{name.lower()}" for name in SECRETS} | {
    "DATABASE_URL": "postgresql://database",
    "DATABASE_WEB_URL": "postgresql://web",
    "DATABASE_MIGRATE_URL": "postgresql://owner",
    "CLICKHOUSE_URL": "clickhouse+http://clickhouse",
    "THREADKEEP_ALERT_WEBHOOK_URL": "https://receiver",
    "THREADKEEP_ALERT_WEBHOOK_SECRET": "w" * 32,
    "THREADKEEP_HEADS_WEBHOOK_URL": "https://keeper",
    "THREADKEEP_JWT_SECRET": "j" * 32,
}
OF_COMMANDS = {"DATABASE_WEB_URL", "DATABASE_MIGRATE_URL"}
"""What `up` and commands read, and no program."""
FIELDS = {variable: field for field, variable in VARIABLES.items()}


def test_every_program_has_its_row_and_every_secret_a_reader() -> None:
    procfile = parse_procfile((ROOT / "Procfile").read_text()).processes
    assert set(programs.READ) == set(procfile)
    assert frozenset().union(*programs.READ.values()) == SECRETS - OF_COMMANDS


@pytest.mark.parametrize("program", programs.READ)
def test_a_program_is_given_its_own_secrets_alone(program: str) -> None:
    given = programs.environment(program, GIVEN | {"PATH": "/bin", "PGPASSWORD": "x"})
    own = programs.READ[program]
    libpqs = {"PGPASSWORD"} if "DATABASE_URL" in own else set()
    assert set(given) == own | {"PATH"} | libpqs


def test_a_program_that_nobody_knows_is_given_none() -> None:
    assert programs.environment("other", GIVEN | {"PATH": "/bin"}) == {"PATH": "/bin"}


@pytest.mark.parametrize("program", programs.READ)
@pytest.mark.parametrize("variable", sorted(SECRETS & set(FIELDS)))
def test_reading_what_is_anothers_fails_loudly(program: str, variable: str) -> None:
    own = programs.load(program, GIVEN)
    if variable in programs.READ[program]:
        assert getattr(own, FIELDS[variable]) == GIVEN[variable]
    else:
        with pytest.raises(RuntimeError, match=f"{program} may not read {variable}"):
            getattr(own, FIELDS[variable])
        assert GIVEN[variable] not in repr(own)


@pytest.mark.parametrize("program", programs.READ)
def test_a_program_starts_with_what_it_reads(program: str) -> None:
    own = programs.load(program, programs.environment(program, GIVEN))
    assert own.broker_url == GIVEN["CELERY_BROKER_URL"]


def test_a_file_with_anothers_secret_is_not_opened(tmp_path: Path) -> None:
    closed = {"THREADKEEP_JWT_SECRET_FILE": str(tmp_path / "nothing here")}
    given = {name: value for name, value in GIVEN.items() if name != "THREADKEEP_JWT_SECRET"}
    assert programs.load("worker", given | closed).database_url == GIVEN["DATABASE_URL"]
    assert programs.environment("worker", closed) == {}
    with pytest.raises(settings.SettingsError, match="cannot be read"):
        programs.load("web", given | closed)


def test_the_table_of_the_documents_is_this_one() -> None:
    lines = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    start = lines.index("| program | secrets |")
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        program, names = (cell.strip() for cell in line.strip("|").split("|"))
        rows[program.strip("`")] = {name.strip(" `") for name in names.split("·")}
    assert rows == programs.READ

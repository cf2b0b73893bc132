"""Which secrets the processes of a whole stack have in their environments."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import programs
from settings import SECRETS
from support.calls.api import Api
from support.stack.processes import Launched, launched
from support.waiting import eventually
from webapp.cli.stack.databases import WEB_PROGRAMS
from webapp.http.auth import Tokens

GIVEN = {
    "THREADKEEP_METRICS_TOKEN": "the-metrics-token-of-this-test",
    "THREADKEEP_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/hook-of-this-test",
    "THREADKEEP_ALERT_WEBHOOK_SECRET": "the-webhook-secret-of-this-very-test",
    "THREADKEEP_HEADS_WEBHOOK_URL": "http://127.0.0.1:9/keeper-of-this-test",
    "PGPASSFILE": "/nowhere/the-pgpass-of-this-test",
    "OTEL_EXPORTER_OTLP_HEADERS": "key=the-collectors-key-of-this-test",
}
NOT_PROGRAMS = ("clickhouse", "redis-data", "redis-broker", "postgres", "guardian")
# ClickHouse's owner is given its own password, which it compares others with.
OWN = {"clickhouse": {"CLICKHOUSE_URL"}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("secrets"), **GIVEN) as stack:
        yield stack


def environments(stack: Launched, name: str) -> str:
    """What all processes of a program have in their environments."""
    members = stack.members(name)
    assert members, name
    return "\n".join(Path(f"/proc/{pid}/environ").read_text(errors="replace") for pid in members)


def values(stack: Launched) -> dict[str, str]:
    """Every secret of the stack; of an address only the password."""
    # The login of the web programs stands in their own environments alone.
    names = SECRETS - {"DATABASE_WEB_URL"}
    found = {name: stack.env.get(name) or GIVEN.get(name, "") for name in names}
    urls = [name for name in names if name.endswith("_URL") and "WEBHOOK" not in name]
    found |= {name: found[name].split("@")[0].rpartition(":")[2] for name in urls}
    assert all(map(str.strip, found.values())), found
    return found


@pytest.mark.parametrize("name", programs.READ)
def test_a_program_has_the_secrets_that_it_reads_and_no_other(stack: Launched, name: str) -> None:
    said = environments(stack, name)
    read = programs.READ[name]
    if name in WEB_PROGRAMS:
        # Theirs is another login.
        read -= {"DATABASE_URL"}
        assert "threadkeep_web_login" in said
    assert {one for one, value in values(stack).items() if value in said} == read
    reaches_postgres = "DATABASE_URL" in programs.READ[name]
    assert (GIVEN["PGPASSFILE"] in said) == reaches_postgres
    assert (GIVEN["OTEL_EXPORTER_OTLP_HEADERS"] in said) == reaches_postgres


@pytest.mark.parametrize("name", NOT_PROGRAMS)
def test_no_server_has_a_secret_of_a_program(stack: Launched, name: str) -> None:
    said = environments(stack, name)
    found = {one for one, value in values(stack).items() if value in said}
    assert found == OWN.get(name, set())
    assert not [one for one in GIVEN.values() if one in said]


def test_all_of_it_works_with_that(stack: Launched) -> None:
    """From the API by the log and the outbox to ClickHouse, without a word of a missing secret."""
    token = Tokens(programs.load("web", stack.env)).issue("anna", is_admin=False, ttl_seconds=600)
    api = Api(stack.url, token)
    sent = api.send("thread", "hello")

    def is_archived() -> bool:
        copies = api.get(f"/api/messages/{sent['id']}/receipt").json()["tiers"]
        return all(copies[tier]["present"] for tier in ("postgresql", "clickhouse"))

    eventually(is_archived, 30)
    assert "may not read" not in "".join(map(stack.log_of, programs.READ))

"""What an address says of its connections, before anybody connects."""

import pytest

import settings
from storage.availability.checks.network import judge_network
from storage.telemetry.addresses import is_local
from support.stack.environment import COMPLETE
from webapp.app import create_app

PG, CH = "postgresql+psycopg2://u", "clickhouse+http://u"
VARIABLES = {
    "redis": "REDIS_URL",
    "broker": "CELERY_BROKER_URL",
    "postgresql": "DATABASE_URL",
    "clickhouse": "CLICKHOUSE_URL",
}


def weaker(tier: str, address: str) -> dict[str, str]:
    """What is weaker with a server at this address, the others being here."""
    own = {"CELERY_BROKER_URL": COMPLETE["REDIS_URL"], VARIABLES[tier]: address}
    found = judge_network(settings.load(COMPLETE | own))
    assert {one.tier for one in found} <= {tier}
    assert all(one.severity == "weaker" and one.promise for one in found if not one.ok)
    assert not [one for one in found if "secret" in one.line]
    return {one.check: one.found for one in found if not one.ok}


@pytest.mark.parametrize(
    ("tier", "address"),
    [
        ("redis", "redis://127.0.0.1:6379/0"),
        ("redis", "redis://localhost/0"),
        ("redis", "redis://[::1]:6379/0"),
        ("redis", "unix:///run/redis.sock"),
        ("redis", "rediss://:secret@cache.example:6380/0"),
        ("redis", "rediss://u:secret@10.0.0.2/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"),
        ("redis", "rediss://cache.example/0?ssl_certfile=/c.pem&ssl_keyfile=/k.pem"),
        ("broker", "rediss://:secret@queue.example/0?ssl_cert_reqs=required"),
        ("broker", "rediss://:secret@queue.example/0?ssl_cert_reqs=CERT_REQUIRED"),
        ("postgresql", f"{PG}@/threadkeep?host=/run/postgresql"),
        ("postgresql", f"{PG}:secret@db.example/d?sslmode=verify-full&sslrootcert=/ca.pem"),
        ("postgresql", f"{PG}@db.example/d?sslmode=verify-ca&sslcert=/c.pem&sslkey=/k.pem"),
        ("clickhouse", f"{CH}:secret@olap.example:8443/d?protocol=https"),
        ("clickhouse", f"{CH}:secret@olap.example:8443/d?protocol=https&verify=/ca.pem"),
        ("clickhouse", "clickhouse+native://u:secret@olap.example:9440/d?secure=True"),
    ],
)
def test_what_is_here_or_safe_is_no_finding(tier: str, address: str) -> None:
    assert weaker(tier, address) == {}


@pytest.mark.parametrize(
    ("tier", "address", "found"),
    [
        ("redis", "redis://cache.example/0", {"encryption": "none", "credential": "none"}),
        ("redis", "redis://:secret@cache.example/0", {"encryption": "none"}),
        (
            "redis",
            "rediss://:secret@cache.example/0?ssl_cert_reqs=none",
            {"encryption": "TLS, whoever answers"},
        ),
        # What Celery makes of it.
        ("broker", "rediss://:secret@queue.example/0", {"encryption": "TLS, whoever answers"}),
        ("postgresql", f"{PG}:secret@db.example/d", {"encryption": "none"}),
        ("postgresql", f"{PG}:secret@db.example/d?sslmode=prefer", {"encryption": "none"}),
        (
            "postgresql",
            f"{PG}:secret@db.example/d?sslmode=require",
            {"encryption": "TLS, whoever answers"},
        ),
        (
            "postgresql",
            f"{PG}@/d?host=/run/postgresql,db.example",
            {"encryption": "none", "credential": "none"},
        ),
        ("clickhouse", f"{CH}:@10.1.1.1:8123/d", {"encryption": "none", "credential": "none"}),
        (
            "clickhouse",
            f"{CH}:secret@olap.example/d?protocol=https&verify=false",
            {"encryption": "TLS, whoever answers"},
        ),
        (
            "clickhouse",
            "clickhouse+native://u:secret@olap.example/d",
            {"encryption": "none"},
        ),
    ],
)
def test_what_the_network_could_read_or_forge_is_weaker(
    tier: str, address: str, found: dict[str, str]
) -> None:
    assert weaker(tier, address) == found


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "LocalHost", ""])
def test_this_machine(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.evil"])
def test_other_machines(host: str) -> None:
    assert not is_local(host)


@pytest.mark.parametrize(("address", "is_strict"), [("https://chat.example", True), ("", False)])
@pytest.mark.parametrize("path", ["/", "/operations", "/docs"])
def test_pages_of_a_public_https_address_are_asked_for_by_https_alone(
    address: str, is_strict: bool, path: str
) -> None:
    app = create_app(settings.load(COMPLETE | {"API_URL": address}))
    headers = app.test_client().get(path).headers
    assert ("Strict-Transport-Security" in headers) == is_strict
    assert headers["Referrer-Policy"] == "no-referrer"

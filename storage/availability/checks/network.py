"""Whether servers on other machines are reached by connections that nobody between can read or
answer in their place; by the addresses alone."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy.engine import URL, make_url

from settings import VARIABLES, Settings
from storage.availability.checks.finding import Finding, found
from storage.telemetry.addresses import is_local

PRIVATE = "nobody on the network between reads messages, changes them, or stands in for a server"
PAGE = "see docs/networks.md"
_TRUE = frozenset({"true", "1", "yes", "on", "t", "y"})
_FALSE = frozenset({"false", "0", "no", "off", "f", "n"})
_VERIFIED_MODES = frozenset({"verify-ca", "verify-full"})


class Protection(NamedTuple):
    """What an address says of its connections: are they encrypted, is the server's certificate
    verified, and do they prove who connects?"""

    is_encrypted: bool
    is_verified: bool
    has_credential: bool


def judge_network(settings: Settings) -> list[Finding]:
    """A finding for each server off this machine; none where all are on it."""
    return [
        finding
        for tier, field in (
            ("redis", "redis_url"),
            ("broker", "broker_url"),
            ("postgresql", "database_url"),
            ("clickhouse", "clickhouse_url"),
        )
        for finding in _judge(tier, VARIABLES[field], getattr(settings, field))
    ]


def _judge(tier: str, variable: str, address: str) -> Iterator[Finding]:
    url = make_url(address)
    if all(map(is_local, _hosts(url))):
        return
    there = _of(tier, url)
    encryption = "none" if not there.is_encrypted else "TLS"
    if there.is_encrypted and not there.is_verified:
        encryption = "TLS, whoever answers"
    is_safe = there.is_encrypted and there.is_verified
    advice = f"let {variable} ask for TLS and verify the server: {PAGE}"
    yield found(tier, "encryption", is_safe, encryption, advice, "weaker", PRIVATE)
    has, word = there.has_credential, "given" if there.has_credential else "none"
    advice = f"give the server a user with a password, and {variable} both: {PAGE}"
    yield found(tier, "credential", has, word, advice, "weaker", PRIVATE)


def _hosts(url: URL) -> list[str | None]:
    """The hosts of an address; libpq takes several, and paths of sockets, from its query."""
    if url.drivername == "unix":
        return [None]
    given = url.query.get("host", ()) if url.drivername.startswith("postgresql") else ()
    named = [given] if isinstance(given, str) else list(given)
    hosts = [host.rpartition(":")[0] or host for one in named for host in one.split(",")]
    return [*([url.host] if url.host or not hosts else []), *hosts]


def _of(tier: str, url: URL) -> Protection:
    query = {name: str(value) for name, value in url.query.items()}
    if tier == "postgresql":
        mode = query.get("sslmode", "prefer")
        is_encrypted = mode in {"require", *_VERIFIED_MODES}
        # With an authority `require` verifies as `verify-ca` does.
        verified = mode in _VERIFIED_MODES or (mode == "require" and "sslrootcert" in query)
        return Protection(is_encrypted, verified, bool(url.password or "sslcert" in query))
    if tier == "clickhouse":
        return _of_clickhouse(url, query)
    # Celery verifies nothing unless it is told to.
    verifies = query.get("ssl_cert_reqs", "required" if tier == "redis" else "none")
    is_verified = verifies.casefold().removeprefix("cert_") == "required"
    has = bool(url.password or "ssl_certfile" in query)
    return Protection(url.drivername == "rediss", is_verified, has)


def _of_clickhouse(url: URL, query: Mapping[str, str]) -> Protection:
    is_native = url.drivername.endswith("+native")
    is_encrypted = (
        query.get("secure", "").casefold() in _TRUE
        if is_native
        else query.get("protocol") == "https"
    )
    is_verified = query.get("verify", "").casefold() not in _FALSE
    has = bool(url.password or {"cert", "certfile"} & query.keys())
    return Protection(is_encrypted, is_verified, has)

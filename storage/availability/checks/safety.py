"""Whether a process may run with its settings and servers, and which promises then hold.

A tier that does not answer is no reason to refuse: it is judged when it answers again.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog
from redis import Redis
from sqlalchemy import Engine

from settings import Settings
from storage.availability.checks import redis
from storage.availability.checks.clickhouse import CLICKHOUSE, judge_clickhouse
from storage.availability.checks.finding import Finding
from storage.availability.checks.installation import judge_installation
from storage.availability.checks.network import judge_network
from storage.availability.checks.postgres import POSTGRES, judge_postgres
from storage.availability.checks.redis import REDIS
from storage.availability.checks.secrets import SETTINGS, judge_secrets
from storage.clickhouse.driver import ClickHouse
from storage.errors import Refused
from storage.postgres.engines import request_engine
from storage.redis.client import redis_client
from storage.resilience import faultpoints
from storage.resilience.periodic import PeriodicThread

log = structlog.get_logger(__name__)

TIERS = (REDIS, POSTGRES, CLICKHOUSE)
CLICKHOUSE_SECONDS = 2.0
POLL_SECONDS = 1.0


class SafetyVerdict(msgspec.Struct, frozen=True):
    """Every finding, tier by tier."""

    findings: list[Finding]

    @property
    def refusals(self) -> list[Finding]:
        """Why no process may run with this."""
        return [finding for finding in self.findings if finding.severity == "refuse"]

    @property
    def weaker(self) -> list[Finding]:
        """Which promises do not hold, and why."""
        return [finding for finding in self.findings if finding.severity == "weaker"]

    @property
    def silent(self) -> list[Finding]:
        """Which tiers could not be judged."""
        return [finding for finding in self.findings if finding.severity == "down"]

    @property
    def reason(self) -> str:
        """Everything that refuses, in one line; empty where nothing does."""
        return "; ".join(finding.line for finding in self.refusals)


def judge(
    settings: Settings, client: Redis, engine: Engine, tiers: Sequence[str] = (SETTINGS, *TIERS)
) -> SafetyVerdict:
    """Judges the settings and the tiers, all at once; gives the findings in this order.

    Takes tens of milliseconds where all answer, and two seconds and a little where one does not.
    Raises nothing for a tier that is down.
    """
    judges = {
        SETTINGS: lambda: [*judge_secrets(settings), *judge_network(settings)],
        REDIS: lambda: [*redis.judge_redis(client), *judge_installation(client, engine)],
        POSTGRES: lambda: judge_postgres(engine),
        CLICKHOUSE: lambda: _judge_clickhouse(settings),
    }
    with ThreadPoolExecutor(len(judges), thread_name_prefix="judge") as pool:
        findings = list(pool.map(lambda tier: judges[tier](), tiers))
    return SafetyVerdict([finding for found in findings for finding in found])


def judge_redis(client: Redis) -> str:
    """Why messages may not be given to this Redis; empty where they may, or where it is silent.

    One round trip. Never raises.
    """
    return SafetyVerdict(redis.judge_redis(client)).reason


def judge_apart(
    settings: Settings, tiers: Sequence[str] = (SETTINGS, *TIERS), role: str = ""
) -> SafetyVerdict:
    """Judges over connections of its own, which it closes: for a process that may yet fork. In
    PostgreSQL it acts as `role`.

    Raises `SettingsError` for misspelt fault points.
    """
    faultpoints.enable(settings)
    client, engine = redis_client(settings), request_engine(settings, role)
    try:
        return judge(settings, client, engine, tiers)
    finally:
        client.close()
        engine.dispose()


def check(settings: Settings, role: str = "") -> SafetyVerdict:
    """What a process does first. Raises `Refused` with one line: what is wrong, what to do."""
    verdict = judge_apart(settings, role=role)
    if verdict.refusals:
        raise Refused(verdict.reason)
    return verdict


def report(verdict: SafetyVerdict) -> None:
    """One warning for each promise that does not hold, and for each tier that was not judged."""
    for finding in verdict.weaker:
        log.warning(
            "weaker_promise",
            tier=finding.tier,
            check=finding.check,
            found=finding.found,
            promise=finding.promise,
            advice=finding.advice,
        )
    for finding in verdict.silent:
        log.warning("not_judged", tier=finding.tier, reason=finding.found, advice=finding.advice)


def _judge_clickhouse(settings: Settings) -> list[Finding]:
    """Not under ClickHouse's own deadline: a process that starts must not wait that long."""
    seconds = min(CLICKHOUSE_SECONDS, settings.clickhouse_timeout_seconds)
    server = ClickHouse(settings.clickhouse_url, seconds)
    try:
        return judge_clickhouse(server)
    finally:
        server.engine.dispose()


class Watch:
    """What is known of a process's settings and servers. Its thread judges again while a tier is
    silent, or something refuses."""

    def __init__(
        self, settings: Settings, start: SafetyVerdict | None = None, role: str = ""
    ) -> None:
        """`start` is what was found at the start; `role` is whom the process acts as."""
        self._settings = settings
        self._role = role
        self._verdict = start or SafetyVerdict([])
        self._on_refusal: Callable[[str], None] = lambda line: None
        self._thread = PeriodicThread(
            "safety-watch",
            self._judge_again,
            lambda: POLL_SECONDS,
            "safety_not_judged",
            is_wanted=lambda: bool(self._open_tiers()),
            waits_first=True,
        )

    @property
    def reason(self) -> str:
        """Why this process refuses at the moment; empty where it does not."""
        return self._verdict.reason

    def begin(self, on_refusal: Callable[[str], None] = lambda line: None) -> None:
        """Starts the thread, where there is anything to wait for. It calls `on_refusal` once for
        each reason to refuse."""
        self._on_refusal = on_refusal
        if self._open_tiers():
            self._thread.begin()

    def end(self) -> None:
        """Lets the thread end after its present round."""
        self._thread.end()

    def _open_tiers(self) -> list[str]:
        return sorted({finding.tier for finding in self._verdict.silent + self._verdict.refusals})

    def _judge_again(self) -> None:
        tiers, before = self._open_tiers(), self._verdict
        found = judge_apart(self._settings, tiers, self._role)
        rest = [finding for finding in before.findings if finding.tier not in tiers]
        self._verdict = SafetyVerdict([*rest, *found.findings])
        answered = {finding.tier for finding in before.silent}
        answered -= {finding.tier for finding in found.silent}
        report(SafetyVerdict([finding for finding in found.findings if finding.tier in answered]))
        if self.reason and self.reason != before.reason:
            self._on_refusal(self.reason)

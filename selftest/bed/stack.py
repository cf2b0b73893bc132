"""A whole stack under test: servers, proxies in front of them, and programs that use the proxies.

The programs know the servers by their proxies only; the checker bypasses the proxies.
"""

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
from redis import Redis
from sqlalchemy.engine import make_url

import settings as configuration
from embedded.supervision import procfs
from selftest.bed.launching import (
    NO_LIMITS,
    Launched,
    clean_environment,
    launch_servers,
    launch_up,
)
from selftest.bed.proxy import FaultProxy
from selftest.record.client import RecordingClient
from settings import Settings
from storage.errors import TierError
from wiring.process import Services

SERVERS = {
    "redis-data": "REDIS_URL",
    "redis-broker": "CELERY_BROKER_URL",
    "postgres": "DATABASE_URL",
    "clickhouse": "CLICKHOUSE_URL",
}
"""The servers, whose names the proxies share, and the variables with their URLs."""
OTHERS = ("DATABASE_WEB_URL", "DATABASE_MIGRATE_URL")
"""What names PostgreSQL too, for other logins."""
REALTIME = "realtime"
FLOWER = "flower"
PROGRAMS = ("web", "worker", "beat", REALTIME)
RECOVERY_SECONDS = 60.0
POLL_SECONDS = 0.05
BROKER_PING_SECONDS = 1.0
PATIENCE_SECONDS = 2.0

TokenIssuer = Callable[[Settings, str], str]
"""Makes a token for a user with the settings' secret."""


class NotRecovered(Exception):
    """A part that was killed or frozen did not come back in time; the text names it."""


class Testbed:
    """The running stack. `proxies` by server; `env` as the programs have it; `direct_env` names
    the servers themselves."""

    # Its name begins like those of pytest's classes.
    __test__ = False

    def __init__(
        self,
        servers: Launched,
        programs: Launched,
        proxies: dict[str, FaultProxy],
        issue: TokenIssuer,
    ) -> None:
        self.proxies = proxies
        self.env = programs.env
        self.direct_env = programs.env | servers.env
        self.settings = configuration.load(self.direct_env)
        self.services = _patient(self.settings)
        self._servers = servers
        self._programs = programs
        self._issue = issue

    @property
    def url(self) -> str:
        """The URL of the API."""
        return self.env["API_URL"]

    def client(self, user_id: str) -> RecordingClient:
        """Return a connection to the API of its own for one user."""
        return RecordingClient(self.url, self._issue(self.settings, user_id))

    def pids(self) -> dict[str, int]:
        """Return name -> pid of the leader of every server and program that runs now."""
        found = self._servers.pids_now() | self._programs.pids_now()
        return {name: pid for name, pid in found.items() if name in (*SERVERS, *PROGRAMS)}

    def signal(self, name: str, number: signal.Signals) -> list[int]:
        """Send a signal to every process of a server or program and return their pids."""
        return self._owner(name).signal(name, number)

    def members(self, name: str) -> list[int]:
        """Return the pids of a server or program, its leader first."""
        return self._owner(name).members(name)

    def log_of(self, name: str) -> str:
        """Return what a server or program has printed."""
        return self._owner(name).log_of(name)

    def logs(self) -> str:
        """Return the ends of all logs."""
        return f"{self._servers.logs()}\n{self._programs.logs()}"

    def kill(self, name: str) -> int | None:
        """Kill all processes of a server or program; the supervisor restarts it.

        Returns the pid of the leader that died, for `wait_until_back`.
        """
        before = self.pids().get(name)
        self.signal(name, signal.SIGKILL)
        return before

    def wait_until_back(self, name: str, before: int | None = None) -> None:
        """Wait until a server or program runs under another pid than `before`, and answers.

        Raises:
            NotRecovered: It did not within a minute.
        """
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not self._is_back(name, before):
            if time.monotonic() > deadline:
                raise NotRecovered(f"{name} did not come back in {RECOVERY_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def freeze(self, name: str) -> list[int]:
        """Stop every process of a server or program with SIGSTOP; pass the result to `thaw`."""
        return self.signal(name, signal.SIGSTOP)

    def thaw(self, pids: list[int]) -> None:
        """Continue the frozen processes."""
        procfs.send(pids, signal.SIGCONT)

    @contextmanager
    def unattended(self, name: str) -> Iterator[None]:
        """Keep the supervisor from restarting a server or program during the block."""
        supervisor = [self._owner(name).pid]
        procfs.send(supervisor, signal.SIGSTOP)
        try:
            yield
        finally:
            procfs.send(supervisor, signal.SIGCONT)

    def folder_of(self, server: str) -> Path:
        """Return the folder of a server's data."""
        return self._servers.data / server

    def move_redis(self, host: str, port: int) -> None:
        """Point everybody to another data Redis, as after the promotion of a replica."""
        self.proxies["redis-data"].redirect(host, port)
        url = make_url(self.direct_env["REDIS_URL"]).set(host=host, port=port)
        new = {"REDIS_URL": url.render_as_string(hide_password=False)}
        self.direct_env = self.direct_env | new
        self.settings = configuration.load(self.direct_env)
        self.close()
        self.services = _patient(self.settings)

    def heal(self) -> None:
        """End the faults of all proxies."""
        for proxy in self.proxies.values():
            proxy.pass_through()

    def answers(self, name: str) -> bool:
        """Tell whether a server or the API answers now; of other programs, whether it runs."""
        try:
            if name == "redis-data":
                self.services.tiers.redis.ping()
            elif name == "postgres":
                self.services.tiers.postgres.ping()
            elif name == "clickhouse":
                self.services.tiers.clickhouse.ping()
            elif name == "redis-broker":
                _ping(self.direct_env[SERVERS[name]])
            elif name in ("web", REALTIME):
                address = self.url if name == "web" else self.env["WS_URL"].replace("ws", "http", 1)
                with closing(RecordingClient(address, "")) as client:
                    return client.call("GET", "/healthz").status == 200
        except (TierError, OSError):
            return False
        return True

    def close(self) -> None:
        """Close the connections to the tiers."""
        self.services.tiers.give_back()

    def _owner(self, name: str) -> Launched:
        return self._servers if name in SERVERS else self._programs

    def _is_back(self, name: str, before: int | None) -> bool:
        now = self.pids().get(name)
        if now is None or now == before:
            return False
        found = procfs.entry(now)
        return found is not None and found.alive and self.answers(name)


@contextmanager
def testbed(
    folder: Path, issue: TokenIssuer, *, has_sockets: bool = False, **variables: str
) -> Iterator[Testbed]:
    """Start a stack in `folder` and stop it at the end; `variables` are more of its environment.

    Only with `has_sockets` it has the program that serves them. It has no Flower.

    Nothing of this process's environment reaches it, so no other stack can be used by mistake.

    Raises:
        StackFailed: It did not start; the text ends with its logs.
    """
    with ExitStack() as cleanup:
        servers = cleanup.enter_context(launch_servers(folder, clean_environment()))
        proxies, addresses = {}, {}
        for name, variable in SERVERS.items():
            url = make_url(servers.env[variable])
            proxy = FaultProxy(url.host or "127.0.0.1", url.port or 0)
            proxies[name] = cleanup.enter_context(proxy)
            for given in (variable, *(OTHERS if name == "postgres" else ())):
                through = make_url(servers.env[given]).set(host=proxy.host, port=proxy.port)
                addresses[given] = through.render_as_string(hide_password=False)
        secret = {"THREADKEEP_JWT_SECRET": secrets.token_urlsafe(48)}
        env = clean_environment() | NO_LIMITS | secret | addresses | variables
        without = (FLOWER,) if has_sockets else (FLOWER, REALTIME)
        programs = cleanup.enter_context(launch_up(folder, env, *without))
        bed = Testbed(servers, programs, proxies, issue)
        cleanup.callback(bed.close)
        # Programs that stop in order must not wait for a server that is cut off.
        cleanup.callback(bed.heal)
        yield bed


def _ping(url: str) -> None:
    with Redis.from_url(url, socket_timeout=BROKER_PING_SECONDS) as client:
        try:
            client.ping()
        except Exception as error:
            # Whatever the driver raises, the server does not answer.
            raise OSError(str(error)) from error


def _patient(settings: Settings) -> Services:
    """The tiers for the checker, with long time limits: a busy server is not down."""
    return Services(
        msgspec.structs.replace(
            settings, redis_timeout_seconds=PATIENCE_SECONDS, redis_slow_seconds=PATIENCE_SECONDS
        )
    )

"""A whole stack on one data folder: its servers, and the programs that use them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded import valkey
from embedded.clickhouse import server as clickhouse
from embedded.errors import StackError
from embedded.files import kept_secret, tail
from embedded.ports import PortBook
from embedded.postgres import server as postgres
from embedded.server import Server
from embedded.supervision import accounts, guardian
from embedded.supervision.leftovers import PidFile
from embedded.supervision.lock import DataLock
from embedded.supervision.privileges import CALLER, RunAs
from embedded.supervision.process import Spec
from embedded.supervision.pulse import Pulses
from embedded.supervision.signals import StopSignals
from embedded.supervision.supervisor import Supervisor

START_TIMEOUT_SECONDS = 60.0
PROGRAMS_STOP_SECONDS = 4.0
SERVERS_STOP_SECONDS = 3.0
POLL_SECONDS = 0.05
QUIET_SECONDS = 1.0
"""Between two rounds while all runs: a child's end begins the next one at once."""
PID_FILE = "pids.json"
NONE: Mapping[str, str] = {}


class Stack:
    """Starts, supervises and stops everything; a context manager for the main thread."""

    def __init__(
        self,
        data: Path,
        on_event: Callable[[str], object] = lambda line: None,
        max_memory: str = valkey.DEFAULT_MAX_MEMORY,
        debug: bool = False,
    ) -> None:
        """Touch nothing yet.

        `data` is the folder of all data and logs, made on entry. `on_event` is called with a line
        for each start and death. `max_memory` and `debug` are the data Valkey's: DEBUG is for
        tests.
        """
        self._data = data.absolute()
        self._run_folder = self._data / "run"
        self._on_event = on_event
        self._max_memory = max_memory
        self._debug = debug
        self._lock = DataLock(self._data)
        self._pid_file = PidFile(self._run_folder / PID_FILE, str(self._data))
        self._supervisor = Supervisor(self._data / "logs", self._pid_file, str(self._data))
        self._supervisor.on_event = self._tell
        self._pulses = Pulses(self._supervisor.pids)
        self._started: dict[str, Server] = {}
        self._unready: set[str] = set()
        self._pipe: tuple[int, ...] = ()
        self._signals = StopSignals()

    def __enter__(self) -> Self:
        """Take the data folder and end what a killed supervisor left on it.

        Raises:
            AlreadyRunning: Another stack holds the folder.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a stack is started from the main thread only")
        for folder in (self._data, self._run_folder, self._data / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        self._signals.catch()
        try:
            with self._signals.deferred():
                if names := self._pid_file.end_leftovers():
                    self._tell(f"ended what an earlier stack left running: {', '.join(names)}")
                self._guard()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every process, give the folder back and restore the signal handlers."""
        self._leave()

    def start_servers(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Start the servers `environ` does not name and return variable -> URL for them.

        Without `CELERY_BROKER_URL` a given `REDIS_URL` carries the tasks too, so that neither
        Valkey is started then.

        Raises:
            StackError: A server did not become ready; the message ends with its log.
            StackInterrupted: A signal asked to stop meanwhile.
        """
        with self._signals.deferred():
            servers = self._begin_servers(_wanted(environ))
            self._wait_until_ready(servers)
        found = {server.variable: server.url for server in servers}
        return found | {name: url for server in servers for name, url in server.others.items()}

    def start_programs(
        self,
        programs: Mapping[str, str],
        env_of: Callable[[str], Mapping[str, str]],
        run_as: RunAs = CALLER,
        health: Mapping[str, str] = NONE,
    ) -> None:
        """Start command lines by name through the shell, each with exactly the environment that
        `env_of` its name is.

        `health` has addresses, by name, that answer as long as their program does; one that does
        not is killed, and restarted like any that died.

        Raises:
            StackError: A name is taken.
            StackInterrupted: A signal asked to stop meanwhile.
        """
        with self._signals.deferred():
            for name, line in programs.items():
                # Without exec the shell would be the leader, and would keep the stop signal.
                command = run_as.wrap(("/bin/sh", "-c", f"exec {line}"), signal.SIGKILL)
                self._supervisor.start(Spec(name=name, command=command, env=env_of(name)))
                self._signals.raise_if_stopped()
            self._pulses.begin({name: url for name, url in health.items() if name in programs})

    def run(self, on_restart: Callable[[str], object] = lambda name: None) -> None:
        """Supervise until SIGINT, SIGTERM or SIGHUP, restarting whatever dies.

        `on_restart` is called with the name of what was restarted.
        """
        self._signals.are_checked = True
        while not self._signals.stop_wanted:
            for name in self.poll():
                on_restart(name)
            is_quiet = self._supervisor.all_run and not self._unready
            self._signals.pause(QUIET_SECONDS if is_quiet else POLL_SECONDS)

    def poll(self) -> list[str]:
        """Do one round of `run` and return the names that were restarted in it."""
        self._supervisor.end_silent(self._pulses.silent())
        restarted = self._supervisor.poll()
        self._unready.update(self._started.keys() & set(restarted))
        # A server that lost its data is set up again at its first answer.
        for name in list(self._unready):
            if self._started[name].is_ready():
                self._unready.discard(name)
        return restarted

    def pids(self) -> dict[str, int]:
        """Return name -> pid of every process that runs at this moment, servers included."""
        return self._supervisor.pids()

    def stop(self) -> None:
        """Stop the programs, then the servers, in little more than seven seconds."""
        self._pulses.end()
        kept = {*self._started, guardian.NAME}
        programs = [name for name in self._supervisor.names() if name not in kept]
        self._supervisor.stop(programs, PROGRAMS_STOP_SECONDS)
        self._supervisor.stop(self._started, SERVERS_STOP_SECONDS)
        self._started = {}
        self._unready = set()

    def _guard(self) -> None:
        """Start the process that ends the stack if this one is killed."""
        self._pipe = os.pipe()
        spec = guardian.spec(self._run_folder / PID_FILE, str(self._data), self._pipe[0])
        self._supervisor.start(spec)

    def _leave(self) -> None:
        self._signals.are_checked = True
        try:
            self.stop()
            self._supervisor.stop([guardian.NAME], SERVERS_STOP_SECONDS)
            # A worker that opened a session of its own is recognised only by the mark.
            self._pid_file.end_leftovers()
        finally:
            for descriptor in self._pipe:
                os.close(descriptor)
            self._pipe = ()
            self._lock.release()
            self._signals.restore()

    def _begin_servers(self, wanted: set[str]) -> list[Server]:
        """Start every wanted server without waiting for any but the creation of a cluster."""
        servers = []
        ports = PortBook(self._run_folder / "ports.json")
        run_as = accounts.for_servers(self._data, self._tell) if wanted else CALLER
        # The slowest begin first; creating a cluster overlaps with their start.
        if (name := clickhouse.NAME) in wanted:
            port, password = ports.port_for(name), self._password_of(name)
            own = accounts.reaching(run_as, self._data, name, self._tell)
            servers.append(self._begin(clickhouse.server(self._data / name, port, password, own)))
        if (name := valkey.DATA_NAME) in wanted:
            port, password = ports.port_for(name), self._password_of(name)
            limits = (self._max_memory, self._debug)
            server = valkey.data_server(self._data / name, port, password, *limits, run_as)
            servers.append(self._begin(server))
        if (name := valkey.BROKER_NAME) in wanted:
            port, password = ports.port_for(name), self._password_of(name)
            server = valkey.broker_server(self._data / name, port, password, self._debug, run_as)
            servers.append(self._begin(server))
        if postgres.NAME in wanted:
            servers.append(self._begin_postgres(ports.port_for(postgres.NAME), run_as))
        return servers

    def _password_of(self, name: str) -> str:
        return kept_secret(self._run_folder / f"{name}-password")

    def _begin_postgres(self, port: int, run_as: RunAs) -> Server:
        folder = self._data / postgres.NAME
        cluster = postgres.Postgres(folder, self._run_folder, port, run_as)
        cluster.clear()
        creation = cluster.creation()
        if creation is not None:
            self._tell("creating a PostgreSQL cluster")
            self._complete(creation)
        return self._begin(cluster.server())

    def _begin(self, server: Server) -> Server:
        self._started[server.spec.name] = server
        self._supervisor.start(server.spec)
        self._signals.raise_if_stopped()
        return server

    def _complete(self, spec: Spec) -> None:
        """Run a program to its end."""
        self._supervisor.start(spec)
        while not self._supervisor.has_ended(spec.name):
            self._signals.raise_if_stopped()
            time.sleep(POLL_SECONDS)
        status = self._supervisor.forget(spec.name)
        if status != 0:
            raise self._failure(spec.name, f"failed with status {status}")

    def _wait_until_ready(self, servers: list[Server]) -> None:
        end = time.monotonic() + START_TIMEOUT_SECONDS
        waiting = list(servers)
        while waiting:
            for server in list(waiting):
                name = server.spec.name
                self._signals.raise_if_stopped()
                if server.is_ready():
                    waiting.remove(server)
                    self._tell(f"{name} is ready")
                elif self._supervisor.has_ended(name):
                    raise self._failure(name, "ended while starting")
                elif time.monotonic() > end:
                    raise self._failure(name, f"did not answer in {START_TIMEOUT_SECONDS:g} s")
            time.sleep(POLL_SECONDS if waiting else 0)

    def _failure(self, name: str, what: str) -> StackError:
        log = self._supervisor.log_of(name)
        return StackError(f"{name} {what}; the end of {log}:\n{tail(log)}")

    def _tell(self, line: str) -> None:
        # A terminal that went away is no reason to stop half-way through stopping.
        with suppress(OSError):
            self._on_event(line)


def _wanted(environ: Mapping[str, str]) -> set[str]:
    """Return the names of the servers that the environment does not name."""
    wanted = set()
    if not environ.get("REDIS_URL"):
        wanted.add(valkey.DATA_NAME)
    if not environ.get("CELERY_BROKER_URL") and not environ.get("REDIS_URL"):
        wanted.add(valkey.BROKER_NAME)
    if not environ.get("DATABASE_URL"):
        wanted.add(postgres.NAME)
    if not environ.get("CLICKHOUSE_URL"):
        wanted.add(clickhouse.NAME)
    return wanted

"""PostgreSQL 18 from its wheel, as a direct child: a postmaster that can be waited for."""

import shutil
import signal
import subprocess
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import psycopg2

from embedded.environment import environment
from embedded.errors import StackError
from embedded.files import kept_secret, write_atomically
from embedded.ports import HOST
from embedded.postgres import programs
from embedded.postgres.access import RULES, SUPERUSER, Access, Passwords
from embedded.postgres.logins import OWNER, WEB_LOGIN, WORKER_LOGIN
from embedded.server import HERE, Server
from embedded.supervision import procfs
from embedded.supervision.privileges import RunAs
from embedded.supervision.process import Spec

NAME = "postgres"
INITDB_NOTE = "initdb-note"
DEATH_SIGNAL = signal.SIGQUIT

# Messages must not reach a log: statements are left out of error reports, and the details of an
# error ("Failing row contains ...") with them.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_connections": "100",
    # Autovacuum yields after this long, before waiters for its lock give up.
    "deadlock_timeout": "200ms",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_checkpoints": "off",
}


class Postgres:
    """One cluster: its folder, its passwords and the account it runs as."""

    def __init__(self, folder: Path, run_folder: Path, port: int, run_as: RunAs) -> None:
        self._folder = folder
        self._cluster = folder / "cluster"
        self._password_file = run_folder / "postgres-password"
        self._superuser_file = run_folder / "postgres-superuser-password"
        self._port = port
        self._run_as = run_as
        self._programs = programs.folder(run_as) / "bin"
        self._is_set_up = False

    def creation(self) -> Spec | None:
        """Return the program that creates the cluster, or None if there is one.

        It works on a draft that `server` moves in place, so that a start interrupted half-way
        leaves nothing that looks like a cluster.
        """
        if self._cluster.exists():
            return None
        shutil.rmtree(self._draft, ignore_errors=True)
        for folder in (self._folder, self._draft):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._run_as.own(folder)
        # Running programs know the existing passwords.
        kept_secret(self._password_file)
        word = kept_secret(self._superuser_file)
        write_atomically(self._folder / INITDB_NOTE, word, uid=self._run_as.uid)
        options = (
            f"--pgdata={HERE}",
            f"--username={SUPERUSER}",
            f"--pwfile=../{INITDB_NOTE}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
        )
        return self._spec(
            "postgres-initdb", "initdb", options, self._draft, signal.SIGTERM, signal.SIGKILL
        )

    def server(self) -> Server:
        """Describe the server of the cluster, which `creation` has made if need be."""
        self._move_in_place()
        options: tuple[str, ...] = ("-D", HERE, "-p", str(self._port))
        for name, value in _SETTINGS.items():
            options += ("-c", f"{name}={value}")
        urls = self._access.urls()
        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one: when the supervisor
        # is gone, nobody is left to wait for a checkpoint.
        return Server(
            spec=replace(
                self._spec(NAME, "postgres", options, self._cluster, signal.SIGINT, DEATH_SIGNAL),
                prepare=self._make_anew_if_lost,
            ),
            variable="DATABASE_URL",
            url=urls.pop("DATABASE_URL"),
            is_ready=self._is_ready,
            others=urls,
        )

    @cached_property
    def _access(self) -> Access:
        if not self._password_file.exists():
            raise StackError(
                f"{self._password_file} is missing, and with it the password of the database in "
                f"{self._folder}"
            )
        files = {
            OWNER: self._password_file,
            WEB_LOGIN: self._password_file.with_name("postgres-web-password"),
            WORKER_LOGIN: self._password_file.with_name("postgres-worker-password"),
        }
        logins = {name: kept_secret(file) for name, file in files.items()}
        passwords = Passwords(kept_secret(self._superuser_file), logins)
        return Access(self._cluster, self._port, passwords)

    def _move_in_place(self) -> None:
        if self._draft.exists():
            self._draft.rename(self._cluster)
        (self._folder / INITDB_NOTE).unlink(missing_ok=True)
        self._run_as.own(self._folder)
        write_atomically(self._cluster / "pg_hba.conf", RULES, uid=self._run_as.uid)

    def clear(self) -> None:
        """Remove what a killed postmaster left: its processes, then its lock files.

        PostgreSQL treats the lock of a dead process as stale, but not that of a zombie, which a
        container whose first process reaps nobody keeps for ever.
        """
        procfs.kill_and_wait(self.stragglers())
        if not self.stragglers():
            for lock in (self._cluster / "postmaster.pid", *self._cluster.glob(".s.PGSQL.*.lock")):
                lock.unlink(missing_ok=True)

    def stragglers(self) -> list[int]:
        """Return the pids of this cluster's processes, each of which leads a session of its own.

        A backend busy with a long query outlives a killed postmaster, and the next one refuses
        to start beside it.
        """
        return procfs.working_in(self._cluster, "postgres")

    def _make_anew_if_lost(self) -> None:
        """Make an empty cluster if the old one is gone: a server that does not start could not be
        recovered."""
        creation = self.creation()
        if creation is None:
            return
        self._is_set_up = False
        done = subprocess.run(
            creation.command, cwd=creation.cwd, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StackError(f"no PostgreSQL cluster was made: {done.stderr.strip()}")
        self._move_in_place()

    @property
    def _draft(self) -> Path:
        return self._folder / "cluster.draft"

    def _spec(
        self,
        name: str,
        program: str,
        options: tuple[str, ...],
        folder: Path,
        stop: signal.Signals,
        death: signal.Signals,
    ) -> Spec:
        command = (str(self._programs / program), *options)
        return Spec(
            name=name,
            command=self._run_as.wrap(command, death),
            env=environment(),
            cwd=folder,
            stop_signal=stop,
            death_signal=death,
            stragglers=self.stragglers,
        )

    def _is_ready(self) -> bool:
        try:
            if not self._is_set_up:
                self._access.set_up()
                self._is_set_up = True
            self._access.check()
        except (psycopg2.OperationalError, OSError):
            return False
        return True

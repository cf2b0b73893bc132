"""`threadkeep up`: the whole stack in the foreground."""

import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from honcho.environ import parse_procfile

import settings
import webapp
from embedded.files import kept_secret
from embedded.ports import free_port, is_free
from embedded.postgres.server import NAME as POSTGRES
from embedded.stack import Stack
from embedded.supervision import accounts
from embedded.supervision.privileges import RunAs
from programs import environment
from storage.telemetry.addresses import is_local
from webapp.cli.stack.databases import login_of
from webapp.cli.stack.preparation import REALTIME, Order, Preparation, say
from webapp.cli.stack.ready import announce, health
from webapp.cli.stack.rebuilding import Rebuilding

PROCFILE = Path(webapp.__file__).with_name("Procfile")
FIGURES = settings.VARIABLES["metrics_folder"]
LOCAL_PAGES = "http://localhost:*,http://127.0.0.1:*"
"""Who tries it out serves a page of their own from some port of this machine."""
FLOWER_HOST = "127.0.0.1"
CLEAR = (
    "weaker: {} is open to other machines, and tokens and messages travel there in clear text: put"
    " a proxy with TLS in front of 127.0.0.1 instead (docs/networks.md)"
)
CODE = ("webapp", "tasks", "celery", "granian", "gunicorn")


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".threadkeep"),
    show_default=True,
    help="The folder of all data, logs and records.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the API listens.")
@click.option("--port", default=8000, show_default=True, help="The API's port; 0 for a free one.")
@click.option("--flower-port", default=5555, show_default=True, help="Likewise, for Flower.")
@click.option(
    "--realtime-port",
    type=int,
    help="Likewise, for sockets; the one after the API's where it is free, if left out.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="PROGRAM",
    help="A program of the Procfile not to start; may be repeated.",
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the addresses here once everything answers.",
)
@click.option("--ephemeral", is_flag=True, help="Delete the data at the end.")
def up(
    data: Path,
    host: str,
    port: int,
    flower_port: int,
    realtime_port: int | None,
    without: tuple[str, ...],
    env_file: Path | None,
    ephemeral: bool,
) -> None:
    """Start everything and serve until Ctrl-C."""
    started = time.monotonic()
    programs = _programs(without)
    settings.check_names(os.environ)
    # The programs get the secrets themselves, as they get those that are made here.
    given = settings.with_files(os.environ)
    for name in os.environ.keys() - given.keys():
        del os.environ[name]
    os.environ.update(given)
    with (
        _folder(data, ephemeral) as folder,
        Stack(folder, on_event=say) as stack,
        Preparation() as preparation,
        Rebuilding() as rebuilding,
    ):
        _check_ports(host, port, flower_port, realtime_port)
        if not is_local(host):
            say(CLEAR.format(host))
        is_ours = not os.environ.get("DATABASE_URL")
        env = dict(os.environ) | stack.start_servers(os.environ)
        run_as = accounts.for_programs(folder.absolute(), CODE, say)
        env |= _addresses(env, folder, host, port, flower_port)
        env |= _own_files(env, folder.absolute() / "programs", run_as)
        if REALTIME in programs:
            env |= _realtime_addresses(env, realtime_port)
        added = dict(env.items() - os.environ.items())
        preparation.prepare(Order(added, list(programs), is_ours))

        def env_of(program: str) -> dict[str, str]:
            return environment(program, env | login_of(env, program))

        stack.start_programs(programs, env_of, run_as, health(env))
        files = [path for path in (folder / "run" / "env", env_file) if path is not None]
        ready = threading.Thread(
            target=announce, args=(stack, preparation, env, files, started), daemon=True
        )
        ready.start()
        try:
            stack.run(lambda name: rebuilding.begin(env) if name == POSTGRES and is_ours else None)
        finally:
            for file in files:
                file.unlink(missing_ok=True)
            say("stopping")


def _check_ports(host: str, port: int, flower_port: int, realtime_port: int | None) -> None:
    """Finds out that a port is taken before any server starts. Raises `ClickException`."""
    taken: set[int] = set()
    for address, given in ((host, port), (FLOWER_HOST, flower_port), (host, realtime_port)):
        if given:
            taken.add(_port(address, given, taken))


@contextmanager
def _folder(data: Path, ephemeral: bool) -> Iterator[Path]:
    if not ephemeral:
        yield data
        return
    folder = Path(tempfile.mkdtemp(prefix="threadkeep-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _addresses(
    env: Mapping[str, str], folder: Path, host: str, port: int, flower_port: int
) -> dict[str, str]:
    """The variables that the programs need beside the servers' addresses."""
    port = _port(host, port)
    flower_port = _port(FLOWER_HOST, flower_port, {port})
    scripts = Path(sys.executable).parent
    secret = _kept(env, "THREADKEEP_JWT_SECRET", folder, secrets.token_urlsafe(48))
    flower = _kept(env, "FLOWER_BASIC_AUTH", folder, f"admin:{secrets.token_urlsafe(18)}")
    return {
        "PATH": f"{scripts}{os.pathsep}{env.get('PATH', '')}",
        "HOST": host,
        "PORT": str(port),
        "FLOWER_PORT": str(flower_port),
        "API_URL": f"http://{host}:{port}",
        "WS_URL": env.get("WS_URL", ""),
        "FLOWER_URL": f"http://{FLOWER_HOST}:{flower_port}",
        "CELERY_BROKER_URL": env.get("CELERY_BROKER_URL") or env["REDIS_URL"],
        "THREADKEEP_JWT_SECRET": secret,
        "THREADKEEP_ORIGINS": env.get("THREADKEEP_ORIGINS") or LOCAL_PAGES,
        "FLOWER_BASIC_AUTH": flower,
    }


def _realtime_addresses(env: Mapping[str, str], port: int | None) -> dict[str, str]:
    """The address of the sockets."""
    host, api_port = env["HOST"], int(env["PORT"])
    if port is None:
        following = api_port + 1
        port = following if is_free(following) and env["FLOWER_PORT"] != str(following) else 0
    # The ports chosen for the other programs are not bound yet.
    port = _port(host, port, {api_port, int(env["FLOWER_PORT"])})
    return {
        "REALTIME_PORT": str(port),
        "WS_URL": env["WS_URL"] or f"ws://{host}:{port}/api/ws",
    }


def _own_files(env: Mapping[str, str], folder: Path, run_as: RunAs) -> dict[str, str]:
    """The private folders of the programs.

    Their shared counters begin at zero at each start, unless the environment names their folder.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    files = {"BEAT_STATE": str(folder / "beat-schedule")}
    if not env.get(FIGURES):
        shared = folder / "metrics"
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir()
        files[FIGURES] = str(shared)
    run_as.own(folder)
    return files | ({"HOME": str(folder), "TMPDIR": str(folder)} if run_as.name else {})


def _programs(without: tuple[str, ...]) -> dict[str, str]:
    """The programs to run, by name."""
    programs: dict[str, str] = parse_procfile(PROCFILE.read_text()).processes
    if unknown := set(without) - set(programs):
        raise click.UsageError(f"there is no program {', '.join(sorted(unknown))} in the Procfile")
    return {name: line for name, line in programs.items() if name not in without}


def _kept(env: Mapping[str, str], name: str, folder: Path, fresh: str) -> str:
    """A secret of the environment, or one that is kept with the data."""
    if env.get(name):
        return env[name]
    return kept_secret(folder / "run" / name.lower(), fresh)


def _port(host: str, port: int, taken: set[int] | None = None) -> int:
    """A port to listen on, a free one for 0. Raises `ClickException`."""
    if port == 0:
        return free_port(avoid=taken)
    if port in (taken or ()):
        raise click.ClickException(f"port {port} is given twice; choose another")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.ClickException(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another"
            ) from None
    return port

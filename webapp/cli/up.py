"""`threadkeep up`: the whole stack in the foreground."""

import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import requests
from honcho.environ import parse_procfile

import settings
from embedded import accounts
from embedded.env_file import write_env_file
from embedded.files import kept_secret
from embedded.ports import free_port, is_free
from embedded.privileges import RunAs
from embedded.stack import Stack
from storage import schema
from storage.doctor import safety
from storage.errors import Refused
from storage.services import Services
from tasks.celery_app import app as celery
from webapp.auth import Tokens
from webapp.cli.schema import LOST

PROCFILE = Path(settings.__file__).with_name("Procfile")
REALTIME = "realtime"
FIGURES = settings.VARIABLES["metrics_folder"]
LOOPBACK = ("127.0.0.1", "localhost")
CODE = ("webapp", "tasks", "celery", "granian", "gunicorn")
SAMPLE_USER = "alice"
READY_SECONDS = 60.0
READY_POLL_SECONDS = 0.1
WRITTEN = (
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "DATABASE_URL",
    "CLICKHOUSE_URL",
    "API_URL",
    "WS_URL",
    "FLOWER_URL",
    "FLOWER_BASIC_AUTH",
    "THREADKEEP_JWT_SECRET",
)


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
    help="A program of the Procfile to leave out; may be repeated.",
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the addresses here once everything answers.",
)
@click.option("--ephemeral", is_flag=True, help="Keep the data in a folder that goes at the end.")
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
    with _folder(data, ephemeral) as folder, Stack(folder, on_event=_say) as stack:
        is_ours = not os.environ.get("DATABASE_URL")
        env = dict(os.environ) | stack.start_servers(os.environ)
        run_as = accounts.for_programs(folder.absolute(), CODE, _say)
        env |= _addresses(env, folder, host, port, flower_port)
        env |= _own_files(env, folder.absolute() / "programs", run_as)
        if REALTIME in programs:
            env |= _realtime_addresses(env, realtime_port)
        # From here on this process's environment says what the programs' says.
        os.environ.update(env)
        services = Services(settings.load())
        weeks = services.settings.partition_weeks_ahead
        _mind_a_loss(services, is_ours=is_ours)
        schema.migrate(services.job_engine, services.job_clickhouse, weeks)
        _judge(services)
        stack.start_programs(programs, env, run_as)
        files = [path for path in (folder / "run" / "env", env_file) if path is not None]
        ready = threading.Thread(
            target=_announce, args=(stack, services, env, files, started), daemon=True
        )
        ready.start()
        try:
            stack.run()
        finally:
            for file in files:
                file.unlink(missing_ok=True)
            _say("stopping")


def _mind_a_loss(services: Services, *, is_ours: bool) -> None:
    """A PostgreSQL of this stack that is empty has lost its data, and is made anew. One that the
    environment names may be the wrong one."""
    if not services.disaster_recovery.is_lost():
        return
    if not is_ours:
        raise Refused(LOST)
    services.disaster_recovery.open()
    _say("PostgreSQL lost its data: it is made anew from ClickHouse")


def _judge(services: Services) -> None:
    """Refuses here, once, what each program would refuse at each of its restarts."""
    verdict = safety.judge(services)
    if verdict.refusals:
        raise Refused(verdict.reason)
    for finding in verdict.weaker:
        _say(f"weaker: {finding.promise}: no longer promised; {finding.line}")


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
    """What the programs need beside the servers' addresses."""
    port = _port(host, port)
    flower_port = _port("127.0.0.1", flower_port, {port})
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
        "FLOWER_URL": f"http://127.0.0.1:{flower_port}",
        "CELERY_BROKER_URL": env.get("CELERY_BROKER_URL") or env["REDIS_URL"],
        "THREADKEEP_JWT_SECRET": secret,
        "FLOWER_BASIC_AUTH": flower,
    }


def _realtime_addresses(env: Mapping[str, str], port: int | None) -> dict[str, str]:
    """Where the sockets are, and from which pages they may be opened."""
    host, api_port = env["HOST"], int(env["PORT"])
    if port is None:
        following = api_port + 1
        port = following if is_free(following) and env["FLOWER_PORT"] != str(following) else 0
    # Nobody listens on what was chosen for the other programs yet.
    port = _port(host, port, {api_port, int(env["FLOWER_PORT"])})
    pages = [f"http://{name}:{api_port}" for name in LOOPBACK] if host in LOOPBACK else []
    return {
        "REALTIME_PORT": str(port),
        "WS_URL": env["WS_URL"] or f"ws://{host}:{port}/api/ws",
        "THREADKEEP_ORIGINS": env.get("THREADKEEP_ORIGINS") or ",".join(pages),
    }


def _own_files(env: Mapping[str, str], folder: Path, run_as: RunAs) -> dict[str, str]:
    """Where programs keep what they write, which is theirs alone.

    What they count together begins anew at each start, unless somebody else sees to it.
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
    """What is to run, by name."""
    programs: dict[str, str] = parse_procfile(PROCFILE.read_text()).processes
    if unknown := set(without) - set(programs):
        raise click.UsageError(f"there is no program {', '.join(sorted(unknown))} in the Procfile")
    return {name: line for name, line in programs.items() if name not in without}


def _kept(env: Mapping[str, str], name: str, folder: Path, fresh: str) -> str:
    """A secret of the environment, or one that stays the same as long as the data does."""
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


def _announce(
    stack: Stack, services: Services, env: Mapping[str, str], files: list[Path], started: float
) -> None:
    """Waits until everything answers, then says where it is."""
    deadline = time.monotonic() + READY_SECONDS
    names = stack.pids()
    while not _answers(env, names):
        if time.monotonic() > deadline:
            _say("not everything answers yet; see the logs folder")
            return
        time.sleep(READY_POLL_SECONDS)
    values = {name: env.get(name, "") for name in WRITTEN}
    values["THREADKEEP_PIDS"] = ",".join(f"{name}:{pid}" for name, pid in stack.pids().items())
    for file in files:
        write_env_file(file, values)
    _say(f"ready after {time.monotonic() - started:.1f} s")
    lines = [
        f"Console {env['API_URL']}/    {env['API_URL']}/operations",
        f"API     {env['API_URL']}    {env['API_URL']}/docs",
        *([f"Sockets {env['WS_URL']}"] if REALTIME in stack.pids() else []),
        *_keys(services, env, files[0].parent),
    ]
    click.echo("\n" + "".join(f"  {line}\n" for line in lines))
    sys.stdout.flush()


def _keys(services: Services, env: Mapping[str, str], folder: Path) -> list[str]:
    """What lets one in, for whoever sits before a terminal; a file that output goes to is read by
    others, so there it is only said where to get it."""
    if not sys.stdout.isatty():
        kept = folder / "flower_basic_auth"
        place = kept if kept.exists() else "FLOWER_BASIC_AUTH"
        return [
            f"Flower  {env['FLOWER_URL']}    user and password: {place}",
            f"Token   threadkeep token {SAMPLE_USER}",
        ]
    sample = Tokens(services.settings).issue(SAMPLE_USER, is_admin=False, ttl_seconds=86_400)
    return [
        f"Flower  {env['FLOWER_URL']}    {env['FLOWER_BASIC_AUTH']}",
        f"Token   {sample}  (user {SAMPLE_USER}, one day)",
    ]


def _answers(env: Mapping[str, str], names: Container[str]) -> bool:
    """Whether each program of these names that can be asked does what it is there for."""
    asked = {
        "web": f"{env['API_URL']}/readyz",
        REALTIME: f"http://{env['HOST']}:{env.get('REALTIME_PORT')}/readyz",
        "flower": f"{env['FLOWER_URL']}/",
    }
    session = requests.Session()
    session.trust_env = False
    try:
        found = {
            name: session.get(asked[name], timeout=2).status_code for name in asked if name in names
        }
    except requests.RequestException:
        return False
    well = all(status == 200 or (name, status) == ("flower", 401) for name, status in found.items())
    return well and ("worker" not in names or bool(celery.control.ping(timeout=0.5)))


def _say(line: str) -> None:
    click.echo(f"threadkeep: {line}")
    sys.stdout.flush()

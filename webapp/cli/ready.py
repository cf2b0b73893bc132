"""What `threadkeep up` prints once everything answers."""

import sys
import time
from collections.abc import Container, Mapping
from pathlib import Path

import click
import requests

from embedded.env_file import write_env_file
from embedded.stack import Stack
from tasks.celery_app import app as celery
from webapp.http.auth import Tokens
from wiring.process import Services

REALTIME = "realtime"
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


def announce(
    stack: Stack, services: Services, env: Mapping[str, str], files: list[Path], started: float
) -> None:
    """Waits until everything answers, then prints the addresses."""
    deadline = time.monotonic() + READY_SECONDS
    names = stack.pids()
    while not _answers(env, names):
        if time.monotonic() > deadline:
            say("not everything answers yet; see the logs folder")
            return
        time.sleep(READY_POLL_SECONDS)
    values = {name: env.get(name, "") for name in WRITTEN}
    values["THREADKEEP_PIDS"] = ",".join(f"{name}:{pid}" for name, pid in stack.pids().items())
    for file in files:
        write_env_file(file, values)
    say(f"ready after {time.monotonic() - started:.1f} s")
    lines = [
        f"Console {env['API_URL']}/    {env['API_URL']}/operations",
        f"API     {env['API_URL']}    {env['API_URL']}/docs",
        *([f"Sockets {env['WS_URL']}"] if REALTIME in stack.pids() else []),
        *_keys(services, env, files[0].parent),
    ]
    click.echo("\n" + "".join(f"  {line}\n" for line in lines))
    sys.stdout.flush()


def _keys(services: Services, env: Mapping[str, str], folder: Path) -> list[str]:
    """The credentials, on a terminal. Others may read a file that output goes to, so there it only
    says where to get them."""
    if not sys.stdout.isatty():
        kept = folder / "flower_basic_auth"
        place = kept if kept.exists() else "FLOWER_BASIC_AUTH"
        return [
            f"Flower  {env['FLOWER_URL']}    user and password: {place}",
            f"Token   threadkeep --env-file {folder / 'env'} token {SAMPLE_USER}",
        ]
    sample = Tokens(services.settings).issue(SAMPLE_USER, is_admin=False, ttl_seconds=86_400)
    return [
        f"Flower  {env['FLOWER_URL']}    {env['FLOWER_BASIC_AUTH']}",
        f"Token   {sample}  (user {SAMPLE_USER}, one day)",
    ]


def health(env: Mapping[str, str]) -> dict[str, str]:
    """The probes of the programs: do they still answer while they run?"""
    return {
        "web": f"{env['API_URL']}/healthz",
        REALTIME: f"http://{env['HOST']}:{env.get('REALTIME_PORT')}/healthz",
        "flower": f"{env['FLOWER_URL']}/",
    }


def _answers(env: Mapping[str, str], names: Container[str]) -> bool:
    """Whether each of these programs that has a probe passes it."""
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


def say(line: str) -> None:
    """Prints a line at once."""
    click.echo(f"threadkeep: {line}")
    sys.stdout.flush()

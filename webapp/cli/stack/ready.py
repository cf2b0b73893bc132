"""What `threadkeep up` prints once everything answers."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from embedded.env_file import write_env_file
from embedded.stack import Stack
from webapp.cli.stack.preparation import (
    FLOWER_PROBE,
    REALTIME,
    SAMPLE_ADMIN,
    SAMPLE_USER,
    Preparation,
    say,
)

WRITTEN = (
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "DATABASE_URL",
    "DATABASE_MIGRATE_URL",
    "CLICKHOUSE_URL",
    "API_URL",
    "WS_URL",
    "FLOWER_URL",
    "FLOWER_BASIC_AUTH",
    "THREADKEEP_JWT_SECRET",
)


def announce(
    stack: Stack,
    preparation: Preparation,
    env: Mapping[str, str],
    files: list[Path],
    started: float,
) -> None:
    """Waits until everything answers, then prints the addresses."""
    tokens = preparation.tokens()
    if tokens is None:
        if not preparation.is_over:
            say("not everything answers yet; see the logs folder")
        return
    values = {name: env.get(name, "") for name in WRITTEN}
    values["THREADKEEP_PIDS"] = ",".join(f"{name}:{pid}" for name, pid in stack.pids().items())
    for file in files:
        write_env_file(file, values)
    say(f"ready after {time.monotonic() - started:.1f} s")
    lines = [
        f"Console {env['API_URL']}/    {env['API_URL']}/operations",
        f"API     {env['API_URL']}    {env['API_URL']}/docs",
        *([f"Sockets {env['WS_URL']}"] if REALTIME in stack.pids() else []),
        *_keys(tokens, env, files[0].parent),
    ]
    click.echo("\n" + "".join(f"  {line}\n" for line in lines))
    sys.stdout.flush()


def _keys(tokens: list[str], env: Mapping[str, str], folder: Path) -> list[str]:
    """The credentials, on a terminal. Others may read a file that output goes to, so there it only
    says where to get them."""
    if not sys.stdout.isatty():
        kept = folder / "flower_basic_auth"
        place = kept if kept.exists() else "FLOWER_BASIC_AUTH"
        return [
            f"Flower  {env['FLOWER_URL']}    user and password: {place}",
            f"Token   threadkeep --env-file {folder / 'env'} token {SAMPLE_USER}",
            f"Admin   threadkeep --env-file {folder / 'env'} token {SAMPLE_ADMIN} --admin",
        ]
    own, admin = tokens
    return [
        f"Flower  {env['FLOWER_URL']}    {env['FLOWER_BASIC_AUTH']}",
        f"Token   {own}  (user {SAMPLE_USER}, one day)",
        f"Admin   {admin}  (admin {SAMPLE_ADMIN}, one day: for /operations and /api/admin)",
    ]


def health(env: Mapping[str, str]) -> dict[str, str]:
    """The probes of the programs: do they still answer while they run?"""
    return {
        "web": f"{env['API_URL']}/healthz",
        REALTIME: f"http://{env['HOST']}:{env.get('REALTIME_PORT')}/healthz",
        "flower": f"{env['FLOWER_URL']}{FLOWER_PROBE}",
    }

"""`python -m webapp.cli.stack.prepare`: the part of `threadkeep up` that needs the application.

The supervisor starts it first, so that its imports overlap with the start of the servers, and then
says on its input, as one line of JSON, where they are. It migrates, makes the safety checks, writes
`prepared`, waits until all programs answer, and ends with `ready`, a token for the sample user and
one for an admin.
Other lines of its output are for the terminal.
"""

import os
import sys
import time
from collections.abc import Collection, Mapping

import msgspec
import requests

import settings
from jobs.migrate import migrate_all
from storage.availability.checks import safety
from storage.errors import Refused
from tasks.celery_app import app as celery
from tasks.logs import configure
from webapp.cli import end_with
from webapp.cli.migrate import LOST
from webapp.cli.stack.preparation import (
    FLOWER_PROBE,
    PREPARED,
    READY,
    REALTIME,
    SAMPLE_ADMIN,
    SAMPLE_USER,
    Order,
    say,
)
from webapp.http.auth import Tokens
from wiring.process import Services

READY_SECONDS = 60.0
READY_POLL_SECONDS = 0.1
TOKEN_SECONDS = 86_400


def prepare() -> int:
    """Does the order on the input; gives the status to exit with."""
    line = sys.stdin.readline()
    if not line:
        return 1
    order = msgspec.json.decode(line, type=Order)
    os.environ.update(order.env)
    services = Services(settings.load())
    _mind_a_loss(services, is_ours=order.is_ours)
    weeks = services.settings.partition_weeks_ahead
    migrate_all(services.tiers.migrate_engine, services.tiers.job_clickhouse, weeks)
    _judge(services)
    print(PREPARED, flush=True)  # noqa: T201
    if not _wait(os.environ, order.programs):
        return 1
    tokens = Tokens(services.settings)
    own = tokens.issue(SAMPLE_USER, is_admin=False, ttl_seconds=TOKEN_SECONDS)
    admin = tokens.issue(SAMPLE_ADMIN, is_admin=True, ttl_seconds=TOKEN_SECONDS)
    print(READY, own, admin, flush=True)  # noqa: T201
    return 0


def _mind_a_loss(services: Services, *, is_ours: bool) -> None:
    """Rebuilds an empty PostgreSQL of this stack, which has lost its data. One that the environment
    names may be the wrong server."""
    if not services.jobs.disaster_recovery.is_lost():
        return
    if not is_ours:
        raise Refused(LOST)
    services.jobs.disaster_recovery.open()
    say("PostgreSQL lost its data: it is rebuilt from ClickHouse")


def _judge(services: Services) -> None:
    """Makes the safety checks once here; else each program would refuse at each of its restarts."""
    verdict = safety.judge_apart(services.settings)
    if verdict.refusals:
        raise Refused(verdict.reason)
    for finding in verdict.weaker:
        say(f"weaker: {finding.promise}: no longer promised; {finding.line}")


def _wait(env: Mapping[str, str], programs: Collection[str]) -> bool:
    """Whether everything answered in time, and the supervisor is still there."""
    deadline, supervisor = time.monotonic() + READY_SECONDS, os.getppid()
    while not _answers(env, programs):
        if time.monotonic() > deadline or os.getppid() != supervisor:
            return False
        time.sleep(READY_POLL_SECONDS)
    return True


def _answers(env: Mapping[str, str], names: Collection[str]) -> bool:
    """Whether each of these programs that has a probe passes it."""
    asked = {
        "web": f"{env['API_URL']}/readyz",
        REALTIME: f"http://{env['HOST']}:{env.get('REALTIME_PORT')}/readyz",
        "flower": f"{env['FLOWER_URL']}{FLOWER_PROBE}",
    }
    session = requests.Session()
    session.trust_env = False
    try:
        found = {
            name: session.get(asked[name], timeout=2).status_code for name in asked if name in names
        }
    except requests.RequestException:
        return False
    well = all(status == 200 for status in found.values())
    return well and ("worker" not in names or bool(celery.control.ping(timeout=0.5, limit=1)))


if __name__ == "__main__":
    configure()
    if "--debug" in sys.argv:
        sys.exit(prepare())
    end_with(prepare)

"""PostgreSQL loses its disk under load, and is rebuilt from ClickHouse and what Redis has."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from selftest.bed.stack import Testbed
from selftest.load.traffic import Load
from support.calls.api import Api, ok
from support.faults.trial import trial
from support.waiting import eventually
from webapp.http.auth import Tokens

pytestmark = pytest.mark.extensive

Beds = Callable[..., AbstractContextManager[Testbed]]
RECOVERY_SECONDS = 60


def lose_its_disk(bed: Testbed) -> None:
    """Kills PostgreSQL and deletes all it had; its supervisor starts an empty one."""
    with bed.unattended("postgres"):
        before = bed.kill("postgres")
        shutil.rmtree(bed.folder_of("postgres") / "cluster")
    eventually(lambda: bed.pids().get("postgres") not in {None, before}, RECOVERY_SECONDS)
    eventually(lambda: is_empty(bed), RECOVERY_SECONDS)


def is_empty(bed: Testbed) -> bool:
    url = make_url(bed.direct_env["DATABASE_URL"]).set(drivername="postgresql")
    try:
        link = psycopg2.connect(url.render_as_string(hide_password=False))
    except psycopg2.OperationalError:
        return False
    with closing(link), link.cursor() as cursor:
        cursor.execute("SELECT to_regclass('messages') IS NULL")
        row = cursor.fetchone()
    return bool(row and row[0])


def recover(bed: Testbed) -> dict[str, object]:
    token = Tokens(bed.settings).issue("operator", is_admin=True, ttl_seconds=600)
    admin = Api(bed.url, token)
    body = {"recovery_tier": "clickhouse", "target_rto_seconds": RECOVERY_SECONDS}
    asked = ok(admin.post("/api/admin/initiate-disaster-recovery", json=body), 202)
    # As `threadkeep recover` does, and `threadkeep up` with servers of its own: a worker owns no
    # table, and so makes none.
    assert bed.services.jobs.disaster_recovery.take_first_step()

    def over() -> dict[str, object] | None:
        status = ok(admin.get("/api/admin/disaster-recovery-status"))
        return status if status["state"] in {"complete", "failed"} else None

    status = eventually(over, RECOVERY_SECONDS)
    assert status["id"] == asked["id"]
    return status


def test_f47_postgresql_loses_its_disk(own_bed: Beds, tmp_path: Path) -> None:
    # What PostgreSQL lost on purpose of other rows is not to be had back, so the stack is its own.
    with (
        own_bed() as bed,
        trial(bed, tmp_path, Load(writers=12, readers=4, users=6)) as running,
    ):
        began = running.now()
        lose_its_disk(bed)
        running.calm(1)
        # An empty PostgreSQL is as good as none: nobody takes it for one that has forgotten.
        assert running.posts_since(began).unavailable == 0
        status = recover(bed)
        assert status["recovery_complete"], status
        assert status["within_target"], status
        running.wait_until_redis_is_believed()

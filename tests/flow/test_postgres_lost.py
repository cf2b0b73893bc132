"""A PostgreSQL of `threadkeep up` that lost its data is made anew by its owner, no worker."""

import shutil
import signal
from pathlib import Path

from support.calls.api import Api, ok
from support.calls.commands import threadkeep
from support.data.moving import wait_until
from support.stack.processes import PATIENT, launched
from support.waiting import eventually

RECOVERY_SECONDS = 60


def test_a_recovery_that_is_asked_for_begins_by_itself(tmp_path: Path) -> None:
    with launched(tmp_path, "flower", "realtime", "beat", **PATIENT) as stack:

        def speaking_for(*who: str) -> Api:
            done = threadkeep(tmp_path, stack.env, "token", *who)
            return Api(stack.url, done.stdout.decode().strip())

        api, admin = speaking_for("ann"), speaking_for("operator", "--admin")
        sent = api.send("t", "unforgettable")
        wait_until(api, "archived", [sent])
        before = stack.pids_now()["postgres"]
        shutil.rmtree(stack.data / "postgres" / "cluster")
        stack.signal("postgres", signal.SIGKILL)
        eventually(lambda: stack.pids_now().get("postgres") not in {None, before}, 30)
        eventually(lambda: admin.post("/api/admin/initiate-disaster-recovery"), 30)

        def over() -> bool:
            status = ok(admin.get("/api/admin/disaster-recovery-status"))
            assert status["state"] != "failed", status
            return bool(status["recovery_complete"])

        eventually(over, RECOVERY_SECONDS)
        assert [one["content"] for one in api.page("t")["messages"]] == ["unforgettable"]
        done = threadkeep(tmp_path, stack.env, "audit", "--verify")
        assert done.returncode == 0, done.stdout

"""`python -m tasks.programs.probe PROGRAM`: whether the program beside it moves on.

Run with the environment of that program and on its machine, or in its container. Exit status 0 if
it does, 1 with one line if not. It asks no server, so an outage restarts nothing.
"""

import os
import sys
import time
from collections.abc import Iterable
from glob import glob
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import gettempdir

from prometheus_client.mmap_dict import MmapedDict

ANSWER_SECONDS = 5.0
STALLED_SECONDS = 60.0
"""A worker polls each second; one statement of a poll takes 20 s at most."""
TICK_SECONDS = 300.0
"""Beat writes its file every three minutes while it ticks."""
COUNTERS = ("threadkeep_looks_total", "threadkeep_persisted_total", "threadkeep_replicated_total")
ADDRESSES = {
    "web": ("HOST", "PORT", 8000, "/healthz"),
    "realtime": ("HOST", "REALTIME_PORT", 8001, "/healthz"),
    "flower": ("FLOWER_HOST", "FLOWER_PORT", 5555, "/healthcheck"),
}
EVERY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104  # These are compared with, and not bound.


def answers(host_name: str, port_name: str, port: int, path: str) -> str:
    """What is wrong with a program that listens; empty if it answers with 200."""
    host = os.environ.get(host_name, "")
    number = int(os.environ.get(port_name) or port)
    link = HTTPConnection("127.0.0.1" if host in EVERY_ADDRESS else host, number, ANSWER_SECONDS)
    try:
        link.request("GET", path)
        status = link.getresponse().status
    except (OSError, HTTPException) as error:
        return f"no answer: {error!r}"
    finally:
        link.close()
    return "" if status == 200 else f"{path} answers {status}"


def worker_moves(folder: Path, memory: Path) -> str:
    """What is wrong with the worker that counts in `folder`; empty if it counted anything since the
    last call, or within a minute. `memory` keeps what was counted then."""
    counted = _counted(folder.glob("counter_*.db"))
    if not counted:
        return f"no poll has been counted in {folder}"
    known = memory.read_text(encoding="ascii") if memory.exists() else ""
    if known != f"{counted}":
        memory.write_text(f"{counted}", encoding="ascii")
        return ""
    age = time.time() - memory.stat().st_mtime
    return "" if age < STALLED_SECONDS else f"nothing was polled for {age:.0f} s"


def beat_ticks(schedule: str) -> str:
    """What is wrong with the beat that keeps its last runs in `schedule`, whose name the library
    behind it may lengthen; empty if it wrote them lately."""
    written = [Path(name).stat().st_mtime for name in glob(f"{schedule}*")]
    if not written:
        return f"{schedule} is not there"
    age = time.time() - max(written)
    return "" if age < TICK_SECONDS else f"{schedule} was not written for {age:.0f} s"


def _counted(files: Iterable[Path]) -> float:
    """The sum of what a worker's polls counted."""
    return sum(
        value
        for file in files
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
        if any(f'"{name}"' in key for name in COUNTERS)
    )


def wrong_with(program: str) -> str:
    """What is wrong with a program; empty if it moves on. Raises `KeyError` for an unknown one."""
    if program == "beat":
        return beat_ticks(os.environ.get("BEAT_STATE") or "celerybeat-schedule")
    if program != "worker":
        return answers(*ADDRESSES[program])
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    if not folder or os.environ.get("THREADKEEP_METRICS", "1") in {"0", "false"}:
        # Without figures there is nothing to judge by, and a restart would help nobody.
        return ""
    return worker_moves(Path(folder), Path(gettempdir()) / "threadkeep-worker-probe")


def main() -> None:
    """Judges the program that the command line names."""
    program = " ".join(sys.argv[1:])
    if program not in {*ADDRESSES, "worker", "beat"}:
        sys.exit("usage: python -m tasks.programs.probe web|realtime|worker|beat|flower")
    if wrong := wrong_with(program):
        sys.exit(f"{program}: {wrong}")


if __name__ == "__main__":
    main()

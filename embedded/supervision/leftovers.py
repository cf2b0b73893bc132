"""The record of running processes, and the end of those a killed supervisor left behind."""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embedded.files import write_atomically
from embedded.supervision import procfs
from embedded.supervision.process import Child

STACK_VARIABLE = "EMBEDDED_STACK"
GRACE_SECONDS = 4.0


@dataclass(frozen=True)
class Record:
    """One line of the record; `started` as in `procfs.Entry`."""

    name: str
    pid: int
    pgid: int
    started: int
    stop_signal: int


class PidFile:
    """`<data>/run/pids.json`: every process of the stack, rewritten at each change."""

    def __init__(self, path: Path, stack: str) -> None:
        """`stack` is the mark that every child carries in its environment."""
        self._path = path
        self._stack = stack

    def write(self, children: Iterable[Child]) -> None:
        """Record the children that run now."""
        records = [
            {
                "name": child.spec.name,
                "pid": child.pid,
                "pgid": child.pid,
                "started": child.start_ticks,
                "stop_signal": int(child.spec.stop_signal),
            }
            for child in children
        ]
        text = json.dumps({"boot": procfs.boot_id(), "processes": records}, indent=1)
        write_atomically(self._path, text)

    def living(self) -> list[Record]:
        """Return what is recorded and still runs."""
        return list(filter(_lives, self._read()))

    def end_leftovers(self) -> list[str]:
        """End the processes of the record and those with the mark; return the names and `orphans`.

        The recorded programs are asked first and end in their own order, their workers with them.
        Takes little more than `GRACE_SECONDS`; the calling process is never ended.
        """
        leaders = [record for record in self.living() if record.pid != os.getpid()]
        names = [record.name for record in leaders]
        sessions = {record.pid for record in leaders}
        if any(found.session not in sessions for found in self._marked()):
            names.append("orphans")
        for record in leaders:
            procfs.send([record.pid], record.stop_signal)
        end = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < end and any(map(_lives, leaders)):
            time.sleep(procfs.POLL_SECONDS)
        left = {found.pid for found in self._marked()}
        for record in filter(_lives, leaders):
            left.update(procfs.session_members(record.pid))
        procfs.kill_and_wait(left)
        return names

    def _marked(self) -> list[procfs.ProcessEntry]:
        """Return the processes that carry the mark of this stack, which every child inherits."""
        return [
            found
            for found in procfs.entries()
            if found.pid != os.getpid()
            and procfs.has_variable(found.pid, STACK_VARIABLE, self._stack)
        ]

    def _read(self) -> list[Record]:
        try:
            saved = json.loads(self._path.read_text())
            if saved["boot"] != procfs.boot_id():
                return []
            return [Record(**fields) for fields in saved["processes"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []


def _lives(record: Record) -> bool:
    found = procfs.entry(record.pid)
    return found is not None and found.alive and found.started == record.started

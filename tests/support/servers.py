"""Servers without a worker: what a test puts into the log stays there until the test drains it.

Run as a program it is the supervisor of such servers: it prints their addresses and serves.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.stack import Stack
from support.environment import COMPLETE
from support.processes import STOP_SECONDS, clean_environment

TESTS = Path(__file__).resolve().parents[1]


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Starts the servers; gives an environment that names them."""
    env = clean_environment()
    # The program below imports `support` too, which pytest alone would find.
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS), env.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True, env=env
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield json.loads(line) | {"THREADKEEP_JWT_SECRET": COMPLETE["THREADKEEP_JWT_SECRET"]}
        finally:
            process.terminate()
            process.wait(timeout=STOP_SECONDS * 3)


def _serve(folder: Path) -> None:
    with Stack(folder, max_memory="128mb") as stack:
        print(json.dumps(stack.start_servers({})), flush=True)
        stack.run()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))

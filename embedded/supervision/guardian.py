"""The process that ends a stack whose supervisor was killed.

It is started as ``python -m embedded.supervision.guardian``.

The kernel takes the direct children along with the supervisor, but not their workers: those of
a web server, for one, would go on to serve its port. This process holds the other end of a pipe
to the supervisor and acts when that closes, which nothing but the end of the supervisor does.
"""

import os
import sys
from pathlib import Path

from embedded.environment import environment
from embedded.supervision.leftovers import PidFile
from embedded.supervision.process import Spec

NAME = "guardian"
_CODE_ROOT = Path(__file__).resolve().parent.parent


def spec(pid_file: Path, stack: str, pipe: int) -> Spec:
    """Describe the guardian of the stack marked `stack`, with the reading end of its pipe."""
    return Spec(
        name=NAME,
        command=(sys.executable, "-m", "embedded.supervision.guardian", str(pid_file), stack),
        # It outlives the others, and needs none of their secrets.
        env=environment(),
        cwd=_CODE_ROOT,
        stdin=pipe,
        death_signal=None,
    )


def main() -> None:
    """Wait for the end of the supervisor, then end everything it ran."""
    pid_file, stack = sys.argv[1:]
    while os.read(sys.stdin.fileno(), 1):
        pass
    PidFile(Path(pid_file), stack).end_leftovers()


if __name__ == "__main__":
    main()

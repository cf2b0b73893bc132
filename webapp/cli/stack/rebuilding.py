"""The supervisor's side of `webapp.cli.stack.rebuild`."""

import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class Rebuilding:
    """The process, if one was begun; a context manager that leaves none behind."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def begin(self, env: Mapping[str, str]) -> None:
        """Starts one, in the place of one that may still run."""
        self._end()
        self._process = subprocess.Popen(
            # Without the current folder on its path, as the caller.
            [sys.executable, "-P", "-m", "webapp.cli.stack.rebuild"],
            env=dict(env),
            # Ctrl-C is the supervisor's alone.
            start_new_session=True,
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

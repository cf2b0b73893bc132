"""The command line as a process of its own, without the second that its imports take.

One process has imported the program; each command runs in a fork of it, with an environment,
folder, standard streams and exit status of its own, as if it had been started by a shell.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

from selftest.bed.launching import clean_environment
from webapp.cli import COMMANDS, main

SECONDS = 90
_STREAMS = ("stdin", "stdout", "stderr")


def threadkeep(
    folder: Path, env: Mapping[str, str], *arguments: str, stdin: bytes = b""
) -> CompletedProcess[bytes]:
    """Runs a command in `folder` to its end, with nothing of this process's own settings."""
    with TemporaryDirectory() as name:
        streams = [Path(name, stream) for stream in _STREAMS]
        streams[0].write_bytes(stdin)
        process = _program().Process(
            target=_run, args=(streams, folder, clean_environment() | dict(env), arguments)
        )
        process.start()
        try:
            process.join(SECONDS)
            assert process.exitcode is not None, f"{arguments} did not end within {SECONDS} s"
        finally:
            process.kill()
            process.join()
        out, error = (stream.read_bytes() for stream in streams[1:])
        return CompletedProcess(arguments, process.exitcode, out, error)


@cache
def _program() -> ForkServerContext:
    """The process that all others are forked from; it ends with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted({one.module for one in COMMANDS.values()}))
    return context


def _run(
    streams: list[Path], folder: Path, env: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """What the fork does."""
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDWR | os.O_CREAT), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["threadkeep", *arguments]
    main()

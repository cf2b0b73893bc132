"""The account of each part of a stack, with a warning if it has more rights than it needs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from embedded.errors import StackError
from embedded.supervision.privileges import ACCOUNTS, CALLER, SHARED_ACCOUNT, RunAs, account

Warn = Callable[[str], object]

_FINDS_CODE = """
import sys
from importlib.util import find_spec
sys.exit(not all(map(find_spec, sys.argv[1:])))
"""


def for_servers(data: Path, warn: Warn) -> RunAs:
    """Return the account of the servers. It may then search the data folder, and no more.

    Raises:
        StackError: The caller is root, and there is no way to become somebody else.
    """
    run_as = account()
    _let_search(run_as, data)
    if run_as.name == SHARED_ACCOUNT:
        warn(
            f"servers run as {SHARED_ACCOUNT}, whom other services may use too; "
            f"`useradd --system {ACCOUNTS[0]}` gives them an account of their own"
        )
    return run_as


def for_programs(data: Path, packages: tuple[str, ...], warn: Warn) -> RunAs:
    """Return the account of the programs: the same, if it can read these packages and its data."""
    try:
        run_as = account()
    except StackError as error:
        warn(f"every program runs as root: {error}")
        return CALLER
    if not run_as.may_run(sys.executable, "-c", _FINDS_CODE, *packages):
        warn(
            f"every program runs as root, for {run_as.name} cannot reach {sys.executable} or its "
            "packages: a folder above them is closed to others"
        )
        return CALLER
    _let_search(run_as, data)
    return reaching(run_as, data, "every program", warn)


def reaching(run_as: RunAs, data: Path, name: str, warn: Warn) -> RunAs:
    """Return the account for a part that needs the data folder by its whole path."""
    if run_as.reaches(data):
        return run_as
    warn(
        f"{name} runs as root, for {run_as.name} cannot reach {data}: a folder above it is closed "
        "to others"
    )
    return CALLER


def _let_search(run_as: RunAs, data: Path) -> None:
    if run_as.name:
        os.chown(data, -1, run_as.gid)
        data.chmod(0o710)

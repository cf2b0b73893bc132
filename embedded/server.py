"""What the stack needs to know of a server, and where the wheels are."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embedded.errors import StackError
from embedded.supervision.process import Spec

HERE = "/proc/self/cwd"
"""A server's name for its own folder, in which it is started. So it needs no right to search the
folders above, and the path is never too long."""


@dataclass(frozen=True)
class Server:
    """A server ready to be started.

    `variable` is the environment variable that names it to the programs, `url` its value; `others`
    are URLs for those of them that log in as somebody else.
    `is_ready` is asked repeatedly while it starts, answers within two seconds, and may finish
    the set-up (create a database) before it first says True.
    """

    spec: Spec
    variable: str
    url: str = field(repr=False)
    is_ready: Callable[[], bool] = field(repr=False)
    others: Mapping[str, str] = field(default_factory=dict, repr=False)


def package_folder(package: str) -> Path:
    """Return where a wheel is installed, without importing it.

    Importing these wheels registers exit handlers and clean-ups of their own; here the stack
    decides when a server stops.

    Raises:
        StackError: The wheel is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise StackError(
            f"the package {package} is missing: install threadkeep with its [embedded] extra, "
            "or name a server of your own in the environment"
        )
    return Path(found.submodule_search_locations[0])

"""Files of `KEY=value` lines with which a running stack publishes its addresses."""

from collections.abc import Mapping
from pathlib import Path

from embedded.errors import StackError
from embedded.files import write_atomically


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a file; empty lines and lines that begin with `#` are passed over. Raises
    `OSError`, and `StackError` for a file that is no text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise StackError(f"{path} is no file of KEY=value lines") from None
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value for name, _, value in pairs}


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Writes the variables, readable by the owner alone, all at once."""
    lines = [f"{name}={value}" for name, value in values.items()]
    write_atomically(path, "\n".join(lines) + "\n", mode=0o600)

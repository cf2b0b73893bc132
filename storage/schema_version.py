"""Whether a database is older or newer than this code."""

from typing import NamedTuple

from storage.errors import Refused

MIGRATE = "run `threadkeep migrate`"


NEWER = "a newer version of Threadkeep was here: run that one, or restore what was before it"


class SchemaVersion(NamedTuple):
    """How a database's schema stands to this code: steps not taken, steps it does not know."""

    missing: list[str]
    unknown: list[str]
    is_new: bool = False
    """Whether nothing of ours was ever there."""

    @property
    def is_ours(self) -> bool:
        """Whether it is exactly what this code was written for."""
        return not self.missing and not self.unknown

    @property
    def found(self) -> str:
        """What stands there, for a person."""
        if self.unknown:
            return f"newer than this code: {', '.join(self.unknown)}"
        return f"missing: {', '.join(self.missing)}" if self.missing else "up to date"

    @property
    def advice(self) -> str:
        """What to do where it is not ours."""
        return NEWER if self.unknown else MIGRATE


def refuse_newer(tier: str, version: SchemaVersion) -> None:
    """Raises `Refused` where a database is newer than this code."""
    if version.unknown:
        raise Refused(f"{tier}: schema: {version.found} - {version.advice}")

"""Whose messages are to go, and up to where."""

from typing import NamedTuple

from models import ids


class Target(NamedTuple):
    """Everything of a user with an id at or below a watermark, which ends a millisecond."""

    user_id: str
    through: str

    @property
    def moment(self) -> str:
        """The watermark's time, RFC 3339: threads that were created by then are to go."""
        return ids.timestamp(ids.time_us_of(self.through))

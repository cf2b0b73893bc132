"""Event ids as clients see them and give them back.

`<ms>-<n>` is an event's own place in its user's stream. A frame that is no event of the stream has
the place up to which everything was told, and something behind it that makes it unique: `.n` goes
on from that place, `~n` was told beside the stream, from which nobody can go on.
"""

import re

_OWN = re.compile(r"([0-9]{1,19}-[0-9]{1,19})(?:\.[0-9]{1,19})?")

NOWHERE = ""
"""The place of those who came while the stream could not be asked."""

Position = tuple[int, int]


def place_in(event_id: str) -> str:
    """The place to go on from, `NOWHERE` where there is none."""
    found = _OWN.fullmatch(event_id)
    return found.group(1) if found else NOWHERE


def position(place: str) -> Position:
    """A place as something to compare; `NOWHERE` comes before all others."""
    if not place:
        return (0, 0)
    milliseconds, _, sequence = place.partition("-")
    return int(milliseconds), int(sequence)

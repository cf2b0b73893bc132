"""Which users were erased by this installation: only theirs may be missing."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from jobs.erase import chain_stump
from jobs.erase.receipt import UserErasure
from jobs.verify.thread_check import Flaw
from storage.postgres.driver import execute

_ALL = "SELECT user_id, receipt::text AS receipt FROM user_erasures"
_receipt = msgspec.json.Decoder(UserErasure)


class Erasures(NamedTuple):
    """Up to which id users were erased, and the erasures that this installation did not sign."""

    through: dict[str, str]
    flaws: list[Flaw]


def load(connection: Connection, since: str | None, secrets: Sequence[str]) -> Erasures:
    """All of them. One that was requested before the first link (`since`, RFC 3339) had no chains
    to sign for."""
    found = Erasures({}, [])
    for row in execute(connection, _ALL):
        erasure = _receipt.decode(row.receipt)
        stump = erasure.chains
        if stump is None:
            is_sound = since is None or erasure.requested_at < since
        else:
            through = erasure.erased_through
            is_sound = chain_stump.is_signed(stump, erasure.user_id, through, secrets)
        if is_sound:
            found.through[row.user_id] = erasure.erased_through
        else:
            found.flaws.append(_unsigned(row.user_id))
    return found


def _unsigned(user_id: str) -> Flaw:
    return Flaw(
        kind="erasure_unsigned",
        user_id=user_id,
        thread_id="",
        detail="this installation did not sign that the user's chains were erased",
    )

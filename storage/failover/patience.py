"""A second, longer try where PostgreSQL was only too slow.

What goes to ClickHouse because one process was kept from its answer has everybody ask there.
"""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, text

from storage.errors import TierUnavailable
from storage.postgres_driver import translated

Done = TypeVar("Done")


def patiently(quick: Engine, patient: Engine, act: Callable[[Engine], Done]) -> Done:
    """What is done with the quick deadlines, or, where the server answers at all, with longer ones.

    The first try may have happened. Raises what the last one raises.
    """
    try:
        return act(quick)
    except TierUnavailable:
        if not _answers(quick):
            raise
    return act(patient)


def _answers(engine: Engine) -> bool:
    try:
        with translated(), engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except TierUnavailable:
        return False
    return True

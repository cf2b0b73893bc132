"""A second, longer try where PostgreSQL was only too slow: what goes to ClickHouse because one
process was kept from its answer has everybody ask there."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, text

from storage.errors import TierUnavailable
from storage.postgres.driver import translated

Done = TypeVar("Done")


def retry_with_longer_deadline(
    quick: Engine, patient: Engine, act: Callable[[Engine], Done]
) -> Done:
    """What is done with the quick deadlines, or, where the server itself ended that and answers
    others, with longer ones; silence is not waited for twice. Raises what the last try raises."""
    try:
        return act(quick)
    except TierUnavailable as error:
        if not (error.passing and _answers(quick)):
            raise
    return act(patient)


def _answers(engine: Engine) -> bool:
    try:
        with translated(), engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except TierUnavailable:
        return False
    return True

"""`python -m webapp.cli.stack.rebuild`: what `threadkeep up` runs when its PostgreSQL has started
again. If that lost its data, only the owner of the tables can make them anew: this waits for the
recovery that an admin asks for, takes its first step, and leaves the rest to the workers."""

import os
import time
from contextlib import suppress

import settings
from storage.errors import TierError
from tasks.logs import configure
from webapp.cli import end_with
from wiring.process import Services

POLL_SECONDS = 0.5


def rebuild() -> int:
    """Returns once PostgreSQL has its tables, or the supervisor has ended."""
    supervisor, recovery = os.getppid(), Services(settings.load()).jobs.disaster_recovery
    while os.getppid() == supervisor:
        # PostgreSQL may be starting, or ClickHouse be away too.
        with suppress(TierError):
            if not recovery.is_lost() or recovery.take_first_step():
                return 0
        time.sleep(POLL_SECONDS)
    return 1


if __name__ == "__main__":
    configure()
    end_with(rebuild)

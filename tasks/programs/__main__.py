"""`python -m tasks.programs worker …` and `… beat …`: Celery's own commands, with its options.

The program `celery` would keep Flower and an interactive shell in the memory of both.
"""

import sys
from typing import Any, cast

from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

from tasks.celery_app import app

COMMANDS = {"worker": worker, "beat": beat}


def main() -> None:
    """Runs one of them until it is told to stop."""
    name, *options = sys.argv[1:] or [""]
    if name not in COMMANDS:
        sys.exit(f"usage: python -m tasks.programs {'|'.join(COMMANDS)} [OPTIONS]")
    # The type hints know no application with tasks of its own class.
    context = CLIContext(cast(Any, app), no_color=True, workdir=None)
    COMMANDS[name].main(options, prog_name=name, obj=context)


if __name__ == "__main__":
    main()

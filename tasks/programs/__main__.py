"""`python -m tasks.programs worker …`, `… beat …` and `… flower …`: Celery's own commands, with its
options.

The program `celery` would keep Flower and an interactive shell in the memory of all.
"""

import importlib
import sys
from typing import Any, cast

import click
from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

from tasks.celery_app import app

COMMANDS = {"worker": worker, "beat": beat}
FLOWER = "flower"


def main() -> None:
    """Runs one of them until it is told to stop."""
    name, *options = sys.argv[1:] or [""]
    if name not in {*COMMANDS, FLOWER}:
        sys.exit(f"usage: python -m tasks.programs {'|'.join(COMMANDS)}|{FLOWER} [OPTIONS]")
    # Flower would stay in the memory of a worker.
    found = importlib.import_module("tasks.programs.flower") if name == FLOWER else None
    command = found.command() if found else COMMANDS[name]
    # The type hints know no application with tasks of its own class.
    context = CLIContext(cast(Any, app), no_color=True, workdir=None)
    # Flower asks the program `celery` above it which options are none of its own.
    above = click.Context(click.Command("celery"))
    command.main(options, prog_name=name, obj=context, parent=above)


if __name__ == "__main__":
    main()

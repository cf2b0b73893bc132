"""`python -m tasks.programs worker …`, `… beat …` and `… flower …`: Celery's own commands, with its
options.

The program `celery` would keep Flower and an interactive shell in the memory of all.
"""

import importlib
import os
import sys
from typing import Any, cast

import click
from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

import settings
from tasks.celery_app import app

COMMANDS = {"worker": worker, "beat": beat}
FLOWER = "flower"


def main() -> None:
    """Runs one of them until it is told to stop."""
    name, *options = sys.argv[1:] or [""]
    if name not in {*COMMANDS, FLOWER}:
        sys.exit(f"usage: python -m tasks.programs {'|'.join(COMMANDS)}|{FLOWER} [OPTIONS]")
    command = _flower() if name == FLOWER else COMMANDS[name]
    # The type hints know no application with tasks of its own class.
    context = CLIContext(cast(Any, app), no_color=True, workdir=None)
    # Flower asks the program `celery` above it which options are none of its own.
    above = click.Context(click.Command("celery"))
    command.main(options, prog_name=name, obj=context, parent=above)


def _flower() -> Any:
    """Flower's command. Whoever reaches Flower may revoke tasks and stop workers, so it does not
    start without a password."""
    try:
        given = settings.with_files(os.environ).get("FLOWER_BASIC_AUTH", "")
    except settings.SettingsError as error:
        sys.exit(f"threadkeep: {error}")
    user, _, password = given.partition(":")
    if not user or not password:
        sys.exit(
            "threadkeep: refused: FLOWER_BASIC_AUTH is not set: anybody could stop workers through"
            " Flower; set it to user:password"
        )
    # Flower reads the variable itself, and knows nothing of files.
    os.environ["FLOWER_BASIC_AUTH"] = given
    os.environ.pop("FLOWER_BASIC_AUTH_FILE", None)
    # Only here: it would stay in the memory of a worker.
    return importlib.import_module("flower.command").flower


if __name__ == "__main__":
    main()

"""`threadkeep down`."""

import os
import signal
import time
from pathlib import Path

import click

from embedded.supervision import lock
from webapp.cli.stack.running import data_option

STOP_SECONDS = 30.0
POLL_SECONDS = 0.1


@click.command()
@data_option
def down(data: Path) -> None:
    """Stop the stack that runs here, as Ctrl-C does. Its data stays."""
    pid = lock.holder(data)
    if pid is None:
        click.echo(f"no stack runs on {data}")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while lock.holder(data) == pid:
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"process {pid} still runs after {STOP_SECONDS:g} s; see {data / 'logs'}"
            )
        time.sleep(POLL_SECONDS)
    click.echo(f"stopped; the data stays in {data}")

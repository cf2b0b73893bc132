"""`threadkeep selftest`."""

import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
import msgspec
from rich.console import Console

from selftest.bed.launching import StackFailed
from selftest.load.traffic import Load
from selftest.report import show
from selftest.run import run
from settings import Settings
from webapp.http.auth import Tokens

SEEDS = 1_000_000
WIDTH = 110
TOKEN_SECONDS = 86_400


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="How long to inject faults.",
)
@click.option("--seed", type=int, help="Repeat the faults of an earlier run.")
@click.option(
    "--writers",
    type=click.IntRange(min=1, max=500),
    default=Load.writers,
    show_default=True,
    help="How many clients write at once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--keep", is_flag=True, help="Keep the ledger and the logs.")
def selftest(seconds: float, seed: int | None, writers: int, as_json: bool, keep: bool) -> None:
    """Break a stack of its own under load, and check that it kept its promises.

    Kills, freezes and cuts off its servers and programs in turn while clients write, then compares
    every acknowledgement with every tier. Touches no other stack, whatever the environment names.
    Exit status 0 if every promise held, 1 if not, and 2 if none was broken but the machine was too
    slow to tell.
    """
    chosen = secrets.randbelow(SEEDS) if seed is None else seed
    with _ends_in_order(), _home(keep) as folder:
        result = run(_token, chosen, seconds, Load(writers=writers), folder, _say)
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        # Output that is no terminal has no width of its own.
        show(result, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH))
    if not result.held:
        sys.exit(1 if result.violations else 2)


def _token(settings: Settings, user_id: str) -> str:
    return Tokens(settings).issue(user_id, is_admin=False, ttl_seconds=TOKEN_SECONDS)


@contextmanager
def _home(keep: bool) -> Iterator[Path]:
    """A folder for the stack; only the logs and the ledger are left in it afterwards."""
    if keep:
        folder = Path(tempfile.mkdtemp(prefix="threadkeep-selftest-"))
        _say(f"the ledger and the logs are kept in {folder}")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="threadkeep-selftest-") as name:
        yield Path(name)


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end the run as Ctrl-C does, with everything that it started."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    except StackFailed as error:
        raise click.ClickException(str(error)) from None
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _say(line: str) -> None:
    click.echo(f"threadkeep: {line}", err=True)

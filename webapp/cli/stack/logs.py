"""`threadkeep logs`."""

import os
import sys
import time
from pathlib import Path

import click

from embedded.files import tail
from webapp.cli.stack.running import data_option
from webapp.cli.terminal import plain

POLL_SECONDS = 0.2
BYTES_A_LINE = 4_096


@click.command()
@click.argument("programs", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="How many of its last lines to show of each log.",
)
@data_option
def logs(programs: tuple[str, ...], follow: bool, lines: int, data: Path) -> None:
    """Show the last log lines of all programs and servers, or of PROGRAMS only."""
    folder = data / "logs"
    known = sorted(log.stem for log in folder.glob("*.log"))
    if not known:
        raise click.ClickException(f"there are no logs in {folder}; `--data` names another folder")
    if unknown := set(programs) - set(known):
        raise click.UsageError(
            f"there is no log of {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    try:
        _show(folder, programs, lines, follow=follow)
    except BrokenPipeError:
        # Whoever read has seen enough; the interpreter must not write at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(folder: Path, programs: tuple[str, ...], lines: int, *, follow: bool) -> None:
    read: dict[Path, int] = {}
    for log in _logs(folder, programs):
        # What comes while the end is read is shown once more rather than not at all.
        read[log] = log.stat().st_size
        _print(log, tail(log, lines, lines * BYTES_A_LINE) if lines else "")
    while follow:
        for log in _logs(folder, programs):
            read[log] = _print_news(log, read.get(log, 0))
        sys.stdout.flush()
        time.sleep(POLL_SECONDS)


def _logs(folder: Path, programs: tuple[str, ...]) -> list[Path]:
    return sorted(log for log in folder.glob("*.log") if not programs or log.stem in programs)


def _print_news(log: Path, start: int) -> int:
    """Prints the whole lines that came after `start`; gives where the next ones begin."""
    with log.open("rb") as file:
        if log.stat().st_size < start:
            # It was turned over.
            start = 0
        file.seek(start)
        news = file.read()
    end = news.rfind(b"\n") + 1
    _print(log, news[:end].decode("utf-8", "replace"))
    return start + end


def _print(log: Path, text: str) -> None:
    for line in text.splitlines():
        click.echo(f"{log.stem:<16} {plain(line.expandtabs())}")

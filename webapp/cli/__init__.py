"""The command line, `threadkeep`: exit status 0 for done, 1 for a problem found, 2 for wrong use.

Errors are one line on stderr; `--debug` shows where they come from.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

import settings
from embedded.env_file import read_env_file
from embedded.errors import StackError
from models.message import InvalidMessage
from storage.errors import Refused, TierError
from tasks.logs import configure
from webapp.cli.lazy_group import Deferred, LazyGroup

DEFAULT_ENV_FILE = Path(".threadkeep/run/env")


COMMANDS = {
    "up": Deferred("webapp.cli.stack.up", "up", "Start everything and serve until Ctrl-C."),
    "status": Deferred(
        "webapp.cli.stack.status",
        "status",
        "Show whether a stack runs here, its programs, and whether it is ready.",
    ),
    "logs": Deferred(
        "webapp.cli.stack.logs",
        "logs",
        "Show the last log lines of all programs and servers, or of PROGRAMS only.",
    ),
    "down": Deferred(
        "webapp.cli.stack.down",
        "down",
        "Stop the stack that runs here, as Ctrl-C does. Its data stays.",
    ),
    "token": Deferred("webapp.cli.identity.token", "token", "Print a token for USER."),
    "tokens": Deferred(
        "webapp.cli.identity.tokens",
        "tokens",
        "Revoke tokens, list what was revoked, and take it back.",
    ),
    "keys": Deferred(
        "webapp.cli.identity.keys",
        "keys",
        "Create, list and revoke API keys, with which programs call.",
    ),
    "migrate": Deferred(
        "webapp.cli.migrate", "migrate", "Bring PostgreSQL and ClickHouse to this program's schema."
    ),
    "import": Deferred(
        "webapp.cli.data.importing",
        "import_history",
        "Import past conversations from FILE, which may be a pipe or gzip (- for stdin).",
    ),
    "export": Deferred(
        "webapp.cli.data.exporting",
        "export_history",
        "Write all threads and messages of all tiers as JSON Lines, by user, thread and id.",
    ),
    "doctor": Deferred(
        "webapp.cli.inspect.doctor",
        "doctor",
        "Check every server, setting and clock, and say what to do.",
    ),
    "where": Deferred(
        "webapp.cli.inspect.where",
        "where",
        "Show which tiers have the message ID, whoever owns it.",
    ),
    "verify": Deferred(
        "webapp.cli.inspect.verify",
        "verify",
        "Walk the hash chain of every thread, and name what was changed since it was written.",
    ),
    "heads": Deferred(
        "webapp.cli.inspect.heads",
        "heads",
        "Write the head of every thread's hash chain, as JSON Lines, to be kept elsewhere.",
    ),
    "stats": Deferred(
        "webapp.cli.inspect.stats",
        "stats",
        "Show rows and size per tier, health, and current throughput.",
    ),
    "alerts": Deferred(
        "webapp.cli.jobs.alerts",
        "alerts",
        "List alerts, acknowledge them, or mute their notifications.",
    ),
    "archive": Deferred(
        "webapp.cli.jobs.archive",
        "archive",
        "Move old messages out of PostgreSQL, once ClickHouse is proven to have each of them.",
    ),
    "backfill": Deferred(
        "webapp.cli.data.backfill",
        "backfill",
        "Backfill what Redis missed, and warm the pages that it lacks, from PostgreSQL.",
    ),
    "check": Deferred(
        "webapp.cli.jobs.check",
        "check",
        "Compare Redis, PostgreSQL and ClickHouse, and name everything that differs.",
    ),
    "recover": Deferred(
        "webapp.cli.jobs.recover",
        "recover",
        "Rebuild PostgreSQL and Redis from ClickHouse, or ClickHouse and Redis from PostgreSQL.",
    ),
    "backup": Deferred(
        "webapp.cli.data.backup",
        "backup",
        "Write everything of all tiers into the new folder FOLDER.",
    ),
    "restore": Deferred(
        "webapp.cli.data.backup",
        "restore",
        "Restore the backup in FOLDER, after checking every byte and every message in it.",
    ),
    "selftest": Deferred(
        "webapp.cli.selftest",
        "selftest",
        "Break a stack of its own under load, and check that it kept its promises.",
    ),
    "dead-letters": Deferred(
        "webapp.cli.jobs.dead_letters",
        "dead_letters",
        "List, replay or discard writes that PostgreSQL refused.",
    ),
    "erase-user": Deferred(
        "webapp.cli.jobs.erase_user",
        "erase_user",
        "Erase everything of USER from every tier, and print the receipt.",
    ),
    "retention": Deferred(
        "webapp.cli.jobs.retention",
        "retention",
        "How long messages are kept, per user and per thread, and what is on legal hold.",
    ),
    "audit": Deferred("webapp.cli.jobs.audit", "audit", "List the audit trail, newest first."),
}


@click.group(
    cls=LazyGroup,
    deferred=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Read variables from this file; if it is there, {DEFAULT_ENV_FILE} is read anyway.",
)
@click.version_option(package_name="threadkeep", prog_name="threadkeep")
@click.pass_context
def threadkeep(context: click.Context, debug: bool, env_file: Path | None) -> None:
    """The open message store for chat and agent applications."""
    source = env_file or DEFAULT_ENV_FILE
    # A stack to be started must not use the servers of another one.
    starts_a_stack = context.invoked_subcommand in {"up", "selftest"}
    finds_a_stack = not starts_a_stack and source.exists()
    if env_file is not None and not env_file.exists():
        raise StackError(f"{env_file} is not there; that of a stack is, while the stack runs")
    if env_file is not None or finds_a_stack:
        # Variables of the environment take precedence.
        for name, value in read_env_file(source).items():
            os.environ.setdefault(name, value)


def main() -> None:
    """The entry point: turns every expected error into one line."""
    configure()
    if "--debug" in sys.argv[1:2]:
        threadkeep()
    # Outside standalone mode click returns the status of an early exit.
    end_with(lambda: threadkeep(standalone_mode=False) or 0)


def end_with(work: Callable[[], int]) -> NoReturn:
    """Ends the process with the status of some work, or with one line for an error of it."""
    try:
        sys.exit(work())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except settings.SettingsError as error:
        _fail(f"{error}{_hint(error)}", 2)
    except Refused as error:
        _fail(f"refused: {error}", 1)
    except (TierError, StackError, InvalidMessage) as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(_plainly(error), 1)


def _plainly(error: OSError) -> str:
    """What is wrong with which file, without the system's number for it."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _hint(error: settings.SettingsError) -> str:
    """What is probably meant by whoever has named no servers and is in another folder."""
    if "is not set" not in str(error) or DEFAULT_ENV_FILE.exists():
        return ""
    return (
        f"; there is no running stack in {DEFAULT_ENV_FILE.parts[0]} here: start one with "
        "`threadkeep up`, or name its file with --env-file"
    )


def _fail(line: str, status: int) -> NoReturn:
    click.echo(f"threadkeep: {line}", err=True)
    sys.exit(status)

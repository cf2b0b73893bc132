"""The command line, `threadkeep`: exit status 0 for done, 1 for a problem found, 2 for wrong use.

Errors are one line on stderr; `--debug` shows where they come from.
"""

import os
import sys
from pathlib import Path

import click

import settings
from embedded.env_file import read_env_file
from embedded.errors import StackError
from models.message import InvalidMessage
from storage.errors import Refused, TierError
from tasks.logs import configure
from webapp.cli.data.backfill import backfill
from webapp.cli.data.backup import backup, restore
from webapp.cli.data.exporting import export_history
from webapp.cli.data.importing import import_history
from webapp.cli.inspect.doctor import doctor
from webapp.cli.inspect.stats import stats
from webapp.cli.jobs.alerts import alerts
from webapp.cli.jobs.archive import archive
from webapp.cli.jobs.audit import audit
from webapp.cli.jobs.check import check
from webapp.cli.jobs.dead_letters import dead_letters
from webapp.cli.jobs.erase_user import erase_user
from webapp.cli.jobs.recover import recover
from webapp.cli.jobs.retention import retention
from webapp.cli.migrate import migrate
from webapp.cli.selftest import selftest
from webapp.cli.token import token
from webapp.cli.up import up

DEFAULT_ENV_FILE = Path(".threadkeep/run/env")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
    if env_file is not None or finds_a_stack:
        # Variables of the environment take precedence.
        for name, value in read_env_file(source).items():
            os.environ.setdefault(name, value)


COMMANDS: tuple[click.Command, ...] = (
    up,
    token,
    migrate,
    import_history,
    export_history,
    doctor,
    stats,
    alerts,
    archive,
    backfill,
    check,
    recover,
    backup,
    restore,
    selftest,
    dead_letters,
    erase_user,
    retention,
    audit,
)
for command in COMMANDS:
    threadkeep.add_command(command)


def main() -> None:
    """The entry point: turns every expected error into one line."""
    configure()
    if "--debug" in sys.argv[1:2]:
        threadkeep()
    try:
        # Outside standalone mode click returns the status of an early exit.
        sys.exit(threadkeep(standalone_mode=False) or 0)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except settings.SettingsError as error:
        _fail(str(error), 2)
    except Refused as error:
        _fail(f"refused: {error}", 1)
    except (TierError, StackError, InvalidMessage, OSError) as error:
        _fail(str(error), 1)


def _fail(line: str, status: int) -> None:
    click.echo(f"threadkeep: {line}", err=True)
    sys.exit(status)

"""`threadkeep retention`: how long messages are kept, and what is on hold."""

import click
import msgspec
from msgspec import UNSET
from rich.console import Console
from rich.table import Table
from rich.text import Text

import settings
from jobs.erase.policies import RetentionPolicies, RetentionPolicy
from models.message import InvalidMessage, check_thread_id, check_user_id
from storage.errors import ErasureUnderWay, NotFound
from webapp.cli.operator import operator
from webapp.cli.options import AS_JSON, whole
from wiring.process import Services

PAGE_POLICIES = 500

_USER = click.argument("user_id", metavar="USER")
_THREAD = click.option("--thread", "thread_id", help="Only this thread of theirs.")


@click.group("retention")
def retention() -> None:
    """How long messages are kept, per user and per thread, and what is on legal hold."""


@retention.command("set")
@_USER
@_THREAD
@click.option("--keep-days", type=click.IntRange(1, 36_500), help="Erase what is older.")
@click.option("--keep-forever", is_flag=True, help="Remove the age limit.")
@click.option(
    "--legal-hold/--no-legal-hold",
    default=None,
    help="Set or lift a legal hold.",
)
def set_policy(
    user_id: str,
    thread_id: str | None,
    keep_days: int | None,
    keep_forever: bool,
    legal_hold: bool | None,
) -> None:
    """Set the policy of USER; options that are not given stay as they are."""
    _check(user_id, thread_id)
    if keep_days is None and not keep_forever and legal_hold is None:
        raise click.UsageError("give --keep-days, --keep-forever, --legal-hold or --no-legal-hold")
    if keep_days is not None and keep_forever:
        raise click.UsageError("--keep-days and --keep-forever exclude each other")
    try:
        policy = _policies().set(
            user_id,
            thread_id,
            keep_days=UNSET if keep_days is None and not keep_forever else keep_days,
            legal_hold=UNSET if legal_hold is None else legal_hold,
            by=operator(),
        )
    except ErasureUnderWay:
        raise click.ClickException("this user is being erased, too late for a hold") from None
    click.echo(_line(policy) if policy else "nothing is set any more")


@retention.command("list")
@AS_JSON
def list_policies(as_json: bool) -> None:
    """List every policy and hold."""
    service = _policies()
    found = whole(lambda cursor: service.list(limit=PAGE_POLICIES, cursor=cursor))
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif found:
        Console(highlight=False).print(_table(found))
    else:
        click.echo("everything is kept for ever, and nothing is on hold")


@retention.command("clear")
@_USER
@_THREAD
def clear_policy(user_id: str, thread_id: str | None) -> None:
    """Remove the policy of USER, including a legal hold."""
    _check(user_id, thread_id)
    try:
        was = _policies().clear(user_id, thread_id, by=operator())
    except NotFound:
        raise click.ClickException("nothing is set there") from None
    click.echo(f"cleared: {_line(was)}")


@retention.command("apply")
def apply_policies() -> None:
    """Erase expired messages now instead of in the next daily run.

    Exit status 1 if any expired message is left.
    """
    run = Services(settings.load()).jobs.retention.apply(by=operator())
    click.echo(
        f"{run.policies} policies, {run.on_hold} on hold: {run.due:,} messages due,"
        f" {run.erased:,} erased, {run.left:,} left"
    )
    if run.left or run.incomplete:
        raise click.ClickException(run.incomplete or "messages that are due are left")


def _policies() -> RetentionPolicies:
    return Services(settings.load()).jobs.retention_policies


def _check(user_id: str, thread_id: str | None) -> None:
    try:
        check_user_id(user_id)
        if thread_id is not None:
            check_thread_id(thread_id)
    except InvalidMessage as error:
        raise click.UsageError(str(error)) from None


def _line(policy: RetentionPolicy) -> str:
    age = f"kept for {policy.keep_days} days" if policy.keep_days else "kept for ever"
    return f"{age}, on legal hold" if policy.legal_hold else age


def _table(found: list[RetentionPolicy]) -> Table:
    table = Table(title="Retention")
    for heading in ("user", "thread", "days", "legal hold", "set by", "set at"):
        table.add_column(heading, overflow="fold")
    for one in found:
        cells = (
            one.user_id,
            one.thread_id or "all",
            str(one.keep_days or "for ever"),
            "yes" if one.legal_hold else "",
            one.set_by,
            one.set_at,
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table

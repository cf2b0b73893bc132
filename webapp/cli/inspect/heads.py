"""`threadkeep heads`."""

from pathlib import Path

import click

import settings
from jobs.transfer.files import created
from jobs.verify.kept_heads import heads_since, lines
from webapp.cli.options import moment
from wiring.process import Services


@click.command()
@click.option("--since", help="Only chains that grew since this time (RFC 3339).")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this new file in place of standard output.",
)
def heads(since: str | None, output: Path | None) -> None:
    """Write the head of every thread's hash chain, as JSON Lines, to be kept elsewhere.

    A head proves everything before it: `threadkeep verify --heads FILE` names what was changed
    since. Files may be joined.
    """
    since = moment("--since", since)
    tiers = Services(settings.load()).tiers
    found = lines(heads_since(tiers.job_engine, tiers.clock, since))
    if output is None:
        for line in found:
            click.echo(line, nl=False)
        return
    try:
        with created(output) as stream:
            stream.writelines(found)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
